"""What stays on a device between passes: nothing travels twice, no bit changes, and all of it goes back."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import numpy as np
import pytest

from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.engine import DeviceEngine
from gpuseg.engines.device.resident import Resident
from gpuseg.errors import ContractError
from tests.emulator.device import PROPS
from tests.emulator.test_engine import Part, uploaded
from tests.strategies import centres, same

CPU = CpuEngine(n_jobs=1)
KS = (3, 4)
N, D = 200, 3
TILE_BYTES = 64 * 4 * D


class Fit:
    """Passes of two models over one partition, on the device and on the CPU beside it."""

    def __init__(self, device, weighting="real", **options):
        self.device = device
        self.part = Part("normal", weighting, N, D, 5)
        self.engine = DeviceEngine(device, tile_bytes=TILE_BYTES, **options)
        self.ours = [AssignState.fresh(N, k) for k in KS]
        self.theirs = [AssignState.fresh(N, k) for k in KS]
        self.turn = 0

    def step(self, models=(0, 1), **options):
        """One pass of some models; the records are equal. With labels, so are the states."""
        part, self.turn = self.part, self.turn + 1
        few = [centres(part.rows, KS[m], self.turn + m) for m in models]
        ours, theirs = [self.ours[m] for m in models], [self.theirs[m] for m in models]
        found = self.engine.assign(part.block, part.weights, few, ours, part.scales, **options)
        options.pop("labels", None)
        wanted = CPU.assign(part.block, part.weights, few, theirs, part.scales, **options)
        assert [same(a.sums, b.sums) for a, b in zip(found, wanted, strict=True)] == [True] * len(models)
        return found, wanted

    def same_labels(self, models=(0, 1)):
        return all(np.array_equal(self.ours[m].labels, self.theirs[m].labels) for m in models)


@pytest.mark.parametrize("weighting", ["none", "integer", "real"])
def test_after_the_first_pass_the_block_does_not_travel(make_device, weighting):
    fit = Fit(make_device(), weighting)
    staged = uploaded(fit.device, "upload")
    fit.step(labels=False)
    assert sum(source.nbytes for source, *_ in staged if source.ndim == 2) == 4 * D * N
    staged.clear()
    up, down = uploaded(fit.device, "to_device"), uploaded(fit.device, "to_host")
    for _ in range(3):
        found, wanted = fit.step(labels=False)
        assert [a.moved for a in found] == [b.moved for b in wanted]
    assert staged == []
    assert all(array.nbytes < 4 * N for (array,) in up)
    assert not any(array.dtype == np.uint8 for (array,) in down)
    fit.step(inertia=True)
    assert staged == []
    assert fit.same_labels()
    assert all(same(a.sums, b.sums) for a, b in zip(fit.ours, fit.theirs, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_late_streams_change_nothing(make_device, seed):
    fit = Fit(make_device(seed=seed, deferred=True))
    for _ in range(3):
        fit.step(labels=False)
    fit.step(inertia=True)
    assert fit.same_labels()


def test_labels_that_stayed_are_not_mistaken_for_those_of_the_host(make_device):
    fit = Fit(make_device())
    fit.step(labels=False)
    assert [state.sums for state in fit.ours] == [None, None]
    before = {type(state.kept) for state in fit.ours}
    # Another engine starts afresh, and this one then does not build on what it kept before that.
    part, few = fit.part, [centres(fit.part.rows, k, 9) for k in KS]
    CPU.assign(part.block, part.weights, few, fit.ours, part.scales)
    assert not {type(state.kept) for state in fit.ours} & before
    CPU.assign(part.block, part.weights, few, fit.theirs, part.scales)
    fit.step(labels=False)
    fit.step()
    assert fit.same_labels()


def test_models_come_and_go(make_device):
    fit = Fit(make_device())
    fit.step(labels=False)
    fit.step((1,), labels=False)
    fit.step((0,), inertia=True)
    assert fit.same_labels((0,))
    fit.step((1, 0), labels=False)
    fit.step()
    assert fit.same_labels()


def test_known_labels_of_the_host_go_up_with_their_sums(make_device):
    fit = Fit(make_device())
    fit.step()
    assert all(state.sums is not None for state in fit.ours)
    found, wanted = fit.step(labels=False)
    assert [a.moved for a in found] == [b.moved for b in wanted]
    fit.step()
    assert fit.same_labels()


def test_distances_of_what_stayed(make_device):
    fit = Fit(make_device())
    fit.step((0,), labels=False)
    part, few = fit.part, [centres(fit.part.rows, 3, 4)]
    near, wanted = np.full(N, np.nan, np.float32), np.full(N, np.nan, np.float32)
    fit.engine.assign(part.block, part.weights, few, fit.ours[:1], part.scales, distance=near)
    CPU.assign(part.block, part.weights, few, fit.theirs[:1], part.scales, distance=wanted)
    assert near.tobytes() == wanted.tobytes()
    with pytest.raises(ContractError, match="2 models cannot share one array of distances"):
        fit.step(distance=near)


@pytest.mark.parametrize("change", ["block", "weights", "k"])
def test_another_block_weights_or_model_is_not_mistaken_for_the_one_that_stayed(make_device, change):
    fit = Fit(make_device())
    fit.step(labels=False)
    part = fit.part
    if change == "block":
        part.block = part.block[:, ::-1].copy()
        part.rows = part.rows[::-1]
    elif change == "weights":
        part.weights = Weights.of(part.raw[::-1].copy(), part.scales.mode)
    else:
        fit.ours[0], fit.ours[1] = fit.ours[1], fit.ours[0]
    for state in fit.theirs:
        state.sums = None
    if change == "k":
        few = [centres(part.rows, 3, 1), centres(part.rows, 4, 2)]
        found = fit.engine.assign(part.block, part.weights, few, fit.ours, part.scales)
        wanted = CPU.assign(part.block, part.weights, few, fit.theirs, part.scales)
        assert all(same(a.sums, b.sums) for a, b in zip(found, wanted, strict=True))
    else:
        fit.step(labels=False)
        fit.step()
    assert fit.same_labels()


def test_all_of_it_goes_back_with_the_states(make_device):
    device = make_device()
    fit = Fit(device)
    fit.step(labels=False)
    assert device.memory.used >= 4 * D * N
    fit.ours.clear()
    gc.collect()
    assert device.memory.used == 0


def test_without_room_nothing_stays(make_device):
    device = make_device()
    fit = Fit(device, keep_bytes=1000)
    for _ in range(2):
        fit.step(labels=False)
        assert device.memory.used == 0
        assert all(state.sums is not None for state in fit.ours)
    assert fit.same_labels()


def test_room_is_counted_over_partitions(make_device):
    device = make_device()
    first = Fit(device, keep_bytes=4000)
    second = Fit(device)
    second.engine = first.engine
    first.step(labels=False)
    held = device.memory.used
    assert held > 0
    second.step(labels=False)
    assert device.memory.used == held
    first.ours.clear()
    gc.collect()
    second.step(labels=False)
    assert device.memory.used > 0


def test_a_device_too_full_to_keep_anything_still_answers(make_device, caplog):
    fit = Fit(make_device(props=replace(PROPS, total_memory=40_000)), keep_bytes=1 << 20)
    fit.part.block = np.tile(fit.part.block, 20)
    fit.part.rows = np.tile(fit.part.rows, (20, 1))
    fit.part.weights = Weights.of(np.tile(fit.part.raw, 20), fit.part.scales.mode)
    fit.ours = [AssignState.fresh(20 * N, k) for k in KS]
    fit.theirs = [AssignState.fresh(20 * N, k) for k in KS]
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        fit.step(labels=False)
        fit.step(labels=False)
    assert "nothing stays on it" in caplog.text
    assert fit.same_labels()
    assert fit.device.memory.used == 0


def test_what_stayed_makes_room_for_others(make_device):
    """A verb that finds the device full lets go of what can be made again; the next pass starts afresh."""
    fit = Fit(make_device())
    fit.step(labels=False)
    held = fit.device.memory.used
    fit.device.props = replace(PROPS, total_memory=held + 1500)
    part = fit.part
    wanted = CPU.moments(part.rows, part.weights, part.scales)
    assert same(fit.engine.moments(part.rows, part.weights, part.scales), wanted)
    assert fit.device.memory.used == 0
    fit.device.props = PROPS
    fit.step(labels=False)
    fit.step()
    assert fit.same_labels()


@pytest.mark.parametrize("labels", [False, True])
def test_what_another_thread_lets_go_in_the_middle_of_a_pass(make_device, monkeypatch, labels):
    """It is short of memory, and drops all that stays; the pass holds what it works on."""
    fit = Fit(make_device())
    for _ in range(2):
        fit.step(labels=False)
    run, dropped = Resident.run, []

    def run_and_drop(self, tile, *rest, **options):
        found = run(self, tile, *rest, **options)
        dropped.append(fit.engine._residents.drop_all())
        return found

    monkeypatch.setattr(Resident, "run", run_and_drop)
    fit.step(labels=labels)
    assert dropped[:2] == [True, False]
    monkeypatch.undo()
    fit.step(labels=labels)
    fit.step()
    assert fit.same_labels()


def test_what_another_thread_lets_go_before_a_pass_begins(make_device, monkeypatch):
    fit = Fit(make_device())
    for _ in range(2):
        fit.step(labels=False)
    fits, dropped = Resident.fits, []

    def look_and_drop(self, *arguments):
        found = fits(self, *arguments)
        dropped.append((found, fit.engine._residents.drop_all()))
        return found

    monkeypatch.setattr(Resident, "fits", look_and_drop)
    fit.step()
    assert dropped == [(True, True)]
    assert fit.same_labels()


def test_a_refused_pass_leaves_nothing_to_build_on(make_device):
    fit = Fit(make_device())
    fit.step(labels=False)
    part = fit.part
    tight = replace(part.scales, exponent=part.scales.exponent + 30)
    few = [centres(part.rows, k, 3) for k in KS]
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        fit.engine.assign(part.block, part.weights, few, fit.ours, tight, labels=False)
    assert [state.kept for state in fit.ours] == [None, None]
    for state in fit.theirs:
        state.sums = None
    fit.step()
    assert fit.same_labels()
