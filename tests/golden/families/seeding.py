"""Who is in the sample, and which rows greedy k-means++ picks, for each kind of weights."""

from __future__ import annotations

import numpy as np

from gpuseg.cluster.seeding import greedy_kmeanspp
from gpuseg.core import seeding
from gpuseg.core.identity import row_numbers, text_keys
from gpuseg.core.seeding import Sample
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.cpu.engine import CpuEngine
from tests.golden.families import _data

SEED = 0x0123_4567_89AB_CDEF


def make() -> dict[str, object]:
    names = [f"customer-{i}" for i in range(_data.N)]
    identities = {"row numbers": row_numbers(1000, _data.N), "keys": text_keys(names)}
    return {
        "trials": [seeding.local_trials(k) for k in (1, 2, 3, 7, 8, 20, 21, 1000)],
        "draws": [f"{draw:x}" for draw in seeding.seeding_draws(SEED, 2, 4, 4)[3].tolist()],
        "sample": {
            f"{who}, weights {name}": _sample(identity, weights)
            for who, identity in identities.items()
            for name, weights in _data.weights().items()
        },
        "exponent": {name: _exponents(weights) for name, weights in _data.weights().items()},
        "picks": {name: _picks(weights) for name, weights in _data.weights().items()},
    }


def _weights(values: np.ndarray | None) -> Weights:
    return Weights.of(values, WeightRange.of(values, _data.N).mode())


def _sample(identity: np.ndarray, values: np.ndarray | None) -> list[str]:
    block = np.ascontiguousarray(_data.rows().T)
    sample = Sample.of(12, SEED, identity, block, _weights(values)).finish()
    rows = [np.flatnonzero(identity == who)[0] for who in sample.identity]
    return [f"{row} {draw:x}" for row, draw in zip(rows, sample.draw.tolist(), strict=True)]


def _exponents(values: np.ndarray | None) -> list[int]:
    return [seeding.potential_exponent(x, _data.N, _weights(values)) for x in (2.0**-149, 1.0, 1e5, 2.0**102)]


def _picks(values: np.ndarray | None) -> list[list[str]]:
    """Three greedy seedings of five centres from the rows that count; a row is named by its second feature."""
    rows = _data.rows()
    kept = np.arange(_data.N) if values is None else np.flatnonzero(values.astype(np.float32) > 0)
    block, weights = np.ascontiguousarray(rows[kept].T), _weights(values).take(kept)
    seedings = [greedy_kmeanspp(CpuEngine(), block, weights, 5, SEED, number) for number in range(3)]
    return [[value.hex() for value in seeds[:, 1].tolist()] for seeds in seedings]
