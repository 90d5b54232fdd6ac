"""How kernels are compiled and cached, and what the compiler made of the distance chain."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from llvmlite import binding

from gpuseg.engines.cpu import adding, assigning, distances, jit, nearest, preparing, reading, slack


def test_the_digest_covers_every_source_of_the_room(monkeypatch, tmp_path):
    room = tmp_path / "engines"
    shutil.copytree(Path(jit.__file__).parent, room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(room / "jit.py"))
    digest = jit.sources_digest.__wrapped__
    seen = {digest()}
    assert seen == {jit.sources_digest()}
    for name in sorted(path.name for path in room.glob("*.py")):
        with (room / name).open("a", encoding="utf-8") as file:
            file.write("# edited\n")
        seen.add(digest())
    (room / "pool.py").rename(room / "pond.py")
    seen.add(digest())
    assert len(seen) == 2 + len(list(room.glob("*.py")))


def test_every_kernel_is_keyed_by_the_sources_and_frees_the_gil():
    kernels = [
        value
        for module in (adding, assigning, distances, nearest, preparing, reading, slack)
        for value in vars(module).values()
        if isinstance(value, numba.core.registry.CPUDispatcher)
    ]
    assert len(kernels) > 15
    for kernel in kernels:
        assert isinstance(kernel._cache, jit._SourceKeyedCache), kernel
        assert kernel.targetoptions == {
            "nogil": True,
            "error_model": "numpy",
            "nopython": True,
            "boundscheck": None,
        }


def test_kernels_import_nothing_jitted_from_other_rooms():
    """Their sources would not be in the digest."""
    for module in (adding, assigning, distances, nearest, preparing, reading, slack):
        for value in vars(module).values():
            if isinstance(value, numba.core.registry.CPUDispatcher):
                assert value.py_func.__module__.startswith("gpuseg.engines.")


SOURCE = """
from gpuseg.engines.cpu.jit import kernel

@kernel
def twice(x):
    return x + x
"""


def test_an_edit_anywhere_in_the_room_compiles_again(monkeypatch, tmp_path):
    (tmp_path / "kernels_of_a_test.py").write_text(SOURCE, encoding="utf-8")
    counter = itertools.count()

    def fresh():
        spec = importlib.util.spec_from_file_location(
            f"kernels_of_a_test_{next(counter)}", tmp_path / "kernels_of_a_test.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.twice(21) == 42
        return len(module.twice.stats.cache_hits), len(module.twice.stats.cache_misses)

    assert fresh() == (0, 1)
    assert fresh() == (1, 0)
    monkeypatch.setattr(jit, "sources_digest", lambda: "another")
    assert fresh() == (0, 1)
    assert fresh() == (1, 0)


class Gone:
    """What kernels of another release were compiled with."""


def test_an_index_of_another_release_is_passed_over(monkeypatch, tmp_path):
    path = tmp_path / "kernels_of_a_release.py"
    path.write_text(SOURCE, encoding="utf-8")

    def fresh():
        spec = importlib.util.spec_from_file_location("kernels_of_a_release", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    index = Path(fresh()._cache._cache_file._index_path)
    index.parent.mkdir(exist_ok=True)
    for version in (numba.__version__, f"{numba.__version__} {'0' * 64}"):
        index.write_bytes(pickle.dumps(version) + pickle.dumps(("stamp", {Gone: "twice.nbc"})))
        with monkeypatch.context() as patch:
            patch.delattr(sys.modules[__name__], "Gone")
            first, second = fresh(), fresh()
            assert first(21) == 42
            assert second(21) == 42
        assert (len(first.stats.cache_misses), len(second.stats.cache_hits)) == (1, 1)


UNWRITABLE = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
from numba.core import caching
caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]  # an install that is not ours to write to
import numpy as np
from gpuseg.core.weights import Weights
from gpuseg.engines.cpu.engine import CpuEngine
print(CpuEngine(1).potentials(np.ones(3, np.float32), Weights.ones(), 2).tolist())
"""


def test_without_a_writable_cache_kernels_work_and_one_line_says_so(tmp_path):
    (tmp_path / "file").touch()
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", UNWRITABLE],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (0, "[4, 4, 4]\n"), done.stderr
    lines = [line for line in done.stderr.splitlines() if "cannot be kept on disk" in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gpuseg.engines INFO compiled kernels cannot be kept on disk")
    assert "set NUMBA_CACHE_DIR" in lines[0]


def test_a_full_disk_costs_a_log_line_only(monkeypatch, tmp_path, caplog):
    (tmp_path / "kernels_on_a_full_disk.py").write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(
        "kernels_on_a_full_disk", tmp_path / "kernels_on_a_full_disk.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.twice._cache._cache_file, "save", full)
    jit._say_no_cache.cache_clear()
    with caplog.at_level("INFO", logger="gpuseg.engines"):
        assert module.twice(21) == 42
        assert module.twice(21.0) == 42.0
    [record] = caplog.records
    assert record.message.startswith("compiled kernels cannot be kept on disk")


def assembly(kernel, *types):
    """Assembly of a kernel compiled here and now: what comes out of the cache has none to show."""
    fresh = numba.njit(nogil=True, error_model="numpy")(kernel.py_func)
    fresh.compile(types)
    [text] = fresh.inspect_asm().values()
    return text


@pytest.fixture(scope="module", params=[False, True], ids=["nearest", "two"])
def tile(request):
    f32, u8, i64 = numba.float32[::1], numba.uint8[::1], numba.int64
    kernel = nearest.nearest_two_tile if request.param else nearest.nearest_tile
    return assembly(kernel, f32, i64, i64, i64, f32, i64, i64, u8, f32, f32)


HOST = binding.get_host_cpu_features()
IS_X86 = platform.machine() in {"x86_64", "AMD64"}


@pytest.mark.skipif(
    not (IS_X86 and HOST.get("fma")), reason="this processor has no fma instructions (x86-64)"
)
def test_the_chain_is_fused_and_wide(tile):
    register = "zmm" if HOST.get("avx512f") else "ymm"
    fused = re.findall(r"vfm(?:add|sub)\d+ps\s.*", tile)
    assert sum(register in line or "ymm" in line for line in fused) >= 4, fused
    assert "fmaf" not in tile  # no calls of a library, lane by lane


@pytest.mark.skipif(platform.machine() not in {"aarch64", "arm64"}, reason="only arm64 has fmla")
def test_the_chain_is_fused_on_arm(tile):
    assert re.search(r"\bfmla\b.*\.4s", tile)


@pytest.mark.skipif(not IS_X86, reason="reads x86-64 assembly")
def test_fixed_point_sums_are_not_fused():
    """x * s + magic must round the product first (it is exact) and never become one fused step with another meaning."""
    f64, i64, u64 = numba.float64[::1], numba.int64[::1], numba.uint64[::1]
    source = numba.types.Array(numba.float32, 2, "A")
    text = assembly(
        preparing.moments_real,
        source,
        numba.int64,
        numba.int64,
        numba.float32[::1],
        f64,
        f64,
        i64,
        u64,
        i64,
        u64,
    )
    assert not re.search(r"vfm(add|sub)\w*pd|vfm(add|sub)\w*sd", text)
    assert re.search(r"v?mul[ps]d", text)
