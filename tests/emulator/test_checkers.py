"""The checkers themselves: each planted bug of faults.cu is found by the builds that should find it, by no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.emulator.build import BUILDS, asan_environment, asan_is_loaded
from tests.emulator.device import ORDERS, ArgumentError, EmulationError
from tests.emulator.sources import FOLDER, source_of

THREADS = 64
IN = np.arange(10_000, 10_000 + 64 * 1000, 1000, dtype=np.int32)
LANES = np.arange(THREADS)

# What a kernel should give (None: nothing was asked of it), and what each build says. "wrong": an order gives another
# answer.
RACE, NEVER, OUTSIDE = "data race", "never written", "out of bounds"
FAULTS = {
    "misses_barrier": (IN[::-1], {"plain": "wrong", "asan": "wrong", "check": RACE}),
    "misses_syncwarp": (IN[LANES ^ 1] + IN[LANES ^ 2], {"check": RACE}),
    "reads_unwritten_shared": (IN, {"check": NEVER}),
    "reads_unwritten_global": (IN, {"check": NEVER}),
    "reads_past_the_end": (IN + np.append(IN[1:], 0), {"asan": "use-after-poison", "check": OUTSIDE}),
    "writes_past_shared": (None, {"asan": "use-after-poison", "check": OUTSIDE}),
    "reads_past_static<64>": (IN, {"check": OUTSIDE}),
    "overruns_local": (IN, {"asan": "index outside its array", "check": "index outside its array"}),
    "overflows": ((IN.astype(np.int64) * 100_000).astype(np.int32), {"asan": r"signed overflow of \*"}),
    "writes_through_const": (IN, {"check": "write through const"}),
    "counts_without_atomics": (np.array([2 * THREADS]), {"check": RACE}),
    "returns_before_barrier": (IN[:-1], {"check": "a thread returns before this barrier"}),
    "is_misaligned": (IN[1:5], {"asan": "misaligned pointer", "check": "misaligned"}),
}  # fmt: skip
SOURCE = source_of("faults.cu")


def place(name):
    """The line of the bug, which the source marks."""
    lines = (FOLDER / "faults.cu").read_text(encoding="utf-8").splitlines()
    mark = f"// <- {name.split('<')[0]}"
    return next(f"faults.cu:{number}" for number, line in enumerate(lines, 1) if line.endswith(mark))


def finds(device, name):
    """What one launch shows: the error's text, "wrong", or None."""
    kernel = device.module(SOURCE, list(FAULTS))[name]
    wanted, _ = FAULTS[name]
    given, out = device.to_device(IN), device.zeros(THREADS, np.int32)
    scratch = (device.empty(THREADS, np.int32),) if name == "reads_unwritten_global" else ()
    grid = 2 if name == "counts_without_atomics" else 1
    try:
        kernel((grid,), (THREADS,), (given, out, *scratch), shared=4 * THREADS)
    except EmulationError as error:
        return str(error)
    same = wanted is None or np.array_equal(device.to_host(out)[: wanted.size], wanted)
    return None if same else "wrong"


def require_finds(make_emulated, how, name):
    found = {finds(make_emulated(order, seed=2, how=how), name) for order in ORDERS} - {None}
    wanted = FAULTS[name][1].get(how)
    if wanted in (None, "wrong"):
        assert found == ({wanted} - {None})
    else:
        assert found
        assert all(re.search(wanted, message) and place(name) in message for message in found), found


@pytest.mark.parametrize("how", ["plain", "check"])
@pytest.mark.parametrize("name", FAULTS)
def test_planted_bugs_are_found(make_emulated, how, name):
    require_finds(make_emulated, how, name)


@pytest.mark.timeout(300)
def test_planted_bugs_are_found_by_asan(make_emulated):
    if asan_is_loaded():
        for name in FAULTS:
            require_finds(make_emulated, "asan", name)
        return
    added = asan_environment()
    if added is None:
        pytest.skip("g++ has no libasan")
    this = f"{__file__}::test_planted_bugs_are_found_by_asan"
    command = [sys.executable, "-m", "pytest", "-q", "--device=emulated-asan", this]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **added})
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_build_finds_something_that_the_others_miss():
    finders = [set(found) for _, found in FAULTS.values()]
    assert {"asan"} in finders
    assert {"check"} in finders
    assert set().union(*finders) == set(BUILDS)


def test_a_race_names_both_lines(make_emulated):
    line = int(place("misses_barrier").split(":")[1])
    messages = [finds(make_emulated(order, how="check"), "misses_barrier") for order in ORDERS]
    assert any(
        f": faults.cu:{line - 1}: data race: thread 0 writes byte 0" in message for message in messages
    )
    assert all(f"faults.cu:{line - 1}" in message for message in messages)


def test_check_alone_counts():
    from tests.emulator.device import EmulatedDevice

    with pytest.raises(ArgumentError, match="check alone counts"):
        EmulatedDevice("plain", count=True)
