"""The whole engine over one device (room: engines): every verb a composition of ``device_*`` modules, tile by tile.

CuPy or the emulator stands behind the device (:class:`gpuseg.engines.launch.Device`); nothing here knows which. Blocks
of the host go up in tiles (:mod:`gpuseg.engines.device_tiles`), results merge as integers on the host.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import FeatureRange, Layout, Moments, Scales
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import (
    AssignResult,
    AssignState,
    Block,
    Engine,
    LabelArray,
    Metric,
    require_distances,
)
from gpuseg.engines.checks import require_models, require_weights
from gpuseg.engines.device_tiles import HostArray, plan_tile_bytes, plan_tile_rows, run_tiles
from gpuseg.engines.launch import Device
from gpuseg.engines.records import renumbered, require_same_length
from gpuseg.errors import RangeError

logger = logging.getLogger("gpuseg.engines")

_WEIGHT_BYTES = {WeightMode.NONE: 0, WeightMode.INTEGER: 8, WeightMode.REAL: 4}


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
    """

    def __init__(self, device: Device, *, name: str = "cuda", tile_bytes: int | None = None) -> None:
        self.name = name
        self._device = device
        self._tile_bytes = plan_tile_bytes(device.props, tile_bytes)

    def __repr__(self) -> str:
        return f"DeviceEngine({self._device.props.name!r}, name={self.name!r})"

    def scan(
        self, source: npt.NDArray[np.floating], weights: npt.NDArray[np.float64] | None, out: Block | None
    ) -> FeatureRange:
        """Read 1: see :meth:`gpuseg.engines.base.Engine.scan`."""
        verb = _verb("scan")
        if verb is None:
            return self._on_cpu("scan").scan(source, weights, out)
        n, d = source.shape
        rows = _Rows(source)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [rows.cut(start, stop), *([] if weights is None else [weights[start:stop]])]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> FeatureRange:
            x, *w = arrays
            copy = None if out is None else np.empty((d, stop - start), np.float32)
            seen: FeatureRange = verb(device, rows.restore(x), w[0] if w else None, copy)
            if out is not None:
                out[:, start:stop] = copy
            return seen

        row_bytes = source.itemsize * d + 8 * (weights is not None) + 4 * d * (out is not None)
        parts: list[FeatureRange] = self._run(n, row_bytes, cut, work)
        return functools.reduce(FeatureRange.merge, parts)

    def centre(self, source: npt.NDArray[np.floating], layout: Layout, out: Block) -> None:
        """Copy ``float32(source - centre)``: see :meth:`gpuseg.engines.base.Engine.centre`."""
        verb = _verb("centre")
        if verb is None:
            self._on_cpu("centre").centre(source, layout, out)
            return
        n, d = source.shape
        rows = _Rows(source)

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            copy = np.empty((d, stop - start), np.float32)
            verb(device, rows.restore(arrays[0]), layout, copy)
            out[:, start:stop] = copy

        self._run(n, (source.itemsize + 4) * d, lambda start, stop: [rows.cut(start, stop)], work)

    def moments(self, source: npt.NDArray[np.floating], weights: Weights, scales: Scales) -> Moments:
        """Read 2: see :meth:`gpuseg.engines.base.Engine.moments`."""
        n, d = source.shape
        require_weights(weights, scales.mode, n)
        if source.dtype != np.float32:
            return self._on_cpu("moments of float64 values").moments(source, weights, scales)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [source[start:stop].T, *_cut_weights(weights, start, stop)]

        return self._moments(n, d, cut, weights.mode, scales)

    def label_moments(self, block: Block, labels: LabelArray, k: int, scales: Scales) -> list[Moments]:
        """Moments of each cluster's rows: see :meth:`gpuseg.engines.base.Engine.label_moments`."""
        from gpuseg.engines.device_label_moments import label_moments

        def cut(start: int, stop: int) -> list[HostArray]:
            return [block[:, start:stop], labels[start:stop]]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> list[Moments]:
            del start, stop
            return label_moments(device, arrays[0], arrays[1], k, scales)

        d, n = block.shape
        parts = self._run(n, 4 * d + labels.itemsize, cut, work)
        return [functools.reduce(Moments.merge, clusters) for clusters in zip(*parts, strict=True)]

    def _moments(
        self,
        n: int,
        d: int,
        cut: Callable[[int, int], list[HostArray]],
        mode: WeightMode,
        scales: Scales,
    ) -> Moments:
        from gpuseg.engines.device_moments import moments

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> Moments:
            del start, stop
            x, *w = arrays
            return moments(device, x, _weights(mode, w), scales)

        parts: list[Moments] = self._run(n, 4 * d + _WEIGHT_BYTES[mode], cut, work)
        return functools.reduce(Moments.merge, parts)

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
        distance: npt.NDArray[np.float32] | None = None,
    ) -> list[AssignResult]:
        """Nearest centre of every row for each model: see :meth:`gpuseg.engines.base.Engine.assign`."""
        d, n = block.shape
        require_weights(weights, scales.mode, n)
        require_models(centres, states, d, n)
        verb = _verb("assign")
        if verb is None:
            return self._on_cpu("assign").assign(
                block, weights, centres, states, scales, sums=sums, inertia=inertia, distance=distance
            )
        known = [state.sums for state in states]
        for state in states:
            # An exception half-way must not leave labels and sums that disagree.
            state.sums = None
        n_weights = weights.mode is not WeightMode.NONE

        def cut(start: int, stop: int) -> list[HostArray]:
            labels = [state.labels[start:stop] for state in states]
            return [block[:, start:stop], *_cut_weights(weights, start, stop), *labels]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> list[AssignResult]:
            x, w, labels = arrays[0], arrays[1 : 1 + n_weights], arrays[1 + n_weights :]
            # The sums that are known are of all rows: the first tile brings them in, the others add their changes.
            own = [
                AssignState(here, None if whole is None else whole if start == 0 else _nothing(whole, scales))
                for here, whole in zip(labels, known, strict=True)
            ]
            near = None if distance is None else np.empty(stop - start, np.float32)
            found: list[AssignResult] = verb(
                device, x, _weights(weights.mode, w), centres, own, scales,
                sums=sums, inertia=inertia, distance=near,
            )  # fmt: skip
            for state, tile in zip(states, own, strict=True):
                state.labels[start:stop] = tile.labels
            if distance is not None:
                distance[start:stop] = near
            return found

        label_bytes = sum(state.labels.itemsize for state in states)
        row_bytes = 4 * d + _WEIGHT_BYTES[weights.mode] + label_bytes + 4 * (distance is not None)
        parts = self._run(n, row_bytes, cut, work)
        results = []
        for m, state in enumerate(states):
            full = functools.reduce(ClusterSums.merge, [part[m].sums for part in parts])
            state.sums = full if sums else None
            results.append(AssignResult(full, sum(part[m].moved for part in parts)))
        return results

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
        verb = _verb("seed_step")
        if verb is None:
            return self._on_cpu("seed_step").seed_step(block, weights, closest, candidates, exponent, out)
        d, n = block.shape

        def cut(start: int, stop: int) -> list[HostArray]:
            return [block[:, start:stop], closest[start:stop], *_cut_weights(weights, start, stop)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> npt.NDArray[np.int64]:
            x, near, *w = arrays
            nearer = np.empty((len(candidates), stop - start), np.float32)
            found: npt.NDArray[np.int64] = verb(
                device, x, _weights(weights.mode, w), near, candidates, exponent, nearer
            )
            out[:, start:stop] = nearer
            return found

        row_bytes = 4 * d + 4 + _WEIGHT_BYTES[weights.mode] + 4 * len(candidates)
        return np.asarray(np.sum(self._run(n, row_bytes, cut, work), axis=0, dtype=np.int64))

    def potentials(
        self, closest: npt.NDArray[np.float32], weights: Weights, exponent: int
    ) -> npt.NDArray[np.int64]:
        """Integer potential of each row: see :meth:`gpuseg.engines.base.Engine.potentials`."""
        verb = _verb("potentials")
        if verb is None:
            return self._on_cpu("potentials").potentials(closest, weights, exponent)

        def cut(start: int, stop: int) -> list[HostArray]:
            return [closest[start:stop], *_cut_weights(weights, start, stop)]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> npt.NDArray[np.int64]:
            del start, stop
            near, *w = arrays
            found: npt.NDArray[np.int64] = verb(device, near, _weights(weights.mode, w), exponent)
            return found

        return np.concatenate(self._run(closest.size, 12 + _WEIGHT_BYTES[weights.mode], cut, work))

    def distances(
        self, block: Block, centres: npt.NDArray[np.float32], out: Block, *, metric: Metric = "euclidean"
    ) -> None:
        """Distance table: see :meth:`gpuseg.engines.base.Engine.distances`."""
        verb = _verb("distances")
        if verb is None:
            self._on_cpu("distances").distances(block, centres, out, metric=metric)
            return
        require_distances(block.shape, centres.shape, out.shape, metric)
        d, n = block.shape

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            table = np.empty((len(centres), stop - start), np.float32)
            verb(device, arrays[0], centres, table, metric=metric)
            out[:, start:stop] = table

        self._run(n, 4 * (d + len(centres)), lambda start, stop: [block[:, start:stop]], work)

    def silhouette_sums(
        self,
        rows: Block,
        others: Block,
        other_starts: npt.NDArray[np.int64],
        exponent: int,
        out: npt.NDArray[np.int64],
    ) -> None:
        """Distance sums by cluster: see :meth:`gpuseg.engines.base.Engine.silhouette_sums`."""
        verb = _verb("silhouette_sums")
        if verb is None:
            self._on_cpu("silhouette_sums").silhouette_sums(rows, others, other_starts, exponent, out)
            return
        d, n = rows.shape
        k = len(other_starts) - 1

        def of(low: int, high: int) -> None:
            some = np.ascontiguousarray(rows[:, low:high])

            def work(
                device: Device, start: int, stop: int, arrays: Sequence[HostArray]
            ) -> npt.NDArray[np.int64]:
                part = np.zeros((high - low, k), np.int64)
                verb(device, some, arrays[0], np.clip(other_starts, start, stop) - start, exponent, part)
                return part

            for part in self._run(others.shape[1], 4 * d, lambda i, j: [others[:, i:j]], work):
                out[low:high] += part

        step = plan_tile_rows(4 * d + 8 * k, self._tile_bytes)
        for low in range(0, n, step):
            of(low, min(low + step, n))

    def square_silhouettes(
        self,
        block: Block,
        labels: LabelArray,
        centres: npt.NDArray[np.float32],
        spread: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64],
        out: npt.NDArray[np.float64],
    ) -> WideSum:
        """Squared-Euclidean silhouettes: see :meth:`gpuseg.engines.base.Engine.square_silhouettes`."""
        verb = _verb("square_silhouettes")
        if verb is None:
            return self._on_cpu("square_silhouettes").square_silhouettes(
                block, labels, centres, spread, counts, out
            )
        d, n = block.shape

        def cut(start: int, stop: int) -> list[HostArray]:
            return [block[:, start:stop], labels[start:stop]]

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> WideSum:
            values = np.empty(stop - start, np.float64)
            total: WideSum = verb(device, arrays[0], arrays[1], centres, spread, counts, values)
            out[start:stop] = values
            return total

        parts: list[WideSum] = self._run(n, 4 * d + labels.itemsize + 8, cut, work)
        return functools.reduce(WideSum.merge, parts)

    def bitmaps(
        self, customer: npt.NDArray[np.int64], period: npt.NDArray[np.int32], bits: npt.NDArray[np.uint64]
    ) -> None:
        """Activity bitmaps: see :meth:`gpuseg.engines.base.Engine.bitmaps`."""
        self._add("bitmaps", (customer, period), (), bits)

    def first_periods(self, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32]) -> None:
        """First active period of each customer: see :meth:`gpuseg.engines.base.Engine.first_periods`."""
        verb = _verb("first_periods")
        if verb is None:
            self._on_cpu("first_periods").first_periods(bits, first)
            return
        require_same_length("first_periods", bits, first)

        def work(device: Device, start: int, stop: int, arrays: Sequence[HostArray]) -> None:
            found = np.empty(stop - start, np.int32)
            verb(device, arrays[0], found)
            first[start:stop] = found

        row_bytes = 8 * bits.shape[1] + 4
        self._run(len(bits), row_bytes, lambda start, stop: [bits[start:stop]], work)

    def triangle(
        self, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
    ) -> None:
        """Retention triangle: see :meth:`gpuseg.engines.base.Engine.triangle`."""
        self._add("triangle", (bits, first), (), counts)

    def revenue(
        self,
        customer: npt.NDArray[np.int64],
        period: npt.NDArray[np.int32],
        amount: npt.NDArray[np.int64],
        first: npt.NDArray[np.int32],
        money: npt.NDArray[np.int64],
    ) -> int:
        """Amounts by cohort and age: see :meth:`gpuseg.engines.base.Engine.revenue`."""
        return sum(self._add("revenue", (customer, period, amount), (first,), money))

    def category_sums(
        self,
        customer: npt.NDArray[np.int64],
        category: npt.NDArray[np.int32],
        amount: npt.NDArray[np.int64],
        sums: npt.NDArray[np.int64],
    ) -> None:
        """Amounts by customer and category: see :meth:`gpuseg.engines.base.Engine.category_sums`."""
        self._add("category_sums", (customer, category, amount), (), sums)

    def _add(
        self, name: str, records: tuple[HostArray, ...], common: tuple[HostArray, ...], into: HostArray
    ) -> list[Any]:
        """A verb that adds records to a table, tile by tile; a verb changes its table last of all."""
        verb = _verb(name)
        if verb is None:
            return [getattr(self._on_cpu(name), name)(*records, *common, into)]
        require_same_length(name, *records)

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

    def _on_cpu(self, what: str) -> Engine:
        """The CPU engine, for what has no kernel yet."""
        from gpuseg.engines.cpu import CpuEngine

        _say_once(what)
        return CpuEngine()

    def _run(
        self,
        n: int,
        row_bytes: int,
        cut: Callable[[int, int], Sequence[HostArray]],
        work: Callable[[Device, int, int, Sequence[HostArray]], Any],
    ) -> list[Any]:
        return run_tiles(self._device, n, row_bytes, cut, work, tile_bytes=self._tile_bytes)


