"""Launches of the assignment pass on a device (room: engines): host side of ``kernels/assign*.cu``.

:class:`Pass` takes each model by the first route that fits it. Used by :mod:`gpuseg.engines.device.assign`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Scales
from gpuseg.engines.device.assign_plan import (
    MODEL_BYTES,
    AssignSizes,
    Staged,
    Want,
    fused_bytes,
    plan_copies,
    plan_staged,
    plan_tiling,
)
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
)

LABEL_NAMES = {1: "u8", 2: "u16", 4: "i32"}

Limbs = tuple[DeviceArray, DeviceArray]

_Centres = npt.NDArray[np.float32]
_WIDE_BYTES = 16
_MERGE_WARPS = 16


@dataclass(frozen=True)
class Batch:
    """Models that one launch takes.

    Parameters
    ----------
    models : list of int
        Of the memo.
    fused : bool
        Whether by ``assign_rows``; else it is one model.
    """

    models: list[int]
    fused: bool


@dataclass(frozen=True)
class _Spread:
    """Blocks over rows and tiles, and the partial sums of each: ``size`` entries, in a row for each tile and block."""

    geometry: Geometry
    size: int
    partial: DeviceArray


class Pass:
    """One pass: what all of its launches share.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Feature-major.
    w : DeviceArray of int64 or float32, shape (n,)
        Weights; not read where the memo's mode is NONE.
    memo : AssignMemo
        Labels and sums; updated.
    scales : Scales
        Fixed-point exponents.
    flags : int
        ``WANT_SUMS``, ``WANT_INERTIA``, ``WANT_DISTANCE``.
    distance : DeviceArray of float32, shape (n,), optional
        Where distances go.
    sizes : AssignSizes
        Of the launches.
    """

    def __init__(
        self,
        device: Device,
        x: DeviceArray,
        w: DeviceArray,
        memo: AssignMemo,
        scales: Scales,
        flags: int,
        distance: DeviceArray | None,
        sizes: AssignSizes,
    ) -> None:
        self._device = device
        self._memo = memo
        self._d, self._n = x.shape
        self.want = Want(memo.mode, flags)
        self._distance = device.empty(1, np.float32) if distance is None else distance
        self._sizes = sizes
        self._scale = device.to_device(np.ldexp(np.ones(self._d), scales.exponent.astype(np.int32)))
        self._label = LABEL_NAMES[memo.labels.dtype.itemsize]
        self._plain = sizes.plain_limit(device.props)
        self._rows = (x, w, np.int64(self._n), np.int64(self._n))
        self.error = device.zeros(1, np.uint32)

    def batches(self, models: Sequence[int]) -> Iterator[Batch]:
        """As few launches as shared memory allows, models in order.

        Parameters
        ----------
        models : sequence of int
            Of the memo.
        """
        waiting: list[int] = []
        for m in models:
            if self._d > self._sizes.values or self._fused_bytes([m], 1) > self._plain:
                yield Batch([m], fused=False)
            elif self._fused_bytes([*waiting, m], 1) > self._plain:
                yield Batch(waiting, fused=True)
                waiting = [m]
            else:
                waiting.append(m)
        if waiting:
            yield Batch(waiting, fused=True)

    def run(self, batch: Batch, centres: Sequence[_Centres], known: Sequence[bool]) -> Limbs:
        """Update labels and sums of a batch's models; returns what nothing remembers, model after model.

        Parameters
        ----------
        batch : Batch
            One of :meth:`batches`.
        centres : sequence of float32 arrays, shape (k, d)
            One a model.
        known : sequence of bool
            Whether labels and sums of the last pass hold, one a model.
        """
        if batch.fused:
            return self._fused(batch.models, centres, known)
        [model], [points], [holds] = batch.models, centres, known
        plan = self._plan_staged(len(points), self.want)
        if plan is not None:
            return self._staged(plan, self.want, model, points, (self._memo.labels, model), known=holds)
        return self._tiled(model, points, known=holds)

    def _fused(self, models: Sequence[int], centres: Sequence[_Centres], known: Sequence[bool]) -> Limbs:
        """``assign_rows``: any number of models over one read of x, rows in registers."""
        memo, sizes, want, device = self._memo, self._sizes, self.want, self._device
        tile, rows, clusters = sizes.k_tile, sizes.rows(self._d), sum(memo.ks[m] for m in models)
        copies = plan_copies(clusters, self._plain, lambda copies: self._fused_bytes(models, copies))
        name = self._instance("assign_rows")
        kernel = self._module("assign.cu", name, FEATURES=self._d, ROWS=rows, K_TILE=tile)[name]
        groups = np.concatenate([_grouped(c, tile) for c in centres])
        table = self._table(models, known, tile)
        n_sums = clusters * memo.entries if want.sums else 0
        spread = self._spread(sizes.threads * rows, n_sums + len(models) * want.extras)
        kernel(
            spread.geometry.grid,
            spread.geometry.block,
            (
                *self._rows, device.to_device(groups), np.int32(len(groups)), np.int32(clusters), self._scale,
                table, np.int32(len(models)), np.int32(want.flags), np.int32(copies), np.int32(sizes.window),
                memo.labels, self._distance, spread.partial, self.error,
            ),
            shared=self._fused_bytes(models, copies),
        )  # fmt: skip
        return self._merge(spread, n_sums, (1, clusters, memo.entries), table)

    def _staged(
        self,
        plan: Staged,
        want: Want,
        model: int,
        centres: _Centres,
        fresh: tuple[DeviceArray, int],
        *,
        known: bool,
    ) -> Limbs:
        """``assign_staged``: one read of x, tiles of rows in shared memory; new labels into a row of ``fresh``."""
        memo, sizes, device = self._memo, self._sizes, self._device
        name = self._instance("assign_staged")
        kernel = self._module("assign_staged.cu", name, ROWS=plan.a_thread, K_TILE=plan.k_tile)[name]
        n_sums = len(centres) * memo.entries if want.sums else 0
        at_once = min(sizes.blocks, max(1, sizes.whole_limit(device.props) // plan.nbytes))
        spread = self._spread(plan.rows, n_sums + want.extras, at_once=at_once)
        kernel(
            spread.geometry.grid,
            spread.geometry.block,
            (
                *self._rows, np.int32(self._d), device.to_device(_grouped(centres, plan.k_tile)),
                np.int32(len(centres)), self._scale, np.int32(plan.rows), np.int32(known), np.int32(want.flags),
                np.int32(sizes.window), *self._labels(model, fresh), self._distance, spread.partial, self.error,
            ),
            shared=plan.nbytes,
        )  # fmt: skip
        table = self._table([model], [known], plan.k_tile)
        return self._merge(spread, n_sums, (1, len(centres), memo.entries), table)

    def _tiled(self, model: int, centres: _Centres, *, known: bool) -> Limbs:
        """Labels first, over one read of x if the centres fit; then sums, in tiles of clusters and entries."""
        memo, want = self._memo, self.want
        # Where the old labels are wanted once more, the new ones wait elsewhere.
        apart = known and want.sums
        fresh = (self._device.empty((1, self._n), memo.labels.dtype), 0) if apart else (memo.labels, model)
        plan = self._plan_staged(len(centres), want.without_sums())
        if plan is not None:
            extras = self._staged(plan, want.without_sums(), model, centres, fresh, known=known)
        else:
            extras = self._tiled_labels(model, centres, fresh, known=known)
        if want.sums:
            self._tiled_sums(model, len(centres), fresh, known=known)
        if apart:
            self._adopt(model, fresh[0])
        return extras

    def _tiled_labels(
        self, model: int, centres: _Centres, fresh: tuple[DeviceArray, int], *, known: bool
    ) -> Limbs:
        """``assign_labels``: any k, any d; reads x once a tile of centres."""
        sizes, want = self._sizes, self.want
        tile, chunk = sizes.wide_tile(len(centres)), min(sizes.chunk, max(self._d, 1))
        kernel = self._tile_kernels(len(centres))[self._instance("assign_labels")]
        spread = self._spread(sizes.threads, want.extras)
        kernel(
            spread.geometry.grid,
            spread.geometry.block,
            (
                *self._rows, np.int32(self._d), self._device.to_device(_grouped(centres, tile)),
                np.int32(len(centres)), np.int32(chunk), np.int32(known), np.int32(want.flags),
                np.int32(sizes.window), *self._labels(model, fresh), self._distance, spread.partial, self.error,
            ),
            shared=4 * chunk * tile + want.extras * want.entry_bytes(1),
        )  # fmt: skip
        return self._merge(spread, 0, (1, 1, 1), self._table([model], [known], tile))

    def _tiled_sums(self, model: int, k: int, fresh: tuple[DeviceArray, int], *, known: bool) -> None:
        """``assign_sums``: reads labels once a tile of clusters and entries, x once."""
        memo, sizes, want = self._memo, self._sizes, self.want
        tiling = plan_tiling(k, memo.entries, want, self._plain)
        tiles, size = tiling.count(k, memo.entries), tiling.k * tiling.e
        copies = plan_copies(tiling.k, self._plain, lambda copies: tiling.nbytes(want, copies))
        kernel = self._tile_kernels(k)[self._instance("assign_sums")]
        spread = self._spread(sizes.threads, size, tiles)
        kernel(
            spread.geometry.grid,
            spread.geometry.block,
            (
                *self._rows, np.int32(self._d), np.int32(k), self._scale, np.int32(tiling.k), np.int32(tiling.e),
                np.int32(tiles), np.int32(known), np.int32(copies), np.int32(sizes.window),
                *self._labels(model, fresh), spread.partial, self.error,
            ),
            shared=tiling.nbytes(want, copies),
        )  # fmt: skip
        self._merge(
            spread, size, (tiles, tiling.k, tiling.e), self._table([model], [known], sizes.wide_k_tile)
        )

    def _adopt(self, model: int, fresh: DeviceArray) -> None:
        """``adopt_labels``: new labels in place of the old."""
        memo, sizes = self._memo, self._sizes
        kernel = self._tile_kernels(memo.ks[model])[f"adopt_labels<{self._label}>"]
        along = sizes.along(self._n, sizes.threads, sizes.blocks * self._device.props.multiprocessors)
        kernel((along, 1, 1), (sizes.threads, 1, 1), (fresh, np.int64(self._n), memo.labels, np.int64(model)))

    def _merge(self, spread: _Spread, n_sums: int, tiling: tuple[int, int, int], table: DeviceArray) -> Limbs:
        """Partials of all blocks into the memo's sums, and what nothing remembers."""
        memo, device = self._memo, self._device
        tiles, tile_k, tile_e = tiling
        blocks = spread.geometry.grid[0]
        warps = min(_MERGE_WARPS, blocks)
        n_extras = spread.size - n_sums
        extra = device.empty(n_extras, np.int64), device.empty(n_extras, np.uint64)
        name = f"assign_merge<{memo.mode.name}>"
        kernel = self._module("assign_merge.cu", name)[name]
        kernel(
            (ceil_div(spread.size, WARP), spread.geometry.grid[1], 1),
            (WARP * warps, 1, 1),
            (
                spread.partial, np.int64(blocks), np.int32(spread.size), np.int32(n_sums),
                np.int32(tiles), np.int32(tile_k), np.int32(tile_e), np.int32(memo.entries),
                table, np.int32(table.shape[0]), memo.hi, memo.lo, *extra,
            ),
            shared=_WIDE_BYTES * WARP * warps,
        )  # fmt: skip
        return extra

    def _spread(self, tile: int, size: int, tiles: int = 1, at_once: int | None = None) -> _Spread:
        """Blocks along the rows, ``at_once`` a multiprocessor, fewer where there are many tiles; their partial sums."""
        sizes, device = self._sizes, self._device
        most = (sizes.blocks if at_once is None else at_once) * device.props.multiprocessors
        along = sizes.along(self._n, tile, max(1, ceil_div(most, tiles)))
        geometry = Geometry((along, min(tiles, MAX_GRID_Y), 1), (sizes.threads, 1, 1))
        partial = device.empty((tiles, along, self.want.planes, size), np.int64)
        return _Spread(geometry, size, partial)

    def _plan_staged(self, k: int, want: Want) -> Staged | None:
        return plan_staged(k, self._d, want, self._sizes, self._sizes.whole_limit(self._device.props))

    def _fused_bytes(self, models: Sequence[int], copies: int) -> int:
        ks = [self._memo.ks[m] for m in models]
        return fused_bytes(ks, self._d, self.want, self._sizes.k_tile, copies)

    def _labels(self, model: int, fresh: tuple[DeviceArray, int]) -> tuple[Any, ...]:
        """Arguments: where the old labels are, and where the new ones go."""
        return self._memo.labels, np.int64(model), fresh[0], np.int64(fresh[1])

    def _table(self, models: Sequence[int], known: Sequence[bool], tile: int) -> DeviceArray:
        """``Model`` of assign.cuh, one a model."""
        memo = self._memo
        table = np.zeros((len(models), MODEL_BYTES // 8), np.int64)
        group = cluster = 0
        for row, m, remembered in zip(table, models, known, strict=True):
            row[:] = memo.ks[m], group, cluster, m, remembered, memo.offset(m)
            group += ceil_div(memo.ks[m], tile)
            cluster += memo.ks[m]
        return self._device.to_device(table)

    def _instance(self, kernel: str) -> str:
        """A kernel for this pass' weights and labels."""
        return f"{kernel}<{self._memo.mode.name}, {self._label}>"

    def _tile_kernels(self, k: int) -> Module:
        names = [
            self._instance("assign_labels"),
            self._instance("assign_sums"),
            f"adopt_labels<{self._label}>",
        ]
        return self._module("assign_tiles.cu", *names, K_TILE=self._sizes.wide_tile(k))

    def _module(self, file: str, *names: str, **defines: int) -> Module:
        return self._device.module(kernel_source(file), names, defines)


def _grouped(centres: _Centres, tile: int) -> _Centres:
    """Centres ``[groups, d, tile]``, filled up with infinity, which is nearest to nothing."""
    k, d = centres.shape
    groups = ceil_div(k, tile)
    padded = np.full((groups * tile, d), np.inf, np.float32)
    padded[:k] = centres
    return np.ascontiguousarray(padded.reshape(groups, tile, d).transpose(0, 2, 1))
