"""Host blocks in bounded tiles, the next one on its way while the last is worked on (room: engines).

Called by ``DeviceEngine`` only. Sums are integers, so the size of a tile changes no bit: where the device runs out of
memory, tiles are halved and the work goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.launch import WARP, Device, DeviceArray, DeviceProps, Module, Stream
from gpuseg.errors import DeviceMemoryError

logger = logging.getLogger("gpuseg.engines")

Result = TypeVar("Result")
HostArray = npt.NDArray[Any]

TILE_BYTES = 256 << 20
"""Most bytes of one tile; a device with less than 16 times as much takes a sixteenth of its memory."""


def plan_tile_bytes(props: DeviceProps, wanted: int | None = None) -> int:
    """Bytes a tile may have; two tiles, what kernels make of them and other processes share the device."""
    return min(TILE_BYTES, props.total_memory // 16) if wanted is None else wanted


def plan_tile_rows(row_bytes: int, tile_bytes: int) -> int:
    """Rows a tile: whole warps, at least one of them."""
    return max(tile_bytes // max(row_bytes, 1) // WARP, 1) * WARP


def run_tiles(
    device: Device,
    n_rows: int,
    row_bytes: int,
    cut: Callable[[int, int], Sequence[HostArray]],
    work: Callable[[Device, int, int, Sequence[HostArray]], Result],
    *,
    tile_bytes: int,
    keep: bool = False,
    spare: Callable[[], bool] = bool,
) -> list[Result]:
    """``work`` for tiles of rows that cover 0 .. n_rows - 1, in order.

    Parameters
    ----------
    device : Device
        Where it is done.
    n_rows : int
        Rows; with 0 there is one empty tile.
    row_bytes : int
        Bytes a row takes on the device, results included.
    cut : callable
        ``cut(start, stop)`` gives the host arrays of a tile, views of any strides.
    work : callable
        ``work(device, start, stop, arrays)`` gets the same values in contiguous arrays that are valid during the call;
        its device's ``to_device`` knows them and gives their copy, which may still be on its way, without another. It
        changes nothing outside before the device has done its part, and waits for the stream.
    tile_bytes : int
        Bytes of a tile.
    keep : bool, default False
        Whether ``work`` may keep what its device's ``to_device`` gave it: every tile then has memory of its own, and a
        full device is left to the caller.
    spare : callable
        Lets go of memory that can be made again, and says whether it did; asked before tiles are halved.

    Returns
    -------
    list
        The results, one a tile.

    Raises
    ------
    DeviceMemoryError
        If even a tile of one warp does not fit.
    """
    results: list[Result] = []
    done = 0
    rows = min(plan_tile_rows(row_bytes, tile_bytes), max(-(-n_rows // WARP), 1) * WARP)

    def finish(start: int, stop: int, result: Result) -> None:
        nonlocal done
        del start
        results.append(result)
        done = stop

    while True:
        try:
            _run(device, done, n_rows, rows, cut, work, finish, keep=keep)
        except DeviceMemoryError as error:
            if keep:
                raise
            if rows <= WARP and not spare():
                msg = f"{error}; a tile has {rows} rows already: use engine='cpu', or end what else uses the device"
                raise DeviceMemoryError(msg) from None
        else:
            return results
        # Here, not in the handler, the traceback and the arrays that its frames hold are gone.
        freed = spare()
        device.release()
        if freed:
            continue
        rows = max(rows // 2 // WARP, 1) * WARP
        logger.info("the device is short of memory: tiles of %d rows from row %d on", rows, done)


def cut_weights(weights: Weights, start: int, stop: int) -> list[HostArray]:
    """The weights of a tile; none where every row counts once."""
    if weights.mode is WeightMode.NONE:
        return []
    return [(weights.reals if weights.mode is WeightMode.REAL else weights.integers)[start:stop]]


def join_weights(mode: WeightMode, arrays: Sequence[HostArray]) -> Weights:
    """What :func:`cut_weights` took apart."""
    ones = Weights.ones()
    if mode is WeightMode.INTEGER:
        return Weights(mode, arrays[0], ones.reals)
    return Weights(mode, ones.integers, arrays[0]) if mode is WeightMode.REAL else ones


def weight_bytes(mode: WeightMode) -> int:
    """Bytes of one row's weight."""
    return {WeightMode.NONE: 0, WeightMode.INTEGER: 8, WeightMode.REAL: 4}[mode]


