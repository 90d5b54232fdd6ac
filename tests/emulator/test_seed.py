"""seed.cu on the emulator == the oracle in Python integers == the CPU engine and core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.philox import Stage, draw64
from gpuseg.core.seeding import LARGEST_DRAW, potential_exponent, sample_threshold
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines import launch
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.seed import (
    potentials,
    potentials_on_device,
    sample_rows,
    sample_rows_on_device,
    seed_step,
    seed_step_on_device,
)
from gpuseg.errors import ContractError, InputError
from tests.emulator.device import ORDERS, LaunchRecord
from tests.oracle import floats
from tests.oracle import seeding as oracle
from tests.strategies import KINDS, WEIGHTS, same, table, weight_array

# Borders of warps and blocks; from 257 on, blocks of 32 threads go round the grid-stride loop.
ROWS = [1, 31, 32, 33, 255, 256, 257, 700]
# (threads, points, features): the sizes in use, and sizes so small that every border is crossed.
SIZES = [(256, 8, 64), (32, 4, 2), (64, 4, 3)]


def step(kind, weighting, n, d, k, seed):
    """A step of greedy k-means++: what the verbs take, and the weights as they were given."""
    rows = table(kind, n, d, seed)
    given_weights = weight_array(weighting, n, seed + 1)
    weights = Weights.of(given_weights, WeightRange.of(given_weights, n).mode())
    rng = np.random.default_rng(seed)
    closest = floats.chain(rows, rows[rng.integers(n)][None])[:, 0].astype(np.float32)
    candidates = rows[rng.integers(0, n, k)]
    largest = max(oracle.weighted(closest, given_weights))
    exponent = potential_exponent(largest, n, weights)
    assert exponent == oracle.exponent(largest, given_weights, n)
    return rows, weights, closest, candidates, exponent, given_weights


def up(device, weights):
    return device.to_device(weights.reals if weights.mode is WeightMode.REAL else weights.integers)


@given(
    n=st.sampled_from(ROWS),
    d=st.integers(1, 7),
    k=st.integers(1, 10),
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTS),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_a_step_of_seeding(make_device, n, d, k, kind, weighting, sizes, order, seed):
    device = make_device(order, seed)
    rows, weights, closest, candidates, exponent, given_weights = step(kind, weighting, n, d, k, seed)
    threads, points, features = sizes
    near, w = device.to_device(closest), up(device, weights)
    found = device.to_host(potentials_on_device(device, near, w, weights.mode, exponent, threads=threads))
    assert found.tolist() == oracle.potentials(closest, given_weights, exponent)
    assert same(found, CpuEngine(2).potentials(closest, weights, exponent))

    x, transposed = (device.to_device(np.ascontiguousarray(each.T)) for each in (rows, candidates))
    out = device.empty((k, n), np.float32)
    sums = seed_step_on_device(
        device, x, w, weights.mode, near, transposed, exponent, out,
        threads=threads, points=points, features=features,
    )  # fmt: skip
    nearer = device.to_host(out)
    expected = np.minimum(closest[:, None], floats.chain(rows, candidates)).astype(np.float32)
    assert nearer.tobytes() == np.ascontiguousarray(expected.T).tobytes()
    assert sums.tolist() == [sum(oracle.potentials(row, given_weights, exponent)) for row in nearer]
    wanted = np.empty((k, n), np.float32)
    engine = CpuEngine(2)
    block = np.ascontiguousarray(rows.T)
    assert same(sums, engine.seed_step(block, weights, closest, candidates, exponent, wanted))
    assert nearer.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weighting", WEIGHTS)
def test_the_verbs_on_host_buffers(make_device, order, weighting):
    rows, weights, closest, candidates, exponent, _ = step("ties", weighting, 900, 5, 12, 3)
    block = np.ascontiguousarray(rows.T)
    found, wanted = np.empty((12, 900), np.float32), np.empty((12, 900), np.float32)
    arguments = (block, weights, closest, candidates, exponent)
    sums = seed_step(make_device(order), *arguments, found)
    assert same(sums, CpuEngine(1).seed_step(*arguments, wanted))
    assert found.tobytes() == wanted.tobytes()
    strided = (
        np.repeat(block, 2, axis=1)[:, ::2],
        weights,
        np.repeat(closest, 2)[::2],
        candidates[:],
        exponent,
    )
    assert same(seed_step(make_device(order), *strided, found), sums)
    assert same(
        potentials(make_device(order), closest, weights, exponent),
        CpuEngine(1).potentials(closest, weights, exponent),
    )


def test_sums_leave_32_and_53_bits(make_device):
    weights = Weights(WeightMode.INTEGER, np.full(600, 2**31 - 1, np.int64), np.empty(0, np.float32))
    closest = np.full(600, np.float32(2.0 - 2.0**-23))
    exponent = potential_exponent(float(closest[0]), 600, weights)
    out = np.empty((1, 600), np.float32)
    [total] = seed_step(
        make_device(),
        np.full((1, 600), 9, np.float32),
        weights,
        closest,
        np.zeros((1, 1), np.float32),
        exponent,
        out,
    )
    assert 2**60 < total < 2**62
    assert total == sum(CpuEngine(1).potentials(closest, weights, exponent).tolist())


def test_more_groups_of_candidates_than_the_grid_takes(make_device, monkeypatch):
    monkeypatch.setattr(launch, "MAX_GRID_Y", 2)
    rows, weights, closest, candidates, exponent, _ = step("normal", "none", 100, 3, 40, 4)
    device = make_device()
    found, wanted = np.empty((40, 100), np.float32), np.empty((40, 100), np.float32)
    arguments = (np.ascontiguousarray(rows.T), weights, closest, candidates, exponent)
    assert same(seed_step(device, *arguments, found), CpuEngine(1).seed_step(*arguments, wanted))
    assert found.tobytes() == wanted.tobytes()
    assert device.launches == [LaunchRecord("seed_candidates<NONE>", (1, 2, 1), (256, 1, 1), 512 + 4 * 8 * 3)]


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**12])
def test_a_potential_beyond_its_scale_is_refused(make_device, value):
    closest = np.array([1.0, value], np.float32)
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        potentials(make_device(), closest, Weights.ones(), 39)
    rows, out = np.ones((1, 2), np.float32), np.empty((1, 2), np.float32)
    far = np.full((1, 1), 3e38, np.float32)
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        seed_step(make_device(), rows, Weights.ones(), closest, far, 39, out)
    largest = np.nextafter(np.array([2.0**12], np.float32), np.float32(0))
    assert potentials(make_device(), largest, Weights.ones(), 39).tolist() == [2**51 - 2**27]


def drawn(seed, threshold, identity, given_weights):
    """Numbers and draws of the rows of positive weight whose draw is not above the threshold."""
    draws = draw64(seed, Stage.SAMPLE, identity)
    positive = np.ones(identity.size, bool) if given_weights is None else given_weights > 0
    rows = np.flatnonzero(positive & (draws <= np.uint64(threshold)))
    return rows, draws[rows]


@given(
    n=st.sampled_from([0, *ROWS]),
    share=st.sampled_from([None, 0.1, 0.5]),
    who=st.sampled_from(["numbers", "keys", "repeated"]),
    weighting=st.sampled_from(WEIGHTS),
    threads=st.sampled_from([32, 256]),
    tight=st.booleans(),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**64 - 1),
)
def test_rows_below_a_draw(make_device, n, share, who, weighting, threads, tight, order, seed):
    device = make_device(order, seed % 2**32)
    rng = np.random.default_rng(seed)
    given_weights = weight_array(weighting, n, seed) if n else None
    weights = Weights.of(given_weights, WeightRange.of(given_weights, n).mode())
    identity = {
        "numbers": np.arange(n, dtype=np.uint64) + np.uint64(2**32 - 5),
        "keys": rng.integers(0, 2**64, n, np.uint64, endpoint=False),
        "repeated": rng.integers(0, max(n // 3, 1), n, np.uint64),
    }[who]
    threshold = LARGEST_DRAW if share is None else int(share * 2**64)
    arrays = (device.to_device(identity), up(device, weights))
    room = {"capacity": 3} if tight else {}
    rows, draws = sample_rows_on_device(
        device, *arrays, weights.mode, seed, threshold, threads=threads, **room
    )
    expected = drawn(seed, threshold, identity, given_weights)
    assert (rows.tolist(), draws.tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_a_draw_at_the_threshold_is_let_through(make_device):
    identity = np.arange(50, dtype=np.uint64)
    draws = np.sort(draw64(5, Stage.SAMPLE, identity))
    for rank in (0, 20, 49):
        _, found = sample_rows(make_device(), identity, Weights.ones(), 5, int(draws[rank]))
        assert np.sort(found).tolist() == draws[: rank + 1].tolist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weighting", WEIGHTS)
def test_rows_below_a_draw_of_host_buffers(make_device, order, weighting):
    n = 20_000
    given_weights = weight_array(weighting, n, 9)
    weights = Weights.of(given_weights, WeightRange.of(given_weights, n).mode())
    identity = np.arange(n, dtype=np.uint64)
    positive = n if given_weights is None else int(np.count_nonzero(given_weights))
    threshold = sample_threshold(150, positive)
    device = make_device(order)
    rows, draws = sample_rows(device, identity, weights, 7, threshold)
    expected = drawn(7, threshold, identity, given_weights)
    assert (rows.tolist(), draws.tolist()) == (expected[0].tolist(), expected[1].tolist())
    assert rows.size >= 150
    assert {launched.kernel.split("<")[0] for launched in device.launches} == {"draw_rows"}


def test_what_does_not_fit_is_refused(make_device):
    device = make_device()
    block, out = np.ones((2, 4), np.float32), np.empty((1, 4), np.float32)
    closest, points = np.ones(4, np.float32), np.ones((1, 2), np.float32)
    short = Weights(WeightMode.INTEGER, np.ones(3, np.int64), np.empty(0, np.float32))
    with pytest.raises(ContractError, match="3 weights do not fit a block of 4 rows"):
        potentials(device, closest, short, 3)
    with pytest.raises(ContractError, match="3 weights do not fit a block of 4 rows"):
        seed_step(device, block, short, closest, points, 3, out)
    with pytest.raises(ContractError, match="3 weights do not fit a block of 4 rows"):
        sample_rows(device, np.arange(4, dtype=np.uint64), short, 0, LARGEST_DRAW)
    for wrong in (
        (closest[:3], points, out),
        (closest, np.ones((1, 3), np.float32), out),
        (closest, points, np.empty((2, 4), np.float32)),
    ):
        with pytest.raises(ContractError, match=r"do not fit a block of 4 rows and 2 features"):
            seed_step(device, block, Weights.ones(), *wrong[:2], 3, wrong[2])
    with pytest.raises(ContractError, match="closest is float64, its kernel reads float32"):
        potentials(device, np.ones(4), Weights.ones(), 3)
    for seed in (-1, 2**64):
        with pytest.raises(InputError, match="is not in 0"):
            sample_rows(device, np.arange(4, dtype=np.uint64), Weights.ones(), seed, LARGEST_DRAW)
    assert not device.launches
