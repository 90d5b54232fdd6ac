"""Deferred streams show a forgotten wait; a device has no more memory than it says, and counts it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.moments import moments
from gpuseg.errors import ContractError, DeviceMemoryError
from tests.emulator.device import PROPS, EmulationError
from tests.emulator.sources import source_of
from tests.strategies import same

SEEDS = range(8)


def doubled(device, source, *, waits=True, keeps=True, reuses=False):
    """Upload on a second stream, double on the first; ``waits`` and ``keeps`` are what a host must do."""
    kernel = device.module(source_of("dialect.cu"), ["twice"])["twice"]
    pinned = device.pinned(source.shape, source.dtype)
    tile = device.empty(source.shape, source.dtype)
    out = device.empty(source.shape, source.dtype)
    copies = device.new_stream()
    pinned[...] = source
    device.upload(pinned, tile, copies)
    uploaded = copies.record()
    if not keeps:
        pinned[...] = -1.0
    if waits:
        device.stream.wait(uploaded)
    kernel((1,), (32,), (tile, np.int64(source.size), out))
    used = device.stream.record()
    if not reuses:
        copies.wait(used)
    uploaded.synchronize()
    pinned[...] = -1.0
    device.upload(pinned, tile, copies)
    copies.synchronize()
    return device.to_host(out)


def wrong_seeds(make_emulated, **how):
    source = np.arange(64, dtype=np.float32)
    return [
        seed
        for seed in SEEDS
        if not np.array_equal(doubled(make_emulated(seed=seed, deferred=True), source, **how), 2 * source)
    ]


def test_waits_in_place_give_the_answer_in_any_order(make_emulated):
    assert wrong_seeds(make_emulated) == []


@pytest.mark.parametrize("forgotten", [{"waits": False}, {"keeps": False}, {"reuses": True}], ids=str)
def test_a_forgotten_wait_shows_in_some_order(make_emulated, forgotten):
    source = np.arange(64, dtype=np.float32)
    if "keeps" not in forgotten:  # at once, everything seems right: that is why streams are deferred
        assert np.array_equal(doubled(make_emulated(), source, **forgotten), 2 * source)
    assert wrong_seeds(make_emulated, **forgotten)


def test_nothing_runs_before_somebody_waits(make_emulated):
    device = make_emulated(deferred=True)
    ones = np.ones(64, np.int64)
    array, zeros = device.to_device(ones), device.zeros(64, np.int64)
    ones[...] = 5
    assert zeros.contents.any()
    kernel = device.module(source_of("dialect.cu"), ["where", "false_assertion"])
    kernel["where"]((2,), (32,), (zeros,))
    kernel["false_assertion"]((1,), (64,), ())
    assert [launch.kernel for launch in device.launches] == ["where", "false_assertion"]
    with pytest.raises(EmulationError, match="false_assertion"):
        device.stream.synchronize()
    assert device.to_host(zeros)[-1] == (1 << 32) + 31
    assert device.to_host(array).tolist() == [1] * 64


@pytest.mark.parametrize("seed", SEEDS)
def test_moments_do_not_depend_on_when_work_runs(make_emulated, seed):
    rows = np.random.default_rng(seed).normal(size=(500, 3)).astype(np.float32)
    weights = Weights.ones()
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, 500))
    found = moments(make_emulated(seed=seed, deferred=True), np.ascontiguousarray(rows.T), weights, scales)
    assert same(found, CpuEngine(n_jobs=1).moments(rows, weights, scales))


@pytest.mark.parametrize("deferred", [False, True])
def test_memory_is_limited_and_counted(make_emulated, deferred):
    device = make_emulated(props=replace(PROPS, total_memory=4000), deferred=deferred)
    first = device.empty(500, np.float32)
    second = device.zeros((5, 50), np.float64)
    assert (device.memory.used, device.memory.freed) == (4000, 0)
    with pytest.raises(DeviceMemoryError, match="1 bytes wanted, 4000 of 4000 in use"):
        device.to_device(np.zeros(1, np.uint8))
    del first
    assert (device.memory.used, device.memory.peak, device.memory.freed) == (2000, 4000, 2000)
    third = device.to_device(np.arange(250, dtype=np.float64))
    # What waits to run holds its arrays; a full device runs it first.
    del second, third
    fourth = device.empty(4000, np.uint8)
    assert (device.memory.used, device.memory.peak) == (fourth.nbytes, 4000)


@pytest.mark.parametrize("deferred", [False, True])
def test_memory_comes_back_after_an_error(make_emulated, deferred):
    device = make_emulated(deferred=deferred)
    rows = np.array([[0.5, np.nan]], np.float32)
    scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    with pytest.raises(ContractError):
        moments(device, rows, Weights.ones(), scales)
    assert device.memory.peak > device.memory.used == 0
