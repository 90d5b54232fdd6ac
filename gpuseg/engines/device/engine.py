"""The whole engine over one device (room: engines): every verb a composition of ``device_*`` modules, tile by tile.

CuPy or the emulator stands behind the device (:class:`gpuseg.engines.launch.Device`); nothing here knows which.
Blocks of the host go up in tiles (:mod:`gpuseg.engines.device.tiles`), results merge as integers on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.blocks import is_feature_major
from gpuseg.core.moments import FeatureRange, Layout, Moments, Scales
from gpuseg.core.overindex import CategoryCounts, TraitTerms
from gpuseg.core.oversampling import Round
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import (
    AssignResult,
    AssignState,
    Block,
    ClusteredRows,
    LabelArray,
    Metric,
    require_distances,
)
from gpuseg.engines.checks import (
    require_compared,
    require_labelled,
    require_models,
    require_round,
    require_shapes,
    require_weights,
)
from gpuseg.engines.choose import say_once
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.categories import category_sums
from gpuseg.engines.device.cohort import bitmaps, first_periods, revenue, triangle
from gpuseg.engines.device.comparing import Comparisons
from gpuseg.engines.device.distance import distances
from gpuseg.engines.device.label_moments import label_moments
from gpuseg.engines.device.moments import moments
from gpuseg.engines.device.oversample import oversample
from gpuseg.engines.device.passes import Call, Passes
from gpuseg.engines.device.resident import Residents
from gpuseg.engines.device.scale import centre, scan
from gpuseg.engines.device.seed import potentials, sample_rows, seed_step
from gpuseg.engines.device.silhouette import square_silhouettes
from gpuseg.engines.device.tiles import (
    HostArray,
    cut_weights,
    join_weights,
    plan_tile_bytes,
    run_tiles,
    weight_bytes,
)
from gpuseg.engines.launch import Device
from gpuseg.engines.records import renumbered, require_same_length
from gpuseg.errors import RangeError


class DeviceEngine:
    """Kernels on a device: the same records, to the bit, as the CPU engine's.

    Parameters
    ----------
    device : Device
        Where kernels run.
    name : str, default "cuda"
        As ``engine_`` and messages give it.
    tile_bytes : int, optional
        Most bytes of a tile of a host block. Default: 256 MiB, or a sixteenth of the device's memory if that is less.
        It changes no bit.
    keep_bytes : int, optional
        Most bytes of blocks that stay on the device between the passes of a fit, or while rows are compared with them.
        Default: half of its memory.
    """

    def __init__(
        self,
        device: Device,
        *,
        name: str = "cuda",
        tile_bytes: int | None = None,
        keep_bytes: int | None = None,
    ) -> None:
        self.name = name
        self._device = device
        self._tile_bytes = plan_tile_bytes(device.props, tile_bytes)
        half = device.props.total_memory // 2
        self._residents = Residents(half if keep_bytes is None else keep_bytes)
        self._passes = Passes(device, self._tile_bytes, self._residents)
        self._comparisons = Comparisons(device, self._tile_bytes, self._residents)

    def __repr__(self) -> str:
        return f"DeviceEngine({self._device.props.name!r}, name={self.name!r})"

    def takes(self, source: npt.NDArray[np.floating]) -> bool:
        """Feature-major float32: see :meth:`gpuseg.engines.base.Engine.takes`."""
        return source.dtype == np.float32 and is_feature_major(source)

    def scan(
        self, source: npt.NDArray[np.floating], weights: npt.NDArray[np.float64] | None, out: Block | None
    ) -> FeatureRange:
        """Read 1: see :meth:`gpuseg.engines.base.Engine.scan`."""
        n, d = source.shape
        rows = _Rows(source)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [rows.cut(start, stop), *([] if weights is None else [weights[start:stop]])]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> FeatureRange:
            x, *w = arrays
            copy = None if out is None else np.empty((d, stop - start), np.float32)
            seen: FeatureRange = scan(device, rows.restore(x), w[0] if w else None, copy)
            if out is not None:
                out[:, start:stop] = copy
            return seen

        row_bytes = source.itemsize * d + 8 * (weights is not None) + 4 * d * (out is not None)
        parts: list[FeatureRange] = self._run(n, row_bytes, cut, work)
        return functools.reduce(FeatureRange.merge, parts)

    def centre(self, source: npt.NDArray[np.floating], layout: Layout, out: Block) -> None:
        """Copy ``float32(source - centre)``: see :meth:`gpuseg.engines.base.Engine.centre`."""
        n, d = source.shape
        rows = _Rows(source)

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            copy = np.empty((d, stop - start), np.float32)
            centre(device, rows.restore(arrays[0]), layout, copy)
            out[:, start:stop] = copy

        self._run(n, (source.itemsize + 4) * d, lambda start, stop: [rows.cut(start, stop)], work)

    def moments(self, source: npt.NDArray[np.floating], weights: Weights, scales: Scales) -> Moments:
        """Read 2: see :meth:`gpuseg.engines.base.Engine.moments`."""
        n, d = source.shape
        require_weights(weights, scales.mode, n)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [source[start:stop].T, *cut_weights(weights, start, stop)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> Moments:
            del start, stop
            x, *w = arrays
            return moments(device, x, join_weights(weights.mode, w), scales)

        row_bytes = source.itemsize * d + weight_bytes(weights.mode)
        parts: list[Moments] = self._run(n, row_bytes, cut, work)
        return functools.reduce(Moments.merge, parts)

    def label_moments(
        self, block: Block, labels: Sequence[LabelArray], ks: Sequence[int], scales: Scales
    ) -> list[list[Moments]]:
        """Moments of each cluster's rows: see :meth:`gpuseg.engines.base.Engine.label_moments`."""
        d, n = block.shape
        require_labelled(labels, ks, scales.mode, n)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [block[:, start:stop], *(given[start:stop] for given in labels)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> list[list[Moments]]:
            del start, stop
            return label_moments(device, arrays[0], arrays[1:], ks, scales)

        row_bytes = 4 * d + sum(given.itemsize for given in labels)
        tiles: list[list[list[Moments]]] = self._run(n, row_bytes, cut, work)
        return [
            [functools.reduce(Moments.merge, cluster) for cluster in zip(*parts, strict=True)]
            for parts in zip(*tiles, strict=True)
        ]

    def assign(
        self,
        block: Block,
        weights: Weights,
        centres: Sequence[npt.NDArray[np.float32]],
        states: Sequence[AssignState],
        scales: Scales,
        *,
        sums: bool = True,
        inertia: bool = False,
        labels: bool = True,
        distance: npt.NDArray[np.float32] | None = None,
        rows: npt.NDArray[np.float32] | None = None,  # noqa: ARG002 (the block is on the device)
    ) -> list[AssignResult]:
        """Nearest centre of every row for each model: see :meth:`gpuseg.engines.base.Engine.assign`.

        Without ``labels`` the block, the labels and the sums stay on the device for the next pass, as far as its memory
        goes; from then on a pass uploads centres and brings down sums.
        """
        d, n = block.shape
        require_weights(weights, scales.mode, n)
        require_models(centres, states, d, n)
        known = [state.sums for state in states]
        call = Call(block, weights, centres, states, scales, sums, inertia, distance, known)
        return self._passes.assign(call, labels=labels)

    def sample_rows(
        self, identity: npt.NDArray[np.uint64], weights: Weights, seed: int, threshold: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """Rows below a draw: see :meth:`gpuseg.engines.base.Engine.sample_rows`."""
        require_weights(weights, weights.mode, identity.size)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [identity[start:stop], *cut_weights(weights, start, stop)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> tuple[HostArray, ...]:
            del stop
            who, *w = arrays
            rows, draws = sample_rows(device, who, join_weights(weights.mode, w), seed, threshold)
            return rows + start, draws

        found: list[tuple[HostArray, ...]] = self._run(
            identity.size, 24 + weight_bytes(weights.mode), cut, work
        )
        return np.concatenate([rows for rows, _ in found]), np.concatenate([draws for _, draws in found])

    def seed_step(
        self,
        block: Block,
        weights: Weights,
        closest: npt.NDArray[np.float32],
        candidates: npt.NDArray[np.float32],
        exponent: int,
        out: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.int64]:
        """Potential of each candidate: see :meth:`gpuseg.engines.base.Engine.seed_step`."""
        d, n = block.shape

        def cut(start: int, stop: int) -> list[HostArray]:
            return [block[:, start:stop], closest[start:stop], *cut_weights(weights, start, stop)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> npt.NDArray[np.int64]:
            x, near, *w = arrays
            nearer = np.empty((len(candidates), stop - start), np.float32)
            found: npt.NDArray[np.int64] = seed_step(
                device, x, join_weights(weights.mode, w), near, candidates, exponent, nearer
            )
            out[:, start:stop] = nearer
            return found

        row_bytes = 4 * d + 4 + weight_bytes(weights.mode) + 4 * len(candidates)
        return np.asarray(np.sum(self._run(n, row_bytes, cut, work), axis=0, dtype=np.int64))

    def potentials(
        self, closest: npt.NDArray[np.float32], weights: Weights, exponent: int
    ) -> npt.NDArray[np.int64]:
        """Integer potential of each row: see :meth:`gpuseg.engines.base.Engine.potentials`."""

        def cut(start: int, stop: int) -> list[HostArray]:
            return [closest[start:stop], *cut_weights(weights, start, stop)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> npt.NDArray[np.int64]:
            del start, stop
            near, *w = arrays
            found: npt.NDArray[np.int64] = potentials(device, near, join_weights(weights.mode, w), exponent)
            return found

        return np.concatenate(self._run(closest.size, 12 + weight_bytes(weights.mode), cut, work))

    def oversample(
        self,
        block: Block,
        weights: Weights,
        closest: npt.NDArray[np.float32],
        candidates: npt.NDArray[np.float32],
        identity: npt.NDArray[np.uint64],
        drawing: Round,
    ) -> tuple[BinSum, npt.NDArray[np.int64]]:
        """A round of k-means||: see :meth:`gpuseg.engines.base.Engine.oversample`.

        A tile keeps what it would keep alone; with the sum over the block some of that falls out.
        """
        require_round(block, weights, closest, candidates, identity)
        d, n = block.shape

        def cut(start: int, stop: int) -> list[HostArray]:
            arrays: list[HostArray] = [block[:, start:stop], closest[start:stop], identity[start:stop]]
            return arrays + cut_weights(weights, start, stop)

        def work(
            device: Device, start: int, stop: int, arrays: Sequence[HostArray]
        ) -> tuple[BinSum, npt.NDArray[np.int64]]:
            x, near, who, *w = arrays
            nearer = near.copy()
            part, rows = oversample(
                device, x, join_weights(weights.mode, w), nearer, candidates, who, drawing
            )
            closest[start:stop] = nearer
            return part, rows + start

        row_bytes = 4 * d + 12 + weight_bytes(weights.mode)
        parts: list[tuple[BinSum, npt.NDArray[np.int64]]] = self._run(n, row_bytes, cut, work)
        total = functools.reduce(BinSum.merge, [part for part, _ in parts])
        rows = np.concatenate([found for _, found in parts])
        return total, drawing.rows_of(rows, closest, weights, identity, float(total.to_float64()))

    def distances(
        self, block: Block, centres: npt.NDArray[np.float32], out: Block, *, metric: Metric = "euclidean"
    ) -> None:
        """Distance table: see :meth:`gpuseg.engines.base.Engine.distances`."""
        require_distances(block.shape, centres.shape, out.shape, metric)
        d, n = block.shape

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            table = np.empty((len(centres), stop - start), np.float32)
            distances(device, arrays[0], centres, table, metric=metric)
            out[:, start:stop] = table

        self._run(n, 4 * (d + len(centres)), lambda start, stop: [block[:, start:stop]], work)

    def silhouette_sums(
        self, rows: Block, others: ClusteredRows, exponent: int, out: npt.NDArray[np.int64]
    ) -> None:
        """Distance sums by cluster: see :meth:`gpuseg.engines.base.Engine.silhouette_sums`."""
        require_compared(rows, others, out)
        self._comparisons.sums(rows, others, exponent, out)

    def square_silhouettes(
        self,
        block: Block,
        labels: Sequence[LabelArray],
        shapes: Sequence[ClusterShape],
        out: Sequence[npt.NDArray[np.float64]] | None = None,
        *,
        labelling: bool = False,
    ) -> list[WideSum]:
        """Squared-Euclidean silhouettes: see :meth:`gpuseg.engines.base.Engine.square_silhouettes`."""
        d, n = block.shape
        require_shapes(labels, shapes, out, block.shape, labelling=labelling)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [block[:, start:stop], *([] if labelling else [given[start:stop] for given in labels])]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> list[WideSum]:
            own = [np.empty(stop - start, given.dtype) for given in labels] if labelling else arrays[1:]
            values = None if out is None else [np.empty(stop - start, np.float64) for _ in out]
            totals = square_silhouettes(device, arrays[0], own, shapes, values, labelling=labelling)
            for m, given in enumerate(labels):
                if labelling:
                    given[start:stop] = own[m]
                if out is not None and values is not None:
                    out[m][start:stop] = values[m]
            return totals

        row_bytes = 4 * d + sum(given.itemsize for given in labels) + 8 * (0 if out is None else len(out))
        tiles: list[list[WideSum]] = self._run(n, row_bytes, cut, work)
        return [functools.reduce(WideSum.merge, parts) for parts in zip(*tiles, strict=True)]

    def bitmaps(
        self, customer: npt.NDArray[np.int64], period: npt.NDArray[np.int32], bits: npt.NDArray[np.uint64]
    ) -> None:
        """Activity bitmaps: see :meth:`gpuseg.engines.base.Engine.bitmaps`."""
        self._add(bitmaps, (customer, period), (), bits)

    def first_periods(self, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32]) -> None:
        """First active period of each customer: see :meth:`gpuseg.engines.base.Engine.first_periods`."""
        require_same_length("first_periods", bits, first)

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            found = np.empty(stop - start, np.int32)
            first_periods(device, arrays[0], found)
            first[start:stop] = found

        row_bytes = 8 * bits.shape[1] + 4
        self._run(len(bits), row_bytes, lambda start, stop: [bits[start:stop]], work)

    def triangle(
        self, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
    ) -> None:
        """Retention triangle: see :meth:`gpuseg.engines.base.Engine.triangle`."""
        self._add(triangle, (bits, first), (), counts)

    def revenue(
        self,
        customer: npt.NDArray[np.int64],
        period: npt.NDArray[np.int32],
        amount: npt.NDArray[np.int64],
        first: npt.NDArray[np.int32],
        money: npt.NDArray[np.int64],
    ) -> int:
        """Amounts by cohort and age: see :meth:`gpuseg.engines.base.Engine.revenue`."""
        return sum(self._add(revenue, (customer, period, amount), (first,), money))

    def category_sums(
        self,
        customer: npt.NDArray[np.int64],
        category: npt.NDArray[np.int32],
        amount: npt.NDArray[np.int64],
        sums: npt.NDArray[np.int64],
    ) -> None:
        """Amounts by customer and category: see :meth:`gpuseg.engines.base.Engine.category_sums`."""
        self._add(category_sums, (customer, category, amount), (), sums)

    def trait_scores(
        self,
        counts: CategoryCounts,
        terms: TraitTerms,
        scores: npt.NDArray[np.float64],
        evidence: npt.NDArray[np.float64],
        reasons: npt.NDArray[np.int16] | None = None,
    ) -> None:
        """Scores from over-indexing: see :meth:`gpuseg.engines.base.Engine.trait_scores`. Computed on the host."""
        say_once(
            f"engine {self.name!r} computes scores from over-indexing on the host: it has no kernel for them"
        )
        CpuEngine().trait_scores(counts, terms, scores, evidence, reasons)

    def _add(
        self,
        verb: Callable[..., Any],
        records: tuple[HostArray, ...],
        common: tuple[HostArray, ...],
        into: HostArray,
    ) -> list[Any]:
        """A verb that adds records to a table, tile by tile; a verb changes its table last of all."""
        require_same_length(verb.__name__, *records)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [array[start:stop] for array in records]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> Any:
            del stop
            try:
                return verb(device, *arrays, *common, into)
            except RangeError as error:
                raise renumbered(error, start) from None

        row_bytes = sum(array[:1].nbytes for array in records)
        return self._run(len(records[0]), row_bytes, cut, work)

    def _run(
        self,
        n: int,
        row_bytes: int,
        cut: Callable[[int, int], Sequence[HostArray]],
        work: Callable[[Device, int, int, Sequence[HostArray]], Any],
    ) -> list[Any]:
        device, spare = self._device, self._residents.drop_all
        return run_tiles(device, n, row_bytes, cut, work, tile_bytes=self._tile_bytes, spare=spare)


class _Rows:
    """Rows by features in the order in which they lie, so that a tile is copied along its memory."""

    def __init__(self, source: npt.NDArray[np.floating]) -> None:
        self._source = source
        self._by_feature = abs(source.strides[0]) < abs(source.strides[1])

    def cut(self, start: int, stop: int) -> HostArray:
        """Some rows, as they are to be copied."""
        rows = self._source[start:stop]
        return rows.T if self._by_feature else rows

    def restore(self, tile: HostArray) -> HostArray:
        """Rows by features of such a copy."""
        return tile.T if self._by_feature else tile
