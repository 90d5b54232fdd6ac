"""Rows compared with all others on a device, some at a time (room: engines): the others go up once, where they fit.

Called by ``DeviceEngine`` only. The caller's record owns what is kept, within the budget of all that stays there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.engines.base import Block, ClusteredRows
from gpuseg.engines.device.inputs import upload
from gpuseg.engines.device.resident import Residents
from gpuseg.engines.device.silhouette import silhouette_sums_on_device
from gpuseg.engines.device.tiles import HostArray, plan_tile_rows, run_tiles
from gpuseg.engines.launch import Device, DeviceArray

Int64Array = npt.NDArray[np.int64]


class Comparisons:
    """What one device does with rows and the others that they are compared with.

    Parameters
    ----------
    device : Device
        Where.
    tile_bytes : int
        Bytes of a tile.
    residents : Residents
        What stays on the device.
    """

    def __init__(self, device: Device, tile_bytes: int, residents: Residents) -> None:
        self._device = device
        self._tile_bytes = tile_bytes
        self._residents = residents

    def sums(self, rows: Block, others: ClusteredRows, exponent: int, out: Int64Array) -> None:
        """Add each row's distances to the others of each cluster to ``out[i, c]``; see ``Engine.silhouette_sums``."""
        d, n = rows.shape
        step = plan_tile_rows(4 * d + 8 * others.k, self._tile_bytes)
        for low in range(0, n, step):
            some = np.ascontiguousarray(rows[:, low : low + step])
            found = self._kept(some, others, exponent)
            out[low : low + step] += self._streamed(some, others, exponent) if found is None else found

    def _kept(self, rows: Block, others: ClusteredRows, exponent: int) -> Int64Array | None:
        """Sums with others that stay, or None where they do not fit."""
        device, residents, kept = self._device, self._residents, others.kept
        tiles = None
        if isinstance(kept, _Kept) and kept.device is device and kept.block() is others.block:
            if kept.too_much:
                return None
            tiles = kept.tiles
        if tiles is not None:
            found = residents.attempt(device, lambda: self._again(rows, others, tiles, exponent))
        else:
            others.kept = None
            if not residents.have_room(others.block.nbytes):
                return None
            found = residents.attempt(device, lambda: self._first(rows, others, exponent))
        if found is None:
            others.kept = _Kept(device, weakref.ref(others.block), None, too_much=True)
        return found

    def _first(self, rows: Block, others: ClusteredRows, exponent: int) -> Int64Array:
        """The others go up and stay."""
        x = upload(self._device, rows, np.float32, "rows")
        total, tiles = _no_sums(rows, others), []

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            tiles.append(_Tile(start, stop, upload(device, arrays[0], np.float32, "others")))
            total[...] += self._of_tile(x, tiles[-1], others, exponent)

        self._run(others, work, keep=True)
        others.kept = _Kept(self._device, weakref.ref(others.block), tiles)
        self._residents.add(others.kept)
        return total

    def _again(self, rows: Block, others: ClusteredRows, tiles: list[_Tile], exponent: int) -> Int64Array:
        """With others that stayed."""
        x = upload(self._device, rows, np.float32, "rows")
        total = _no_sums(rows, others)
        for tile in tiles:
            total += self._of_tile(x, tile, others, exponent)
        return total

    def _streamed(self, rows: Block, others: ClusteredRows, exponent: int) -> Int64Array:
        """The others come and go, tile by tile."""
        total = _no_sums(rows, others)

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            x = upload(device, rows, np.float32, "rows")
            tile = _Tile(start, stop, upload(device, arrays[0], np.float32, "others"))
            total[...] += self._of_tile(x, tile, others, exponent)

        self._run(others, work, keep=False)
        return total

    def _of_tile(self, x: DeviceArray, tile: _Tile, others: ClusteredRows, exponent: int) -> Int64Array:
        device = self._device
        starts = np.clip(others.starts, tile.start, tile.stop) - tile.start
        sums = silhouette_sums_on_device(
            device, x, tile.x, upload(device, starts, np.int64, "starts"), exponent
        )
        return device.to_host(sums).view(np.int64).T

    def _run(
        self,
        others: ClusteredRows,
        work: Callable[[Device, int, int, Sequence[HostArray]], None],
        *,
        keep: bool,
    ) -> None:
        d, m = others.block.shape
        run_tiles(
            self._device, m, 4 * d, lambda i, j: [others.block[:, i:j]], work,
            tile_bytes=self._tile_bytes, keep=keep, spare=self._residents.drop_all,
        )  # fmt: skip


@dataclass
class _Tile:
    """Others ``start`` to ``stop`` on the device."""

    start: int
    stop: int
    x: DeviceArray


@dataclass
class _Kept:
    """Others that stay; ``tiles`` is None once they were dropped.

    ``too_much``: beside them the device had no room for the work, so they are not tried again.
    """

    device: Device
    block: weakref.ref[Block]
    tiles: list[_Tile] | None
    too_much: bool = False

    @property
    def nbytes(self) -> int:
        """Device memory that they hold."""
        return sum(tile.x.nbytes for tile in self.tiles or [])

    def drop(self) -> None:
        """Let go of the device's memory."""
        self.tiles = None


def _no_sums(rows: Block, others: ClusteredRows) -> Int64Array:
    return np.zeros((rows.shape[1], others.k), np.int64)
