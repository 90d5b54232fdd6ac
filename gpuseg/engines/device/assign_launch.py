"""Launches of the assignment pass on a device (room: engines): host side of ``kernels/assign*.cu``.

:class:`Pass` takes models together, by the first route that fits them. Used by :mod:`gpuseg.engines.device.assign`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Scales
from gpuseg.engines.device.assign_plan import (
    MODEL_BYTES,
    AssignSizes,
    Staged,
    Want,
    fused_bytes,
    fused_entries,
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
_MOST_MODELS = 8  # whose labels a thread of assign_sums keeps at a time


@dataclass(frozen=True)
class _Spread:
    """Blocks over rows and tiles, and the partial sums of each: ``size`` entries, in a row for each tile and block."""

    geometry: Geometry
    size: int
    partial: DeviceArray


@dataclass(frozen=True)
class _Staging:
    """Models whose rows go by shared memory: what the launches of a batch share.

    Parameters
    ----------
    plan : Staged
        Of the first launch.
    table : DeviceArray
        ``Model`` of assign.cuh, one a model.
    clusters : int
        Of all models.
    fresh : DeviceArray
        Where new labels go.
    apart : bool
        Whether that is not where the old ones are.
    """

    plan: Staged
    table: DeviceArray
    clusters: int
    fresh: DeviceArray
    apart: bool

    @property
    def models(self) -> int:
        """How many."""
        return int(self.table.shape[0])


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

    def batches(self, models: Sequence[int]) -> Iterator[list[int]]:
        """Models, in order, that share a read of x: all of them, unless they are hundreds.

        Parameters
        ----------
        models : sequence of int
            Of the memo.
        """
        waiting: list[int] = []
        for m in models:
            if waiting and not self._fit([*waiting, m]):
                yield waiting
                waiting = []
            waiting.append(m)
        if waiting:
            yield waiting

    def run(self, models: Sequence[int], centres: Sequence[_Centres], known: Sequence[bool]) -> Limbs:
        """Update labels and sums of a batch's models; returns what nothing remembers, model after model.

        Parameters
        ----------
        models : sequence of int
            One of :meth:`batches`.
        centres : sequence of float32 arrays, shape (k, d)
            One a model.
        known : sequence of bool
            Whether labels and sums of the last pass hold, one a model.
        """
        if self._fit_registers(models):
            return self._fused(models, centres, known)
        plan = self._plan_staged(models)
        table = self._table(models, known, plan.k_tile)
        left = plan.kept < self.want.entries(self._d)
        # Where the old labels are wanted once more, the new ones wait elsewhere.
        apart = left and any(known)
        labels = self._memo.labels
        fresh = self._device.empty((len(models), self._n), labels.dtype) if apart else labels
        call = _Staging(plan, table, sum(len(c) for c in centres), fresh, apart)
        extras = self._staged(call, centres)
        if left:
            self._sums(call)
        if apart:
            self._adopt(call)
        return extras

    def _fused(self, models: Sequence[int], centres: Sequence[_Centres], known: Sequence[bool]) -> Limbs:
        """``assign_rows``: any number of models over one read of x, rows in registers."""
        memo, sizes, want, device = self._memo, self._sizes, self.want, self._device
        tile, rows, clusters = sizes.k_tile, sizes.rows(self._d), sum(memo.ks[m] for m in models)
        copies = plan_copies(clusters, self._plain, lambda copies: self._fused_bytes(models, copies))
        name = self._instance("assign_rows")
        kernel = self._module("assign.cu", name, FEATURES=self._d, ROWS=rows, K_TILE=tile)[name]
        groups = np.concatenate([_grouped(c, tile) for c in centres])
        table = self._table(models, known, tile)
        entries = fused_entries(memo.mode, self._d)
        n_sums = clusters * entries if want.sums else 0
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
        return self._merge(spread, n_sums, (1, clusters, entries), table)

    def _staged(self, call: _Staging, centres: Sequence[_Centres]) -> Limbs:
        """``assign_staged``: any number of models over one read of x, tiles of rows in shared memory."""
        plan, sizes, want, device = call.plan, self._sizes, self.want, self._device
        name = self._instance("assign_staged")
        kernel = self._module("assign_staged.cu", name, ROWS=plan.a_thread, K_TILE=plan.k_tile)[name]
        groups = np.concatenate([_grouped(c, plan.k_tile) for c in centres])
        n_sums = call.clusters * plan.kept
        at_once = min(sizes.blocks, max(1, sizes.whole_limit(device.props) // plan.nbytes))
        spread = self._spread(plan.rows, n_sums + len(centres) * want.extras, at_once=at_once)
        kernel(
            spread.geometry.grid,
            spread.geometry.block,
            (
                *self._rows, np.int32(self._d), device.to_device(groups), np.int32(len(groups)),
                np.int32(call.clusters), self._scale, call.table, np.int32(len(centres)), np.int32(plan.slab),
                np.int32(plan.chunk), np.int32(plan.parts), np.int32(plan.rows), np.int32(plan.kept),
                np.int32(call.apart), np.int32(want.flags), np.int32(sizes.window), self._memo.labels,
                call.fresh, self._distance, spread.partial, self.error,
            ),
            shared=plan.nbytes,
        )  # fmt: skip
        return self._merge(spread, n_sums, (1, call.clusters, plan.kept), call.table)

    def _sums(self, call: _Staging) -> None:
        """``assign_sums``: the entries that were left out, x once for all models, labels once a tile."""
        memo, sizes, want, kept = self._memo, self._sizes, self.want, call.plan.kept
        limit = sizes.shared_limit(self._device.props)
        left = want.entries(self._d) - kept
        tiling = plan_tiling(call.clusters, left, want, limit)
        tiles, size = tiling.count(call.clusters, left), tiling.k * tiling.e
        copies = plan_copies(tiling.k, limit, lambda copies: tiling.nbytes(want, copies))
        kernel = self._tile_kernels(call)[self._instance("assign_sums")]
        spread = self._spread(sizes.threads, size, tiles)
        kernel(
            spread.geometry.grid,
            spread.geometry.block,
            (
                *self._rows, np.int32(self._d), self._scale, call.table, np.int32(call.models),
                np.int32(kept), np.int32(tiling.k), np.int32(tiling.e), np.int32(tiles), np.int32(call.apart),
                np.int32(copies), np.int32(sizes.window), memo.labels, call.fresh, spread.partial, self.error,
            ),
            shared=tiling.nbytes(want, copies),
        )  # fmt: skip
        self._merge(spread, size, (tiles, tiling.k, tiling.e), call.table, first=kept)

    def _adopt(self, call: _Staging) -> None:
        """``adopt_labels``: new labels in place of the old."""
        sizes = self._sizes
        kernel = self._tile_kernels(call)[f"adopt_labels<{self._label}>"]
        most = sizes.blocks * self._device.props.multiprocessors
        along = sizes.along(self._n, sizes.threads, max(1, ceil_div(most, call.models)))
        kernel(
            (along, min(call.models, MAX_GRID_Y), 1),
            (sizes.threads, 1, 1),
            (call.fresh, np.int64(self._n), self._memo.labels, call.table, np.int32(call.models)),
        )

    def _merge(
        self, spread: _Spread, n_sums: int, tiling: tuple[int, int, int], table: DeviceArray, first: int = 0
    ) -> Limbs:
        """Partials of all blocks into the memo's sums, entries from ``first`` on, and what nothing remembers."""
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
                np.int32(tiles), np.int32(tile_k), np.int32(tile_e), np.int32(first), np.int32(memo.entries),
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

    def _fit(self, models: Sequence[int]) -> bool:
        """Whether models can share a read of x."""
        whole = self._sizes.whole_limit(self._device.props)
        return self._fit_registers(models) or self._plan_staged(models).nbytes <= whole

    def _fit_registers(self, models: Sequence[int]) -> bool:
        return self._d <= self._sizes.values and self._fused_bytes(models, 1) <= self._plain

    def _plan_staged(self, models: Sequence[int]) -> Staged:
        ks = [self._memo.ks[m] for m in models]
        return plan_staged(ks, self._d, self.want, self._sizes, self._sizes.whole_limit(self._device.props))

    def _fused_bytes(self, models: Sequence[int], copies: int) -> int:
        ks = [self._memo.ks[m] for m in models]
        return fused_bytes(ks, self._d, self.want, self._sizes.k_tile, copies)

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

    def _tile_kernels(self, call: _Staging) -> Module:
        """Built for 1, 2, 4 or more models at a time."""
        at_once = 1
        while at_once < min(call.models, _MOST_MODELS):
            at_once *= 2
        names = self._instance("assign_sums"), f"adopt_labels<{self._label}>"
        return self._module("assign_tiles.cu", *names, MODELS=at_once)

    def _module(self, file: str, *names: str, **defines: int) -> Module:
        return self._device.module(kernel_source(file), names, defines)


def _grouped(centres: _Centres, tile: int) -> _Centres:
    """Centres ``[groups, d, tile]``, filled up with infinity, which is nearest to nothing."""
    k, d = centres.shape
    groups = ceil_div(k, tile)
    padded = np.full((groups * tile, d), np.inf, np.float32)
    padded[:k] = centres
    return np.ascontiguousarray(padded.reshape(groups, tile, d).transpose(0, 2, 1))
