"""What check.cpp counts is what a warp does; every kernel stays within the bytes that its issue allows."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from tests.emulator import counting, mix, sections, traffic, traffic_cases
from tests.emulator.sources import source_of

STALE = "write asv_benchmarks/README.md anew: python -m tests.emulator.traffic --write"
FULL = os.environ.get("GPUSEG_TESTS") == "full"
# Each width of assign.cu is another compilation: one of them is enough for every day.
CASES = [
    case for case in traffic_cases.CASES if FULL or not ("assign d=" in case.name and "d=8 " not in case.name)
]
THREADS, REPEATS = 64, 3


def lines_of(make_emulated, name, arguments, *, shared=0, blocks=1):
    """What a test kernel's one line of interest did, by what is marked on it."""
    device = make_emulated(how="check", count=True)
    passed = [device.to_device(a) if isinstance(a, np.ndarray) else a for a in arguments]
    kernels = ["strided", "banks<4>", "banks<8>", "banks<16>", "same_word", "twice_over"]
    device.module(source_of("counts.cu"), kernels)[name]((blocks,), (THREADS,), passed, shared=shared)
    (launch,) = device.traffic
    return launch.lines


@pytest.mark.parametrize(("stride", "sectors"), [(0, 1), (1, 4), (2, 8), (8, 32), (9, 32)])
def test_sectors_of_a_warp(make_emulated, stride, sectors):
    source = np.arange(THREADS * max(stride, 1), dtype=np.float32)
    read, write = lines_of(
        make_emulated, "strided", (source, np.int64(stride), np.zeros(THREADS, np.float32))
    )
    assert (read.kind, read.space, read.size, read.line) == ("read", "global", 4, write.line)
    assert (read.requests, read.accesses, read.sectors) == (THREADS // 32, THREADS, sectors * THREADS // 32)
    assert (write.kind, write.sectors, write.moved) == ("write", 8, 4 * THREADS)
    # Both warps ask for one sector with stride 0; the second finds it in the cache.
    assert read.moved == read.first == 32 * (sectors * 2 if stride else 1)


@pytest.mark.parametrize(
    ("kernel", "stride", "wavefronts", "least"),
    [
        ("banks<4>", 1, 1, 1),
        ("banks<4>", 0, 1, 1),
        ("banks<4>", 2, 2, 1),
        ("banks<4>", 32, 32, 1),
        ("banks<4>", 33, 1, 1),
        ("banks<8>", 1, 2, 2),
        ("banks<8>", 0, 1, 1),
        ("banks<8>", 16, 32, 2),
        ("banks<16>", 1, 4, 4),
        ("banks<16>", 0, 1, 1),
    ],
)
def test_wavefronts_of_a_warp(make_emulated, kernel, stride, wavefronts, least):
    size = int(kernel[6:-1])
    shared = size * (32 * max(stride, 1) + 1)
    found = lines_of(make_emulated, kernel, (np.int64(stride), np.zeros(THREADS, np.float32)), shared=shared)
    (read,) = [line for line in found if line.kind == "read" and line.space == "shared"]
    assert (read.size, read.requests) == (size, 1)
    assert (read.wavefronts, read.least) == (wavefronts, least)


def test_atomics_on_one_word_wait_for_each_other(make_emulated):
    found = lines_of(make_emulated, "same_word", (np.zeros(1, np.uint32),), shared=4)
    (atomic,) = [line for line in found if line.kind == "atomic" and line.space == "shared"]
    assert (atomic.requests, atomic.wavefronts) == (2, 64)
    (added,) = [line for line in found if line.kind == "atomic" and line.space == "global"]
    assert (added.accesses, added.moved) == (1, 64)  # fetched, and stored


@pytest.mark.parametrize(("floats", "over"), [(2048, 1), (16_384, 2)])
def test_what_no_longer_lies_in_the_cache_is_fetched_again(make_emulated, floats, over):
    # Two blocks go over the array twice: 8 KiB stay in their caches, 64 KiB do not; the launch touches each once.
    arguments = (np.zeros(floats, np.float32), np.int64(floats), np.zeros(2 * THREADS, np.float32))
    read = next(
        line for line in lines_of(make_emulated, "twice_over", arguments, blocks=2) if line.kind == "read"
    )
    assert (read.moved, read.first) == (2 * over * 4 * floats, 4 * floats)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernels_move_no_more_than_they_may(make_emulated, case):
    del make_emulated  # skips where nothing can be built
    row = counting.measure(case)
    assert row.counted >= 0.98 * row.compulsory, "a kernel cannot do with less: the case is wrong"
    assert row.holds, row
    written = sections.read(traffic.README, "traffic")
    if traffic.counted_with() in written.splitlines()[0]:
        assert traffic.markdown_of([row]).splitlines()[-1] in written.splitlines(), STALE


def test_the_table_has_the_cases_in_their_order():
    written = sections.read(traffic.README, "traffic").splitlines()
    assert [line.split(" | ")[0] for line in written[4:]] == [
        f"| {case.name}" for case in traffic_cases.CASES
    ], STALE
    assert written[2:4] == traffic.markdown_of([]).splitlines()


def test_the_tables_are_written_as_they_are_printed(make_emulated, monkeypatch, capsys, tmp_path):
    del make_emulated
    readme = tmp_path / "README.md"
    markers = [
        f"<!-- {name}: {edge} -->\n" for name in ("traffic", "instructions") for edge in ("begin", "end")
    ]
    readme.write_text("".join(markers), encoding="utf-8")
    chains = [
        mix.Mix("a.cu", arch, "_Z4pairILi1EE", 150, 0.43, 0.86, 0.0, 1, {"LDS.128": 8}, ())
        for arch in (80, 90)
    ]
    monkeypatch.setattr(traffic, "README", readme)
    monkeypatch.setattr(
        traffic, "CASES", [case for case in traffic_cases.CASES if "first periods" in case.name]
    )
    monkeypatch.setattr(traffic, "instruction_mixes", lambda: chains)
    monkeypatch.setattr(mix, "unavailable", lambda: None)
    monkeypatch.setattr(mix, "compiler", lambda: "NVRTC 13.5")
    monkeypatch.setattr(mix, "FLOORS", {"pair": mix.Floor(0.4, 0.8)})
    assert traffic.main(["--markdown", "--write"]) == 0
    printed = capsys.readouterr().out
    assert "| `pair` | 150 | 43 % | 86 % | 0 % | 1 | 8 LDS.128 |" in printed
    assert printed == "\n".join(sections.read(readme, name) for name in ("traffic", "instructions")) + "\n"
    monkeypatch.setattr(mix, "FLOORS", {"pair": mix.Floor(0.44, 0.8)})
    assert traffic.main([]) == 1
    assert "0.43 of the hot loop is FFMA, at least 0.44 is wanted" in capsys.readouterr().out


def test_the_table_is_written_as_json(make_emulated, capsys):
    del make_emulated
    assert traffic.main(["--json", "first periods"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kernels"], said["faults"]) == ([], [])
    (row,) = said["cases"]
    assert (row["name"], row["holds"], row["n"]) == ("cohort first periods, 36 months", True, 8192)
    assert traffic.main(["no such case"]) == 1
