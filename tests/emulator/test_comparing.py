"""Others that stay on a device while slices of rows are compared with them: they travel once, no bit changes."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import numpy as np
import pytest

from gpuseg.engines.base import ClusteredRows
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.engine import DeviceEngine
from gpuseg.errors import ContractError
from tests.emulator.device import PROPS
from tests.emulator.test_engine import uploaded
from tests.strategies import table

CPU = CpuEngine(n_jobs=1)
N, D, K, EXPONENT = 300, 3, 4, 30
STARTS = np.array([0, 70, 70, 199, N])
TILE_BYTES = 64 * 4 * D


class Comparison:
    """Slices of rows against all, on the device and on the CPU beside it."""

    def __init__(self, device, **options):
        self.device = device
        self.engine = DeviceEngine(device, tile_bytes=TILE_BYTES, **options)
        self.block = np.ascontiguousarray(table("normal", N, D, 3).T)
        self.others = ClusteredRows(self.block, STARTS)

    def compare(self, low=0, high=N):
        rows = np.ascontiguousarray(self.block[:, low:high])
        found, wanted = np.full((2, high - low, K), 5)
        self.engine.silhouette_sums(rows, self.others, EXPONENT, found)
        CPU.silhouette_sums(rows, ClusteredRows(self.others.block, STARTS), EXPONENT, wanted)
        assert np.array_equal(found, wanted)


def test_the_others_travel_once(make_device):
    compared = Comparison(make_device())
    staged = uploaded(compared.device, "upload")
    compared.compare(0, 100)
    assert sum(source.nbytes for source, *_ in staged) == 4 * D * N
    staged.clear()
    plain = uploaded(compared.device, "to_device")
    compared.compare(100, 250)
    compared.compare(250, N)
    assert staged == []
    assert sum(array.nbytes for (array,) in plain if array.dtype == np.float32) == 4 * D * 200


@pytest.mark.parametrize("seed", range(3))
def test_late_streams_change_nothing(make_device, seed):
    compared = Comparison(make_device(seed=seed, deferred=True))
    compared.compare(0, 100)
    compared.compare(100, N)


def test_all_of_it_goes_back_with_the_record(make_device):
    compared = Comparison(make_device())
    compared.compare()
    assert compared.device.memory.used == 4 * D * N
    compared.others = None
    gc.collect()
    assert compared.device.memory.used == 0


def test_without_room_nothing_stays(make_device):
    compared = Comparison(make_device(), keep_bytes=4 * D * N - 1)
    compared.compare()
    compared.compare()
    assert compared.others.kept is None
    assert compared.device.memory.used == 0


def test_another_block_or_engine_is_not_mistaken_for_the_one_that_stayed(make_device):
    compared = Comparison(make_device())
    compared.compare()
    kept = compared.others.kept
    compared.others.block = compared.block[:, ::-1].copy()
    compared.compare()
    assert compared.others.kept is not kept
    compared.engine = DeviceEngine(make_device(), tile_bytes=TILE_BYTES)
    compared.compare()


@pytest.mark.parametrize("full_at_first", [True, False])
def test_a_device_too_full_to_keep_them_still_answers(make_device, caplog, full_at_first):
    full = replace(PROPS, total_memory=5000)
    compared = Comparison(make_device(props=full if full_at_first else PROPS), keep_bytes=1 << 20)
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        compared.compare(0, 100)
        compared.device.props = full
        compared.compare(100, 200)
        compared.compare(200, N)
    # Tried once: all others would go up for nothing with every slice.
    assert caplog.text.count("nothing stays on it") == 1
    assert compared.device.memory.used == 0
    compared.others = ClusteredRows(compared.block, STARTS)
    compared.device.props = PROPS
    compared.compare()
    assert compared.device.memory.used == 4 * D * N


def test_what_was_dropped_goes_up_again(make_device):
    compared = Comparison(make_device())
    compared.compare()
    assert compared.engine._residents.drop_all()
    assert compared.device.memory.used == 0
    compared.compare()
    assert compared.device.memory.used == 4 * D * N


def test_others_of_another_type_are_refused_and_nothing_stays(make_device):
    compared = Comparison(make_device())
    wrong = ClusteredRows(compared.block.astype(np.float64), STARTS)
    with pytest.raises(ContractError, match="others is float64, its kernel reads float32"):
        compared.engine.silhouette_sums(compared.block, wrong, EXPONENT, np.zeros((N, K), np.int64))
    assert wrong.kept is None
    assert compared.device.memory.used == 0
