"""``engine="cuda"`` and what it cannot take: a clear error with the remedy, nothing corrupted, the memory given back.

An emulated device stands behind the name; what a verb refuses by itself is in the tests of the verb.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpuseg import KMeans
from gpuseg.engines import cuda, cuda_driver
from gpuseg.engines.cuda_driver import Card, Driver
from gpuseg.engines.device.engine import DeviceEngine
from gpuseg.errors import (
    ContractError,
    DeviceMemoryError,
    EngineUnavailableError,
    InputError,
    NotFiniteError,
    RangeError,
)
from tests.emulator.device import PROPS
from tests.strategies import table

ROWS = table("normal", 200, 3, 1)


@pytest.fixture
def card(make_emulated, monkeypatch):
    """``card(**limits)``: the emulated device that ``engine="cuda"`` runs on from now on."""

    def put(**limits):
        device = make_emulated(props=replace(PROPS, **limits))
        engine = DeviceEngine(device, tile_bytes=64 * 12)
        monkeypatch.setattr(cuda, "unavailable", lambda: None)
        monkeypatch.setattr(cuda, "_engine", lambda process: engine)
        return device

    return put


def model(engine="cuda", **parameters):
    return KMeans(**{"n_clusters": 3, "random_state": 0, "max_iter": 3, "engine": engine, **parameters})


def spoilt(value):
    rows = ROWS.copy()
    rows[150, 1] = value
    return rows


BAD = {
    "dtype": (lambda: ROWS.astype(complex), {}, ValueError, "Complex data not supported"),
    "k = 0": (lambda: ROWS, {"n_clusters": 0}, InputError, "n_clusters"),
    "NaN": (lambda: spoilt(np.nan), {}, NotFiniteError, r"NaN or infinity: 1 values in feature 1 \(1\)"),
    "infinity": (lambda: spoilt(np.inf), {}, NotFiniteError, "impute them or drop"),
    "beyond range": (lambda: spoilt(2.0**60), {}, RangeError, "divide it by a constant"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fit_refuses_and_keeps_no_memory(card, case):
    make, parameters, error, message = BAD[case]
    device, fresh = card(), model(**parameters)
    before = vars(fresh).copy()
    with pytest.raises(error, match=message):
        fresh.fit(make())
    assert vars(fresh) == before
    assert device.memory.used == 0
    assert model().fit(ROWS).cluster_centers_.tobytes() == model("cpu").fit(ROWS).cluster_centers_.tobytes()
    assert device.memory.used == 0
    assert device.memory.peak > 0


@pytest.mark.parametrize("turn", [np.asfortranarray, lambda rows: np.repeat(rows, 2, axis=0)[::2], list])
def test_any_order_and_strides_give_the_same(card, turn):
    device = card()
    found, wanted = model().fit(turn(ROWS)), model("cpu").fit(turn(ROWS))
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.engine_ == "cuda (asked for)"
    assert device.launches


def test_more_features_than_a_block_has_room_for(card):
    device, rows = card(), np.random.default_rng(1).normal(size=(40, 5000)).astype(np.float32)
    assert model().fit(rows).cluster_centers_.tobytes() == model("cpu").fit(rows).cluster_centers_.tobytes()
    assert device.memory.used == 0


def test_blocks_beyond_the_device(card):
    device = card(max_threads=64)
    with pytest.raises(
        ContractError, match=r"blocks of 256 threads do not fit .* up to 64; use engine='cpu'"
    ):
        model().fit(ROWS)
    assert device.memory.used == 0


def test_a_full_device(card):
    device = card(total_memory=1000)
    with pytest.raises(DeviceMemoryError, match="use engine='cpu', or end what else uses the device"):
        model().fit(ROWS)
    assert device.memory.used == 0


def test_an_old_driver(monkeypatch):
    monkeypatch.setattr(cuda_driver, "look", lambda: Driver(11_040, (Card("Card A", 90, 80 << 30),), ""))
    cuda._unavailable.cache_clear()
    fresh = model()
    try:
        with pytest.raises(
            EngineUnavailableError, match=r"CUDA 11\.4; update it to one for CUDA 12 or newer"
        ):
            fresh.fit(ROWS)
    finally:
        cuda._unavailable.cache_clear()
    assert not hasattr(fresh, "cluster_centers_")
