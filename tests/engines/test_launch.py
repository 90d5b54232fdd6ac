"""The seam without a device: kernel sources, grid arithmetic, the error word."""

from __future__ import annotations

import re
from importlib import resources
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines import launch
from gpuseg.errors import ContractError

PROPS = launch.DeviceProps(
    "test",
    80,
    multiprocessors=4,
    max_threads=1024,
    max_shared=48 << 10,
    optin_shared=163 << 10,
    total_memory=1 << 30,
)


def test_sources_come_whole():
    source = launch.kernel_source("moments.cu")
    assert source.startswith('#line 1 "moments.cu"\n')
    assert "#include" not in source
    assert "#pragma once" not in source
    assert "wide_add(" in source


def test_line_marks_point_home():
    texts = {
        "main.cu": 'a\n#include "one.cuh"\nb\n  # include "two.cuh"\nc\n',
        "one.cuh": '#pragma once\n#include "two.cuh"\nd\n',
        "two.cuh": "#pragma once\ne\n",
    }
    file, number, seen = "", 0, []
    for line in launch.inline_headers("main.cu", texts.__getitem__).splitlines():
        mark = re.fullmatch(r'#line (\d+) "(.+)"', line)
        if mark:
            number, file = int(mark[1]), mark[2]
            continue
        seen.append(line)
        # Each line that was kept stands where its mark says that it does.
        assert line in {"", texts[file].splitlines()[number - 1]}
        number += 1
    assert [line for line in seen if line] == ["a", "e", "d", "b", "c"]


def test_sources_are_found_without_the_installed_package(monkeypatch):
    wanted = launch.read_kernel_file("common.cuh")

    def absent(_package):
        raise ModuleNotFoundError

    monkeypatch.setattr(resources, "files", absent)
    assert launch.read_kernel_file("common.cuh") == wanted


def test_sources_are_found_in_the_installed_package(monkeypatch, tmp_path):
    (tmp_path / "only.cu").write_text("// here", encoding="utf-8")
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    assert launch.read_kernel_file("only.cu") == "// here"


def test_a_file_that_is_nowhere_is_named():
    with pytest.raises(FileNotFoundError, match=r"nothing\.cu.*reinstall gpuseg"):
        launch.read_kernel_file("nothing.cu")


@given(
    n=st.integers(0, 2**40),
    threads=st.integers(1, 32).map(lambda warps: 32 * warps),
    tiles=st.integers(0, 2**20),
)
def test_row_grids(n, threads, tiles):
    geometry = launch.plan_rows(n, PROPS, threads=threads, tiles=tiles)
    x, y, z = geometry.grid
    assert geometry.threads == threads
    assert 1 <= x <= 8 * PROPS.multiprocessors
    # No block without a row, and all rows at once while the device has room.
    assert x == 1 or (x - 1) * threads < n
    assert x * threads >= n or x == 8 * PROPS.multiprocessors
    assert 1 <= y <= 65_535
    assert y == max(1, min(tiles, 65_535))
    assert z == 1


@pytest.mark.parametrize("threads", [0, 16, 33])
def test_blocks_are_whole_warps(threads):
    with pytest.raises(ValueError, match="multiple of 32"):
        launch.plan_rows(10, PROPS, threads=threads)


def test_blocks_beyond_the_device_are_refused():
    launch.plan_rows(10, PROPS, threads=1024)
    with pytest.raises(ContractError, match=r"1056 threads do not fit test, .* up to 1024; use engine='cpu'"):
        launch.plan_rows(10, PROPS, threads=1056)


@given(a=st.integers(0, 2**62), b=st.integers(1, 2**31))
def test_ceil_div(a, b):
    assert (launch.ceil_div(a, b) - 1) * b < a <= launch.ceil_div(a, b) * b


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (1, "does not fit its fixed-point scale"),
        (2, "a weight is negative"),
        (3, "scale; a weight"),
        (64, "unknown.*0x40"),
    ],
)
def test_the_error_word_is_decoded(word, message):
    device = SimpleNamespace(to_host=lambda array: array)
    with pytest.raises(ContractError, match=message):
        launch.require_no_error(device, np.array([word], np.uint32))
    launch.require_no_error(device, np.zeros(1, np.uint32))


def test_error_bits_are_those_of_the_kernels():
    bits = dict(re.findall(r"(ERROR_\w+) = (\d+)u", launch.read_kernel_file("common.cuh")))
    assert {int(bit) for bit in bits.values()} == set(launch._ERRORS)