def _cut_weights(weights: Weights, start: int, stop: int) -> list[HostArray]:
    """The weights of a tile; none where every row counts once."""
    if weights.mode is WeightMode.NONE:
        return []
    return [(weights.reals if weights.mode is WeightMode.REAL else weights.integers)[start:stop]]


def _weights(mode: WeightMode, arrays: Sequence[HostArray]) -> Weights:
    """What :func:`_cut_weights` took apart."""
    ones = Weights.ones()
    if mode is WeightMode.INTEGER:
        return Weights(mode, arrays[0], ones.reals)
    return Weights(mode, ones.integers, arrays[0]) if mode is WeightMode.REAL else ones


def _nothing(whole: ClusterSums, scales: Scales) -> ClusterSums:
    return ClusterSums.zero(whole.total.hi.shape[0], whole.exponent, scales.mode)


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


_HOMES = {
    "assign": "device_assign",
    "bitmaps": "device_cohort",
    "category_sums": "device_categories",
    "centre": "device_scale",
    "distances": "device_distance",
    "first_periods": "device_cohort",
    "potentials": "device_seed",
    "revenue": "device_cohort",
    "scan": "device_scale",
    "seed_step": "device_seed",
    "silhouette_sums": "device_silhouette",
    "square_silhouettes": "device_silhouette",
    "triangle": "device_cohort",
}


@functools.cache
def _verb(name: str) -> Callable[..., Any] | None:
    """The host side of a verb's kernels, or None while it has none."""
    try:
        module = import_module(f"gpuseg.engines.{_HOMES[name]}")
    except ModuleNotFoundError:
        return None
    found: Callable[..., Any] | None = getattr(module, name, None)
    return found


@functools.cache
def _say_once(what: str) -> None:
    logger.info("%s has no kernel yet and runs on the CPU engine; the answer is the same", what)
