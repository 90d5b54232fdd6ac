"""Nearest centres and cluster sums on a device (room: engines): host side of ``kernels/assign.cu``.

The same records, to the bit, as ``CpuEngine.assign``. Between passes :class:`AssignMemo` keeps labels and sums where
they are made; only the merged sums come down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import AssignResult, AssignState, Block, label_dtype
from gpuseg.engines.device.memo import AssignMemo
from gpuseg.engines.launch import (
    MAX_GRID_Y,
    WARP,
    Device,
    DeviceArray,
    Geometry,
    Module,
    ceil_div,
    kernel_source,
    require_no_error,
)
from gpuseg.errors import ContractError

WANT_SUMS, WANT_INERTIA, WANT_DISTANCE = 1, 2, 4

_LABEL_NAMES = {1: "u8", 2: "u16", 4: "i32"}
_WIDE_BYTES = 16
_MERGE_WARPS = 16
_LEAST_HALVED = 16  # tiles of centres from here on are halved for few clusters
_LANES_A_COPY = 64  # copies x clusters that keep the lanes of a warp apart


@dataclass(frozen=True)
class AssignSizes:
    """Sizes of the launches (``kernels/assign.cu``); they change no bit of an answer. Tests shrink them.

    Parameters
    ----------
    threads : int, default 256
        Threads a block.
    values : int, default 64
        Values of x that a thread keeps in registers: the largest d of the route that reads x once.
    k_tile, wide_k_tile : int, default 4 and 32
        Centres at a time, on the route that reads x once and, at most, in tiles; powers of 2, at least 4.
    chunk : int, default 256
        Features of a tile of centres in shared memory, on the route for any d.
    window : int, default 2047
        Rows that 32-bit sums take; at most 2,047, at least ``threads``.
    reach : int, default 2**22
        Rows that 64-bit sums take; at most 2**22, at least ``window``.
    blocks : int, default 2
        Blocks a multiprocessor.
    shared : int, optional
        Shared memory in bytes a block may have; the device's limit when None.
    """

    threads: int = 256
    values: int = 64
    k_tile: int = 4
    wide_k_tile: int = 32
    chunk: int = 256
    window: int = 2047
    reach: int = 1 << 22
    blocks: int = 2
    shared: int | None = None

    def rows(self, d: int) -> int:
        """Rows of a thread on the route that reads x once."""
        return max(1, min(4, self.values // d, self.window // self.threads))

    def wide_tile(self, k: int) -> int:
        """Centres at a time in tiles: each tile costs a read of x, and centres that only fill it up cost arithmetic."""
        tile = self.wide_k_tile
        while tile >= _LEAST_HALVED and tile // 2 >= k:
            tile //= 2
        return tile


SIZES = AssignSizes()


def assign(
    device: Device,
    block: Block,
    weights: Weights,
    centres: Sequence[npt.NDArray[np.float32]],
    states: Sequence[AssignState],
    scales: Scales,
    *,
    sums: bool = True,
    inertia: bool = False,
    distance: npt.NDArray[np.float32] | None = None,
) -> list[AssignResult]:
    """Nearest centre of every row of a host block for each model: :meth:`gpuseg.engines.base.Engine.assign`.

    Parameters
    ----------
    device : Device
        Where it is computed; block, labels and remembered sums are uploaded.
    block : float32 array, shape (d, n)
        Feature-major, C order.
    weights : Weights
        Of the n rows.
    centres : sequence of float32 arrays, shape (k, d)
        One a model.
    states : sequence of AssignState
        One a model; ``labels`` and ``sums`` are updated.
    scales : Scales
        Fixed-point exponents and weight arithmetic of the whole data set.
    sums : bool, default True
        Whether masses and totals are wanted; if not they are zeros and the states forget theirs.
    inertia : bool, default False
        Whether the inertia is wanted.
    distance : float32 array, shape (n,), optional
        Receives each row's chain d2; one model only.

    Returns
    -------
    list of AssignResult
        Equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If shapes do not fit each other, a value does not fit its scale or a weight is out of range.
    """
    d, n = block.shape
    _require_fit(block, weights, centres, states)
    x = device.to_device(block)
    w = device.to_device(weights.reals if weights.mode is WeightMode.REAL else weights.integers)
    far = None if distance is None else device.empty(n, np.float32)
    known = [state.sums for state in states]
    for state in states:
        # An exception half-way must not leave labels and sums that disagree.
        state.sums = None
    results: dict[int, AssignResult] = {}
    for width in _LABEL_NAMES:
        chosen = [m for m, c in enumerate(centres) if np.dtype(label_dtype(len(c))).itemsize == width]
        if not chosen:
            continue
        last = [(len(centres[m]), states[m].labels, known[m]) for m in chosen]
        memo = AssignMemo.upload(device, d, weights.mode, last)
        found = assign_on_device(
            device, x, w, [centres[m] for m in chosen], memo, scales, sums=sums, inertia=inertia, distance=far
        )
        for row, m in zip(device.to_host(memo.labels), chosen, strict=True):
            states[m].labels[:] = row
        results.update(zip(chosen, found, strict=True))
    if distance is not None and far is not None:
        distance[:] = device.to_host(far)
    for m, state in enumerate(states):
        state.sums = results[m].sums if sums else None
    return [results[m] for m in range(len(states))]


def assign_on_device(
    device: Device,
    x: DeviceArray,
    w: DeviceArray,
    centres: Sequence[npt.NDArray[np.float32]],
    memo: AssignMemo,
    scales: Scales,
    *,
    models: Sequence[int] | None = None,
    sums: bool = True,
    inertia: bool = False,
    distance: DeviceArray | None = None,
    sizes: AssignSizes = SIZES,
) -> list[AssignResult]:
    """One pass over a block that is on the device already.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Feature-major.
    w : DeviceArray of int64 or float32, shape (n,)
        float32 where the memo's mode is REAL; of any length, and not read, where it is NONE.
    centres : sequence of float32 arrays, shape (k, d)
        On the host: one a model that takes part.
    memo : AssignMemo
        Labels and sums of the last pass; updated.
    scales : Scales
        Fixed-point exponents and weight arithmetic.
    models : sequence of int, optional
        Which models of the memo take part; all of them when None. The others stay as they are.
    sums, inertia : bool
        As :func:`assign` takes them.
    distance : DeviceArray of float32, shape (n,), optional
        Receives each row's chain d2; one model only.
    sizes : AssignSizes
        Of the launches.

    Returns
    -------
    list of AssignResult
        One a model that takes part, equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If a value does not fit its scale or a weight is out of range, or if several models share one ``distance``.

    Notes
    -----
    Models whose centres and sums fit shared memory together are fed by one read of x; a model that does not fit it
    alone, or has more features than a thread keeps, goes over x in tiles. Beside x, labels and memo the device holds 16
    bytes an entry and block of the grid, and on the tiled route n labels. Waits for the stream once a download.
    """
    d = x.shape[0]
    chosen = range(len(memo.ks)) if models is None else models
    if distance is not None and len(chosen) != 1:
        raise ContractError(
            f"{len(chosen)} models cannot share one array of distances; ask for one at a time"
        )
    for m, c in zip(chosen, centres, strict=True):
        if c.shape != (memo.ks[m], d) or d != memo.d:
            raise ContractError(
                f"centres of shape {c.shape} do not fit a memo of {memo.ks[m]} clusters, {d} features"
            )
    if (memo.mode is WeightMode.REAL) != (scales.mode is WeightMode.REAL):
        raise ContractError(
            f"weights of mode {memo.mode.name} meet scales of mode {scales.mode.name}; decide it over all rows"
        )
    wants = WANT_SUMS * sums | WANT_INERTIA * inertia | WANT_DISTANCE * (distance is not None)
    call = _Pass(device, x, w, memo, scales, wants, distance, sizes)
    by_model = dict(zip(chosen, centres, strict=True))
    batches = list(call.batches(chosen))
    extras: list[_Limbs] = []
    for batch in batches:
        # Until the error word has been read nothing is known.
        known = [memo.known[m] for m in batch.models]
        for m in batch.models:
            memo.known[m] = False
        rows = [by_model[m] for m in batch.models]
        extras.append(
            call.fused(batch.models, rows, known)
            if batch.fused
            else call.tiled(batch.models[0], rows[0], known=known[0])
        )
    require_no_error(device, call.error)
    for m in chosen:
        memo.known[m] = sums
    full = memo.download(device) if sums else None
    results: dict[int, AssignResult] = {}
    for batch, extra in zip(batches, extras, strict=True):
        results.update(call.results(batch, extra, full))
    return [results[m] for m in chosen]


_Limbs = tuple[DeviceArray, DeviceArray]


@dataclass(frozen=True)
class _Batch:
    """Models that one launch takes."""

    models: list[int]
    fused: bool


class _Pass:
    """One pass: what all of its launches share."""

    def __init__(
        self,
        device: Device,
        x: DeviceArray,
        w: DeviceArray,
        memo: AssignMemo,
        scales: Scales,
        wants: int,
        distance: DeviceArray | None,
        sizes: AssignSizes,
    ) -> None:
        self._device = device
        self._x, self._w, self._memo = x, w, memo
        self._d, self._n = x.shape
        self._exponent = scales.exponent
        self._wants = wants
        self._distance = device.empty(1, np.float32) if distance is None else distance
        self._sizes = sizes
        self._scale = device.to_device(np.ldexp(np.ones(self._d), scales.exponent.astype(np.int32)))
        self._instance = f"<{memo.mode.name}, {_LABEL_NAMES[memo.labels.dtype.itemsize]}>"
        self._extras = 1 + N_BINS if wants & WANT_INERTIA else 1
        self._limit = device.props.max_shared if sizes.shared is None else sizes.shared
        self.error = device.zeros(1, np.uint32)

    def batches(self, models: Sequence[int]) -> Iterator[_Batch]:
        """As few launches as shared memory allows, models in order."""
        waiting: list[int] = []
        for m in models:
            if self._fused_bytes([m], 1) > self._limit or self._d > self._sizes.values:
                yield _Batch([m], fused=False)
            elif self._fused_bytes([*waiting, m], 1) > self._limit:
                yield _Batch(waiting, fused=True)
                waiting = [m]
            else:
                waiting.append(m)
        if waiting:
            yield _Batch(waiting, fused=True)

    def fused(
        self, models: Sequence[int], centres: Sequence[npt.NDArray[np.float32]], known: Sequence[bool]
    ) -> _Limbs:
        """``assign_rows``: any number of models over one read of x."""
        memo, sizes, device = self._memo, self._sizes, self._device
        tile, rows, clusters = sizes.k_tile, sizes.rows(self._d), sum(memo.ks[m] for m in models)
        module = self._module([f"assign_rows{self._instance}"], FEATURES=self._d, ROWS=rows, K_TILE=tile)
        groups = np.concatenate([_grouped(c, tile) for c in centres])
        table = self._table(models, known, tile)
        copies = self._copies(clusters, lambda copies: self._fused_bytes(models, copies))
        geometry = self._plan(rows)
        n_sums = clusters * memo.entries if self._wants & WANT_SUMS else 0
        size = n_sums + len(models) * self._extras
        hi, lo = self._partials(geometry, size)
        module[f"assign_rows{self._instance}"](
            geometry.grid,
            geometry.block,
            (
                self._x, self._w, np.int64(self._n), np.int64(self._n),
                device.to_device(groups), np.int32(len(groups)), np.int32(clusters), self._scale,
                table, np.int32(len(models)), np.int32(self._wants),
                np.int32(copies), np.int32(sizes.window), np.int64(sizes.reach),
                memo.labels, self._distance, hi, lo, self.error,
            ),
            shared=self._fused_bytes(models, copies),
        )  # fmt: skip
        tiling = (1, clusters, memo.entries)
        return self._merge(module, hi, lo, geometry, size, n_sums, tiling, table)

    def tiled(self, model: int, centres: npt.NDArray[np.float32], *, known: bool) -> _Limbs:
        """``assign_labels``, then ``assign_sums`` in tiles of clusters and entries."""
        memo, sizes, device = self._memo, self._sizes, self._device
        tile, chunk = sizes.wide_tile(len(centres)), min(sizes.chunk, max(self._d, 1))
        label = _LABEL_NAMES[memo.labels.dtype.itemsize]
        names = [f"assign_labels{self._instance}", f"assign_sums{self._instance}", f"adopt_labels<{label}>"]
        module = self._module(names, FEATURES=1, ROWS=1, K_TILE=tile)
        wants_sums = bool(self._wants & WANT_SUMS)
        # Where the old labels are wanted once more, the new ones wait elsewhere.
        apart = known and wants_sums
        fresh = device.empty((1, self._n), memo.labels.dtype) if apart else memo.labels
        fresh_row = np.int64(0 if apart else model)
        geometry = self._plan(1)
        hi, lo = self._partials(geometry, self._extras)
        closing = (np.int32(sizes.window), np.int64(sizes.reach))
        rows = (self._x, self._w, np.int64(self._n), np.int64(self._n), np.int32(self._d))
        labels = (memo.labels, np.int64(model), fresh, fresh_row)
        module[names[0]](
            geometry.grid,
            geometry.block,
            (
                *rows, device.to_device(_grouped(centres, tile)), np.int32(len(centres)), np.int32(chunk),
                np.int32(known), np.int32(self._wants), *closing, *labels, self._distance, hi, lo, self.error,
            ),
            shared=4 * chunk * tile + self._extras * self._entry_bytes(1),
        )  # fmt: skip
        table = self._table([model], [known], tile)
        extras = self._merge(module, hi, lo, geometry, self._extras, 0, (1, 1, 1), table)
        if wants_sums:
            tile_k, tile_e = self._plan_tiles(len(centres))
            tiles = ceil_div(len(centres), tile_k) * ceil_div(memo.entries, tile_e)
            tiling = self._plan(1, tiles)
            size = tile_k * tile_e
            hi, lo = self._partials(tiling, size * tiles)
            copies = self._copies(
                tile_k, lambda copies: _scale_bytes(tile_e) + size * self._entry_bytes(copies)
            )
            module[names[1]](
                tiling.grid,
                tiling.block,
                (
                    *rows, np.int32(len(centres)), self._scale, np.int32(tile_k), np.int32(tile_e), np.int32(tiles),
                    np.int32(known), np.int32(copies), *closing, *labels, hi, lo, self.error,
                ),
                shared=_scale_bytes(tile_e) + size * self._entry_bytes(copies),
            )  # fmt: skip
            self._merge(module, hi, lo, tiling, size, size, (tiles, tile_k, tile_e), table)
        if apart:
            module[names[2]](
                geometry.grid, geometry.block, (fresh, np.int64(self._n), memo.labels, np.int64(model))
            )
        return extras

    def results(
        self, batch: _Batch, extras: _Limbs, full: WideSum | None
    ) -> Iterator[tuple[int, AssignResult]]:
        """Records of a batch's models."""
        hi, lo = (self._device.to_host(part).reshape(-1, self._extras) for part in extras)
        extra = WideSum(hi, lo)
        for i, m in enumerate(batch.models):
            none = ClusterSums.zero(self._memo.ks[m], self._exponent, self._memo.mode)
            bins = BinSum(extra[i, 1:]) if self._extras > 1 else none.inertia
            mass, total = (none.mass, none.total) if full is None else self._memo.sums_of(m, full)
            yield m, AssignResult(ClusterSums(mass, total, bins, self._exponent), int(extra.lo[i, 0]))

    def _merge(
        self,
        module: Module,
        hi: DeviceArray,
        lo: DeviceArray,
        geometry: Geometry,
        size: int,
        n_sums: int,
        tiling: tuple[int, int, int],
        table: DeviceArray,
    ) -> _Limbs:
        """Partials of all blocks into the memo's sums, and what nothing remembers."""
        memo = self._memo
        tiles, tile_k, tile_e = tiling
        blocks = geometry.grid[0]
        warps = min(_MERGE_WARPS, blocks)
        extra = (
            self._device.empty(size - n_sums, np.int64),
            self._device.empty(size - n_sums, np.uint64),
        )
        module["assign_merge"](
            (ceil_div(size, WARP), min(tiles, MAX_GRID_Y), 1),
            (WARP * warps, 1, 1),
            (
                hi, lo, np.int64(blocks), np.int32(size), np.int32(n_sums),
                np.int32(tiles), np.int32(tile_k), np.int32(tile_e), np.int32(memo.entries),
                table, np.int32(table.shape[0]), memo.hi, memo.lo, *extra,
            ),
            shared=_WIDE_BYTES * WARP * warps,
        )  # fmt: skip
        return extra

    def _plan(self, rows: int, tiles: int = 1) -> Geometry:
        """Blocks along the rows, and along tiles; fewer along the rows where there are many tiles."""
        sizes = self._sizes
        most = max(1, ceil_div(sizes.blocks * self._device.props.multiprocessors, tiles))
        along = max(1, min(ceil_div(self._n, sizes.threads * rows), most))
        return Geometry((along, min(tiles, MAX_GRID_Y), 1), (sizes.threads, 1, 1))

    def _plan_tiles(self, k: int) -> tuple[int, int]:
        """Clusters and entries of a tile: as many clusters as fit, for x is read where a label falls into the tile."""
        entries = self._memo.entries
        most = max(1, (self._limit - 16) // (self._entry_bytes(1) + 8))
        tile_k = ceil_div(k, ceil_div(k, most))
        tile_e = max(1, min(entries, most // tile_k))
        return tile_k, tile_e if tile_e % 2 else tile_e - 1

    def _fused_bytes(self, models: Sequence[int], copies: int) -> int:
        """Shared memory of ``assign_rows``: centres, models, scales, and a ledger."""
        memo, tile = self._memo, self._sizes.k_tile
        groups = sum(ceil_div(memo.ks[m], tile) for m in models)
        sums = sum(memo.ks[m] for m in models) * memo.entries if self._wants & WANT_SUMS else 0
        entries = sums + len(models) * self._extras
        fixed = 4 * groups * self._d * tile + _MODEL_BYTES * len(models) + _scale_bytes(self._d)
        return fixed + entries * self._entry_bytes(copies)

    def _entry_bytes(self, copies: int) -> int:
        integer = self._memo.mode is WeightMode.INTEGER
        return (16 if integer else 8) + 4 * (4 if integer else 2) * copies

    def _copies(self, clusters: int, n_bytes: Callable[[int], int]) -> int:
        copies = 1
        while (
            2 * copies <= WARP
            and 2 * copies * clusters <= _LANES_A_COPY
            and n_bytes(2 * copies) <= self._limit
        ):
            copies *= 2
        return copies

    def _table(self, models: Sequence[int], known: Sequence[bool], tile: int) -> DeviceArray:
        """``Model`` of assign.cu, one a model."""
        memo = self._memo
        table = np.zeros((len(models), _MODEL_BYTES // 8), np.int64)
        group = cluster = 0
        for row, m, remembered in zip(table, models, known, strict=True):
            row[:] = memo.ks[m], group, cluster, m, remembered, memo.offset(m)
            group += ceil_div(memo.ks[m], tile)
            cluster += memo.ks[m]
        return self._device.to_device(table)

    def _partials(self, geometry: Geometry, size: int) -> tuple[DeviceArray, DeviceArray]:
        shape = (geometry.grid[0], size)
        return self._device.empty(shape, np.int64), self._device.empty(shape, np.uint64)

    def _module(self, names: Sequence[str], **defines: int) -> Module:
        return self._device.module(kernel_source("assign.cu"), [*names, "assign_merge"], defines)


_MODEL_BYTES = 48


def _scale_bytes(count: int) -> int:
    """Bytes of scales, an even number of them: the sums behind them want 16-byte alignment."""
    return 8 * (count + count % 2)


def _grouped(centres: npt.NDArray[np.float32], tile: int) -> npt.NDArray[np.float32]:
    """Centres ``[groups, d, tile]``, filled up with infinity, which is nearest to nothing."""
    k, d = centres.shape
    groups = ceil_div(k, tile)
    padded = np.full((groups * tile, d), np.inf, np.float32)
    padded[:k] = centres
    return np.ascontiguousarray(padded.reshape(groups, tile, d).transpose(0, 2, 1))


def _require_fit(
    block: Block,
    weights: Weights,
    centres: Sequence[npt.NDArray[np.float32]],
    states: Sequence[AssignState],
) -> None:
    """Refuse what a kernel, which checks no bounds, would read beyond its end or add in the wrong arithmetic."""
    d, n = block.shape
    held = {WeightMode.INTEGER: weights.integers.size, WeightMode.REAL: weights.reals.size}.get(
        weights.mode, n
    )
    if held != n:
        raise ContractError(f"{held} weights do not fit a block of {n} rows; give one weight a row")
    for c, state in zip(centres, states, strict=True):
        if c.ndim != 2 or c.shape[1] != d or not len(c) or state.labels.shape != (n,):
            raise ContractError(
                f"centres of shape {c.shape} and {state.labels.size} labels do not fit a block of {n} rows "
                f"and {d} features; make both for this block"
            )
        if state.sums is not None and n and int(state.labels.max()) >= len(c):
            raise ContractError(
                f"a state remembers label {int(state.labels.max())} of {len(c)} clusters; start from a fresh one"
            )