def _run(
    device: Device,
    first: int,
    n_rows: int,
    rows: int,
    cut: Callable[[int, int], Sequence[HostArray]],
    work: Callable[[Device, int, int, Sequence[HostArray]], Result],
    finish: Callable[[int, int, Result], None],
    *,
    keep: bool,
) -> None:
    """Tiles of ``rows`` rows from ``first`` on."""
    starts = list(range(first, n_rows, rows)) or [first]
    copies = device.new_stream()
    slots = [_Slot(device, copies, keep=keep), _Slot(device, copies, keep=keep)]
    try:
        slots[0].stage(cut(starts[0], min(starts[0] + rows, n_rows)))
        for number, start in enumerate(starts):
            if number + 1 < len(starts):
                following = starts[number + 1]
                slots[(number + 1) % 2].stage(cut(following, min(following + rows, n_rows)))
            slot, stop = slots[number % 2], min(start + rows, n_rows)
            finish(start, stop, work(_Staged(device, slot), start, stop, slot.hosts))
    finally:
        # Memory that goes back while a copy into it is under way could be given to somebody else.
        copies.synchronize()


class _Slot:
    """Room for one tile: page-locked on the host, and on the device."""

    def __init__(self, device: Device, copies: Stream, *, keep: bool) -> None:
        self._device = device
        self._keep = keep
        self._copies = copies
        self._copied = copies.record()
        self.hosts: list[HostArray] = []
        self.arrays: list[DeviceArray] = []

    def stage(self, views: Sequence[HostArray]) -> None:
        """Put a tile on its way."""
        device = self._device
        self._copied.synchronize()
        if [(a.shape, a.dtype) for a in self.hosts] != [(v.shape, v.dtype) for v in views]:
            self.hosts, self.arrays = [], []
            self.hosts = [device.pinned(view.shape, view.dtype) for view in views]
        if self._keep or not self.arrays:
            self.arrays = []  # what nobody kept goes back first
            self.arrays = [device.empty(view.shape, view.dtype) for view in views]
        for host, view in zip(self.hosts, views, strict=True):
            np.copyto(host, view)
        # What the device still does with the tile before, or did with this memory under another name, comes first.
        self._copies.wait(device.stream.record())
        for host, array in zip(self.hosts, self.arrays, strict=True):
            device.upload(host, array, self._copies)
        self._copied = self._copies.record()

    def find(self, array: HostArray) -> DeviceArray | None:
        """The device's copy of one of ``hosts``; the device waits for it, the host does not."""
        for host, copy in zip(self.hosts, self.arrays, strict=True):
            same_memory = array.ctypes.data == host.ctypes.data and array.strides == host.strides
            if same_memory and array.shape == host.shape and array.dtype == host.dtype:
                self._device.stream.wait(self._copied)
                return copy
        return None


class _Staged:
    """The device, with a ``to_device`` that knows what lies in a slot."""

    def __init__(self, device: Device, slot: _Slot) -> None:
        self._device = device
        self._slot = slot

    @property
    def props(self) -> DeviceProps:
        return self._device.props

    @property
    def stream(self) -> Stream:
        return self._device.stream

    @property
    def xp(self) -> Any:
        return self._device.xp

    def module(
        self, source: str, names: Sequence[str], defines: Mapping[str, int | str] | None = None
    ) -> Module:
        return self._device.module(source, names, defines)

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        return self._device.empty(shape, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        return self._device.zeros(shape, dtype)

    def to_device(self, array: HostArray) -> DeviceArray:
        found = self._slot.find(array)
        return self._device.to_device(array) if found is None else found

    def to_host(self, array: DeviceArray) -> HostArray:
        return self._device.to_host(array)

    def new_stream(self) -> Stream:
        return self._device.new_stream()

    def pinned(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> HostArray:
        return self._device.pinned(shape, dtype)

    def upload(self, source: HostArray, target: DeviceArray, stream: Stream) -> None:
        self._device.upload(source, target, stream)

    def release(self) -> None:
        self._device.release()
