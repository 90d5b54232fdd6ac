"""Rows that the CPU engine draws: the sample and the rounds of k-means|| against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.oversampling import Round
from gpuseg.core.philox import Stage, draw64
from gpuseg.core.seeding import LARGEST_DRAW, Sample
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.cpu import sampling
from gpuseg.errors import ContractError, InputError
from tests import strategies
from tests.oracle import floats
from tests.oracle import oversampling as oracle

SIZES = st.sampled_from([0, 1, 15, 16, 17, 33, 255, 256, 257, 700])


def weighted(kind, n, seed):
    """Weights as they were given, and in their arithmetic."""
    values = strategies.weight_array(kind, n, seed) if n else None
    return values, Weights.of(values, WeightRange.of(values, n).mode())


@given(
    n=SIZES,
    d=st.integers(1, 3),
    kind=st.sampled_from(strategies.WEIGHTS),
    limit=st.sampled_from([1, 7, 100, 1000]),
    share=st.sampled_from([None, 0.01, 0.5]),
    seed=st.integers(0, 2**64 - 1),
)
def test_sampled_rows_are_those_of_the_definition(engines, n, d, kind, limit, share, seed):
    _, weights = weighted(kind, n, seed)
    block = np.ascontiguousarray(strategies.table("ties", n, d, seed).T)
    identity = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
    threshold = LARGEST_DRAW if share is None else int(share * 2**64)
    expected = Sample.of(limit, seed, identity, block, weights, threshold)
    draws = draw64(seed, Stage.SAMPLE, identity)
    positive = weights.positive()
    wanted = (draws <= np.uint64(threshold)) & (True if positive is None else positive)
    for engine in engines:
        rows, found = engine.sample_rows(identity, weights, seed, threshold)
        assert rows.tolist() == np.flatnonzero(wanted).tolist()
        assert found.tolist() == draws[wanted].tolist()
        assert strategies.same(Sample.drawn(limit, rows, found, identity, block, weights), expected)


def test_more_rows_than_were_likely_are_found_all(engines, monkeypatch):
    identity, weights = np.arange(500, dtype=np.uint64), Weights.ones()
    block = np.ascontiguousarray(strategies.table("normal", 500, 2, 1).T)
    arguments = block, weights, np.full(500, 2.0, np.float32), block[:, :1].T, identity, Round(3, 1, 100.0)
    expected = [e.sample_rows(identity, weights, 3, 2**63)[0].tolist() for e in engines]
    rows = [e.oversample(*arguments)[1].tolist() for e in engines]
    assert min(map(len, expected + rows)) > 50
    monkeypatch.setattr(sampling, "likely_rows", lambda n_rows, expected: 3)
    for engine, sampled, kept in zip(engines, expected, rows, strict=True):
        assert engine.sample_rows(identity, weights, 3, 2**63)[0].tolist() == sampled
        assert engine.oversample(*arguments)[1].tolist() == kept


@given(
    n=SIZES,
    d=st.integers(1, 5),
    table=st.sampled_from(strategies.KINDS),
    kind=st.sampled_from(strategies.WEIGHTS),
    batches=st.lists(st.integers(0, 9), max_size=3),
    wanted=st.sampled_from([0.5, 8.0, 400.0]),
    seed=st.integers(0, 2**64 - 1),
)
def test_rounds_are_the_oracle(engines, n, d, table, kind, batches, wanted, seed):
    values, weights = weighted(kind, n, seed)
    rows = strategies.table(table, n, d, seed)
    identity = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
    new = [strategies.centres(rows, k, seed + j) for j, k in enumerate([1, *batches])]
    closest = [np.full(n, np.inf, np.float32) for _ in engines]
    for number in range(len(new)):
        near = floats.chain(rows, np.concatenate(new[: number + 1])).min(axis=1) if n else closest[0]
        of_all = oracle.total(near, values)
        expected = oracle.kept(near, values, identity, seed, number, wanted, of_all)
        for engine, mine in zip(engines, closest, strict=True):
            total, found = engine.oversample(
                np.ascontiguousarray(rows.T),
                weights,
                mine,
                new[number],
                identity,
                Round(seed, number, wanted),
            )
            assert mine.tolist() == near.tolist()
            assert total.to_fractions() == [of_all]
            assert found.dtype == np.int64
            assert found.tolist() == expected


def test_sums_of_heavy_rows_leave_64_bits(engines):
    n = 40
    weights = Weights(WeightMode.INTEGER, np.full(n, 2**31 - 1, np.int64), np.empty(0, np.float32))
    block, none = np.zeros((1, n), np.float32), np.empty((0, 1), np.float32)
    who, closest = np.arange(n, dtype=np.uint64), np.full(n, np.float32(2.0 - 2.0**-23))
    for engine in engines:
        total, _ = engine.oversample(block, weights, closest, none, who, Round(0, 0, 1.0))
        assert total.to_fractions() == [oracle.total(closest, [2**31 - 1] * n)]
        assert max(total.bins.to_ints()) > 2**64


def test_what_does_not_fit_is_refused(engines):
    block, who = np.ones((2, 4), np.float32), np.arange(4, dtype=np.uint64)
    near, points, drawing = np.ones(4, np.float32), np.ones((1, 2), np.float32), Round(1, 1, 2.0)
    short = Weights(WeightMode.INTEGER, np.ones(3, np.int64), np.empty(0, np.float32))
    ones = Weights.ones()
    engine = engines[0]
    with pytest.raises(ContractError, match="3 weights do not fit a block of 4 rows"):
        engine.sample_rows(who, short, 1, 5)
    for case, said in (
        ((short, near, points, who, drawing), "3 weights do not fit a block of 4 rows"),
        ((ones, near, points, who[:3], drawing), "3 identities do not fit a block of 4 rows"),
        ((ones, near[:3], points, who, drawing), "do not fit a block of 4 rows and 2 features"),
        ((ones, near, points[:, :1], who, drawing), "do not fit a block of 4 rows and 2 features"),
        ((ones, near, points[0], who, drawing), "do not fit a block of 4 rows and 2 features"),
    ):
        with pytest.raises(ContractError, match=said):
            engine.oversample(block, *case)
    for seed, number in ((-1, 0), (2**64, 0), (1, -1), (1, 2**32)):
        with pytest.raises(InputError, match="is not in 0"):
            engine.oversample(block, ones, near, points, who, Round(seed, number, 2.0))
    with pytest.raises(InputError, match="is not in 0"):
        engine.sample_rows(who, ones, -1, 5)
    assert near.tolist() == [1.0] * 4
