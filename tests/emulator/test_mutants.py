"""The mutation run: what it changes, that the quick tests pass and kill, and that every survivor is explained."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gpuseg.engines import launch
from tests.emulator import build, mutants, quick

SURVIVORS = Path(mutants.__file__).with_name("SURVIVORS.md")

needs_emulator = pytest.mark.skipif(build.unavailable() is not None, reason=str(build.unavailable()))


def changed(line):
    return {(operator.name, new) for operator in mutants.OPERATORS for new in operator.changed(line)}


@pytest.mark.parametrize(
    ("line", "operator", "wanted"),
    [
        ("__syncthreads();", "barrier dropped", {"{}"}),
        ("for (i64 i = first_row(); i < n; ++i) {", "< to <=", {"for (i64 i = first_row(); i <= n; ++i) {"}),
        (
            "for (i64 i = first_row(); i < n; ++i) {",
            "start + 1",
            {"for (i64 i = (first_row()) + 1; i < n; ++i) {"},
        ),
        ("for (; i < n; i += row_step()) {", "stride + 1", {"for (; i < n; i += row_step() + 1) {"}),
        (
            "for (; b < n; b += blockDim.x / WARP) {",
            "stride + 1",
            {"for (; b < n; b += blockDim.x / WARP + 1) {"},
        ),
        ("__ballot_sync(FULL_WARP, taken);", "wrong mask", {"__ballot_sync((FULL_WARP >> 1), taken);"}),
        ("a = __shfl_sync(FULL_WARP, b, 0);", "wrong offset", {"a = __shfl_sync(FULL_WARP, b, 0 + 1);"}),
        ("i64 sum = 0, low = 0;", "initial value", {"i64 sum = 1, low = 0;", "i64 sum = 0, low = 1;"}),
        ("if (i >= n) continue;", "bound dropped", {"if (false) continue;"}),
        ("if (first + p < k && fits) x = 1;", "bound dropped", {"if (fits) x = 1;"}),
        ("v = i < n ? w[i] : 0;", "bound dropped", {"v = true ? w[i] : 0;"}),
        ("x[f * stride + i]", "index order", {"x[i * stride + f]"}),
        ("i64 at = (i64)b * gridDim.x + j;", "index order", {"i64 at = (i64)j * gridDim.x + b;"}),
        ("i64 c = (i64)b;", "int64 to int32", {"i32 c = (i64)b;", "i64 c = (i32)b;"}),
    ],
)
def test_what_operators_do(line, operator, wanted):
    assert {new for name, new in changed(line) if name == operator} == wanted


def test_an_atomic_becomes_a_plain_sum():
    [new] = [new for name, new in changed("atomicAdd(out + i, v);") if name == "atomic to plain"]
    assert "*at = (decltype(old))(old + value)" in new
    assert new.endswith("(out + i, v);")


def test_mutants_are_spread_over_files_and_operators_and_always_the_same():
    first, again = (list(itertools.islice(mutants.drawn(quick.files()), mutants.SAMPLE)) for _ in range(2))
    assert first == again
    assert len(set(first)) == mutants.SAMPLE >= 60
    assert {site.file for site in first} == set(quick.files())
    assert {site.operator for site in first} == {operator.name for operator in mutants.OPERATORS}
    for site in first:
        line = launch.read_kernel_file(site.file).splitlines()[site.line - 1]
        assert line.split("//")[0].strip() == site.before != site.after


def test_every_kernel_file_has_a_quick_test():
    assert sorted(quick.CHECKS) == quick.files()


@needs_emulator
@pytest.mark.parametrize("name", quick.files())
def test_no_kernel_loses_bits_without_a_cast(name):
    assert quick.narrowings(name) == []


@needs_emulator
def test_lost_bits_are_seen(monkeypatch):
    text = "typedef long long i64;\ntypedef int i32;\n__device__ inline i32 f(i64 a) {\n    return a;\n}\n"
    monkeypatch.setattr(launch, "read_kernel_file", lambda name: text)
    assert quick.narrowings("x.cu") == ["x.cu:4"]


@needs_emulator
def test_a_few_mutants_are_killed():
    command = [
        sys.executable,
        "-m",
        "tests.emulator.mutants",
        "--json",
        "--sample",
        "6",
        "--file",
        "personality.cu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    found = json.loads(done.stdout)
    assert len(found) == 6, done.stderr
    assert set(found[0]) == {"file", "line", "operator", "before", "after", "killed"}
    assert Counter(mutant["killed"] for mutant in found)[True] >= 5
    assert done.returncode == (0 if all(mutant["killed"] for mutant in found) else 1)


def test_survivors_that_are_explained_are_in_the_source():
    explained = re.findall(
        r"^\| `(\w+\.cuh?)` \| [^|]+ \| `(.+?)` \|", SURVIVORS.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert explained
    for name, before in explained:
        lines = [line.split("//")[0].strip() for line in launch.read_kernel_file(name).splitlines()]
        assert before.replace("\\|", "|") in lines


@needs_emulator
@pytest.mark.parametrize("name", sorted(quick.CHECKS))
def test_every_file_passes_its_quick_test(name):
    """A quick test calls the tests beside it, whose arguments may change."""
    for check in quick.CHECKS[name]:
        check(quick.maker("plain"))
