"""The CPU engine (engines): numba kernels over row ranges, one thread a range.

Every verb splits the rows, lets each thread add into sums of its own, and merges them as integers: the number of
threads changes no bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.blocks import flattened, is_feature_major, is_row_major
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.memory import has_groups
from gpuseg.core.moments import FeatureRange, Layout, Moments, Scales
from gpuseg.core.overindex import CategoryCounts, TraitTerms
from gpuseg.core.oversampling import Round
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import WeightMode, WeightRange, Weights, counting
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
    require_rows,
    require_shapes,
    require_weights,
)
from gpuseg.engines.cpu import distances, labelled, preparing, reading, records, sampling, traits
from gpuseg.engines.cpu.bounds import BoundPlan, Bounds, PassCosts, paying_share, whole_groups
from gpuseg.engines.cpu.groups import GroupPlan, paying_groups
from gpuseg.engines.cpu.pool import run_parallel, split_rows, thread_count
from gpuseg.engines.cpu.products import one_thread_each
from gpuseg.engines.cpu.routes import Route, ScreenedRows, Setting
from gpuseg.engines.cpu.slack import TILE
from gpuseg.engines.cpu.turning import FEATURES
from gpuseg.engines.cpu.vectors import LANES
from gpuseg.errors import ContractError, InputError

_NO_FLOATS = np.empty(0, np.float32)
_NO_DOUBLES = np.empty(0, np.float64)
Bounding: TypeAlias = Literal["hamerly", "groups"] | bool
"""What ``bounds`` takes."""
_NO_MASK = np.empty(0, np.bool_)
_MODEL_CHUNK_BYTES = 1 << 19
"""Rows of several models advance in chunks of this size, so that the second model finds them in the cache."""


class _Limbs:
    """Zeroed 128-bit sums that one thread's kernel adds to."""

    def __init__(self, size: int) -> None:
        self.hi = np.zeros(size, np.int64)
        self.lo = np.zeros(size, np.uint64)

    def wide(self, *shape: int) -> WideSum:
        return WideSum(self.hi.reshape(shape), self.lo.reshape(shape))


@dataclass
class _Share:
    """What one thread's rows change of one model's sums."""

    total: _Limbs
    mass: _Limbs
    bins: _Limbs
    moved: int = 0
    computed: int = 0
    screened: int = 0
    redone: int = 0

    @classmethod
    def zero(cls, centres: npt.NDArray[np.float32], mass_bins: int) -> _Share:
        return cls(_Limbs(centres.size), _Limbs(len(centres) * mass_bins), _Limbs(N_BINS))

    @property
    def limbs(self) -> tuple[npt.NDArray[Any], ...]:
        """What a kernel adds to."""
        return (
            self.total.hi, self.total.lo, self.mass.hi, self.mass.lo, self.bins.hi, self.bins.lo,
        )  # fmt: skip

    def add_counts(self, moved: int, computed: int) -> None:
        self.moved += moved
        self.computed += computed

    def add_screened(self, rows: ScreenedRows, k: int) -> None:
        rows.close()
        self.add_counts(rows.moved, rows.done * k)
        self.screened += rows.done
        self.redone += rows.redone


class CpuEngine:
    """numba kernels on threads.

    Parameters
    ----------
    n_jobs : int, optional
        Threads; -1 for all CPUs allowed. Default: the Dask worker's threads inside a worker, else all CPUs allowed.
    bounds : bool, "hamerly" or "groups", default True
        Whether passes remember bounds, so that rows which cannot have changed their label are not looked at: one a row
        ("hamerly"), or one for each group of similar centres ("groups"); with True what was measured to be faster for
        the numbers of features and clusters. Whatever it is: the same labels, centres and sums.
    screen : {"auto", True, False}, default "auto"
        Whether passes that look at every row find the nearest centres by matrix products of BLAS, and redo by the chain
        the rows that these leave open: always, never, or with many features and centres where it was measured to be
        faster. The same labels, centres and sums.

    Raises
    ------
    InputError
        ``bounds`` or ``screen`` is something else.
    """

    name = "cpu"

    def __init__(
        self, n_jobs: int | None = None, *, bounds: Bounding = True, screen: Setting = "auto"
    ) -> None:
        # By identity: 1 and numpy's False equal True and False, and would take another route.
        if not (bounds is True or bounds is False or bounds in ("hamerly", "groups")):
            raise InputError(
                f'bounds={bounds!r} is not one of True, False, "hamerly" and "groups"; leave it out for True'
            )
        if not (screen is True or screen is False or screen == "auto"):
            raise InputError(
                f'screen={screen!r} is not one of "auto", True and False; leave it out for "auto"'
            )
        self.n_jobs = n_jobs
        self.bounds = bounds
        self.screen = screen

    def __repr__(self) -> str:
        return f"CpuEngine(n_jobs={self.n_jobs})"

    def _ranges(self, n_rows: int) -> list[tuple[int, int]]:
        return split_rows(n_rows, thread_count(self.n_jobs))

    def takes(self, source: npt.NDArray[np.floating]) -> bool:
        """Feature-major or row-major float32: see :meth:`gpuseg.engines.base.Engine.takes`."""
        return source.dtype == np.float32 and (is_feature_major(source) or is_row_major(source.T))

    def scan(
        self, source: npt.NDArray[np.floating], weights: npt.NDArray[np.float64] | None, out: Block | None
    ) -> FeatureRange:
        """Read 1: see :meth:`gpuseg.engines.base.Engine.scan`."""
        n, d = source.shape
        positive = _NO_MASK if weights is None else counting(weights)
        target = np.empty((0, 0), np.float32) if out is None else out
        read_whole = _whole_vector_scan(source, positive, weights is not None, out)

        def work(start: int, stop: int) -> FeatureRange:
            low, high = np.full(d, np.inf), np.full(d, -np.inf)
            bad = np.zeros(d, np.int64)
            rest = start if read_whole is None else read_whole(start, stop, low, high, bad)
            preparing.scan_rows(
                source, rest, stop, positive, weights is not None, low, high, bad, target, out is not None
            )
            return FeatureRange(stop - start, low, high, bad, WeightRange.zero())

        ranges = run_parallel(work, self._ranges(n))
        seen = functools.reduce(FeatureRange.merge, ranges)
        facts = WeightRange.of(weights, n)
        return FeatureRange(seen.n_rows, seen.minimum, seen.maximum, seen.n_bad, facts)

    def centre(self, source: npt.NDArray[np.floating], layout: Layout, out: Block) -> None:
        """Copy ``float32(source - centre)``: see :meth:`gpuseg.engines.base.Engine.centre`."""
        run_parallel(
            lambda start, stop: preparing.centre_rows(source, start, stop, layout.centre, out),
            self._ranges(len(source)),
        )

    def moments(self, source: npt.NDArray[np.floating], weights: Weights, scales: Scales) -> Moments:
        """Read 2: see :meth:`gpuseg.engines.base.Engine.moments`."""
        n, d = source.shape
        require_weights(weights, scales.mode, n)
        scale = _powers(scales.exponent)

        def work(start: int, stop: int) -> Moments:
            total, square = _Limbs(d), _Limbs(d)
            limbs = (total.hi, total.lo, square.hi, square.lo)
            if scales.mode is WeightMode.REAL:
                wide = _powers(scales.square_exponent)
                preparing.moments_real(source, start, stop, weights.reals, scale, wide, *limbs)
            elif weights.mode is WeightMode.INTEGER:
                preparing.moments_integer(source, start, stop, weights.integers, scale, *limbs)
            else:
                rest = start
                if source.dtype == np.float32 and is_feature_major(source):
                    rest = stop - (stop - start) % LANES
                    reading.moments_block(*flattened(source.T), d, start, rest, scale, *limbs)
                elif is_row_major(source.T):
                    rest = stop - (stop - start) % LANES
                    reading.moments_row_major(source.reshape(-1), d, start, rest, scale, *limbs)
                preparing.moments_plain(source, rest, stop, scale, *limbs)
            mass = _mass(weights, scales.mode, start, stop)
            return Moments(mass, total.wide(d), square.wide(d), scales.exponent, scales.square_exponent)

        return functools.reduce(Moments.merge, run_parallel(work, self._ranges(n)))

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
        labels: bool = True,  # noqa: ARG002 (they are here anyway)
        distance: npt.NDArray[np.float32] | None = None,
        rows: npt.NDArray[np.float32] | None = None,
    ) -> list[AssignResult]:
        """Nearest centre of every row for each model: see :meth:`gpuseg.engines.base.Engine.assign`."""
        d, n = block.shape
        require_weights(weights, scales.mode, n)
        require_models(centres, states, d, n)
        require_rows(rows, d, n)
        rows = block.T if is_row_major(block) else rows
        flat, stride = (_NO_FLOATS, 0) if is_row_major(block) else flattened(block)
        mass_bins = N_BINS if scales.mode is WeightMode.REAL else 1
        spare = _NO_FLOATS if distance is None else distance
        scale = _padded_powers(scales.exponent)
        known = [state.sums for state in states]
        row_major = _NO_FLOATS if rows is None or d == 1 else rows.reshape(-1)
        costs = PassCosts(row_major=row_major.size > 0, distances=inertia or distance is not None)
        none = BoundPlan.none()
        plans: list[BoundPlan | GroupPlan] = [
            self._plan(state, c, n, costs) if sums else none for state, c in zip(states, centres, strict=True)
        ]
        own = [whole_groups(c) for c in centres]
        bound_arrays = [plan.arrays() for plan in plans]
        for state in states:
            # An exception half-way must not leave labels and sums that disagree.
            state.sums = state.kept = None
        row_chunk = self._model_chunk(n, d, len(centres))
        table = flat, stride, row_major
        routes = [Route.of(self.screen, plan, c, n) for plan, c in zip(plans, centres, strict=True)]
        modes = int(weights.mode), sums, inertia, spare, distance is not None

        def work(start: int, stop: int) -> list[_Share]:
            shares = [_Share.zero(c, mass_bins) for c in centres]
            for low in range(start, stop, row_chunk):
                for m, (c, part, route) in enumerate(zip(centres, shares, routes, strict=True)):
                    model = (
                        c.reshape(-1), own[m], d, len(c), states[m].labels, known[m] is None, scale, weights.integers,
                        weights.reals, *modes,
                    )  # fmt: skip
                    chain = functools.partial(
                        _chain, part, plans[m].kernel, table, (*model, *bound_arrays[m])
                    )
                    high = min(low + row_chunk, stop)
                    if route is None:
                        chain(low, high)
                        continue
                    rows_of = ScreenedRows(route.screen, *table, model, part.limbs)
                    route.over(low, high, chain, rows_of)
                    part.add_screened(rows_of, len(c))
            return shares

        with one_thread_each() if any(routes) else nullcontext():
            done = run_parallel(work, self._ranges(n))
        results = []
        for m, (c, state) in enumerate(zip(centres, states, strict=True)):
            parts = [thread[m] for thread in done]
            full = self._collect(parts, c, known[m] if sums else None, scales)
            moved, computed, screened, redone = (
                sum(getattr(part, name) for part in parts)
                for name in ("moved", "computed", "screened", "redone")
            )
            state.sums = full if sums else None
            state.kept = plans[m].after(computed / max(1, n * len(c)), self._ranges(n))
            results.append(AssignResult(full, moved, computed, screened, redone))
        return results

    def _plan(
        self, state: AssignState, centres: npt.NDArray[np.float32], n_rows: int, costs: PassCosts
    ) -> BoundPlan | GroupPlan:
        """Bounds for a pass with these centres: those kept, now that the centres moved, or fresh ones."""
        k, d = centres.shape
        if self.bounds == "groups" or (self.bounds is True and has_groups(d, k)):
            known = None if state.sums is None else state.kept
            return (
                GroupPlan.of(known, centres, n_rows, paying_groups(d, k, costs))
                if k > 1
                else BoundPlan.none()
            )
        paying = paying_share(d, k, costs) if self.bounds and k > 1 else 0.0
        kept = state.kept
        if paying == 0.0:
            return BoundPlan.none()
        if state.sums is None or not isinstance(kept, Bounds) or kept.centres.shape != centres.shape:
            return BoundPlan(Bounds.fresh(n_rows, centres), paying, use=False, keep_all=False)
        if np.array_equal(kept.centres, centres):
            # Labels are those of these very centres: every row is vouched for, whatever is known of its slack.
            return BoundPlan(kept, paying, use=True, keep_all=kept.complete, settled=True)
        bounds = kept.moved_to(centres)
        if bounds.complete:
            return BoundPlan(bounds, paying, use=True, keep_all=True)
        keep_all = bounds.doubtful_share(state.labels, self._ranges(n_rows)) <= paying
        return BoundPlan(bounds, paying, use=False, keep_all=keep_all)

    @staticmethod
    def _collect(
        parts: list[_Share], centres: npt.NDArray[np.float32], known: ClusterSums | None, scales: Scales
    ) -> ClusterSums:
        """Full sums of the partition: what was remembered plus what every thread changed."""
        k, d = centres.shape
        full = ClusterSums.zero(k, scales.exponent, scales.mode)
        if known is not None:
            full = ClusterSums(known.mass, known.total, full.inertia, known.exponent)
        for part in parts:
            weight = (
                BinSum(part.mass.wide(k, N_BINS)) if scales.mode is WeightMode.REAL else part.mass.wide(k)
            )
            change = ClusterSums(
                weight, part.total.wide(k, d), BinSum(part.bins.wide(N_BINS)), scales.exponent
            )
            full = full.merge(change)
        return full

    def sample_rows(
        self, identity: npt.NDArray[np.uint64], weights: Weights, seed: int, threshold: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """Rows below a draw: see :meth:`gpuseg.engines.base.Engine.sample_rows`."""
        return sampling.sample_rows(self._ranges(identity.size), identity, weights, seed, threshold)

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
        flat, stride = flattened(block)

        def work(start: int, stop: int) -> npt.NDArray[np.int64]:
            sums = np.zeros(len(candidates), np.int64)
            distances.seed_rows(
                flat, stride, start, stop, closest, candidates.reshape(-1), len(candidates), d,
                weights.integers, weights.reals, int(weights.mode), np.ldexp(1.0, exponent), out.reshape(-1), n, sums,
            )  # fmt: skip
            return sums

        parts = run_parallel(work, self._ranges(n))
        return np.asarray(np.sum(parts, axis=0, dtype=np.int64))

    def potentials(
        self, closest: npt.NDArray[np.float32], weights: Weights, exponent: int
    ) -> npt.NDArray[np.int64]:
        """Integer potential of each row: see :meth:`gpuseg.engines.base.Engine.potentials`."""
        out = np.empty(closest.size, np.int64)
        scale = np.ldexp(1.0, exponent)
        run_parallel(
            lambda start, stop: distances.potential_rows(
                closest, start, stop, weights.integers, weights.reals, int(weights.mode), scale, out
            ),
            self._ranges(closest.size),
        )
        return out

    def oversample(
        self,
        block: Block,
        weights: Weights,
        closest: npt.NDArray[np.float32],
        candidates: npt.NDArray[np.float32],
        identity: npt.NDArray[np.uint64],
        drawing: Round,
    ) -> tuple[BinSum, npt.NDArray[np.int64]]:
        """A round of k-means||: see :meth:`gpuseg.engines.base.Engine.oversample`."""
        ranges = self._ranges(block.shape[1])
        return sampling.oversample(ranges, block, weights, closest, candidates, identity, drawing)

    def distances(
        self, block: Block, centres: npt.NDArray[np.float32], out: Block, *, metric: Metric = "euclidean"
    ) -> None:
        """Distance table: see :meth:`gpuseg.engines.base.Engine.distances`."""
        require_distances(block.shape, centres.shape, out.shape, metric)
        d, n = block.shape
        rows = distances.PAIR_ROWS[metric]
        (flat, stride), points, table = flattened(block), centres.reshape(-1), out.reshape(-1)
        run_parallel(
            lambda start, stop: rows(flat, stride, start, stop, points, len(centres), d, table, n),
            self._ranges(n),
        )

    def label_moments(
        self, block: Block, labels: Sequence[LabelArray], ks: Sequence[int], scales: Scales
    ) -> list[list[Moments]]:
        """Moments of each cluster's rows: see :meth:`gpuseg.engines.base.Engine.label_moments`."""
        d, n = block.shape
        require_labelled(labels, ks, scales.mode, n)
        (flat, stride), scale = _as_it_lies(block), _padded_powers(scales.exponent)
        step = self._model_chunk(n, d, len(ks))

        def work(start: int, stop: int) -> list[tuple[npt.NDArray[np.int64], _Limbs, _Limbs]]:
            parts = [(np.zeros(k, np.int64), _Limbs(k * d), _Limbs(k * d)) for k in ks]
            for low in range(start, stop, step):
                for given, k, (count, total, square) in zip(labels, ks, parts, strict=True):
                    labelled.label_moments_rows(
                        flat, stride, low, min(low + step, stop), given, k, d, scale, count,
                        total.hi, total.lo, square.hi, square.lo,
                    )  # fmt: skip
            return parts

        done = run_parallel(work, self._ranges(n))
        return [_cluster_moments([thread[m] for thread in done], k, d, scales) for m, k in enumerate(ks)]

    def silhouette_sums(
        self, rows: Block, others: ClusteredRows, exponent: int, out: npt.NDArray[np.int64]
    ) -> None:
        """Distance sums by cluster: see :meth:`gpuseg.engines.base.Engine.silhouette_sums`."""
        require_compared(rows, others, out)
        d, n = rows.shape
        threads = thread_count(self.n_jobs)
        step = max(1, -(-n // threads))
        scale = np.ldexp(1.0, exponent)
        run_parallel(
            lambda start, stop: distances.silhouette_rows(
                *flattened(rows), start, stop, *flattened(others.block),
                others.starts, others.k, d, scale, out,
            ),
            [(low, min(low + step, n)) for low in range(0, n, step)] or [(0, 0)],
        )  # fmt: skip

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
        require_shapes(labels, shapes, out, block.shape, labelling=labelling)
        d, n = block.shape
        flat, stride = _as_it_lies(block)
        # A kernel's int64 total takes 2**22 terms below 2**40.
        step = min(int(preparing.BLOCK_MASS), self._model_chunk(n, d, len(shapes)))
        bad = np.zeros(1, np.int64)

        def work(start: int, stop: int) -> list[int]:
            totals = [0] * len(shapes)
            for low in range(start, stop, step):
                for m, (given, shape) in enumerate(zip(labels, shapes, strict=True)):
                    # Labels that are only read may be read-only.
                    fresh = given if labelling else np.empty(0, given.dtype)
                    values = _NO_DOUBLES if out is None else out[m]
                    totals[m] += labelled.square_silhouette_rows(
                        flat, stride, low, min(low + step, stop), given, labelling, fresh, shape.centres.reshape(-1),
                        len(shape.centres), d, shape.spread, shape.counts, values, out is not None, bad,
                    )  # fmt: skip
            return totals

        done = run_parallel(work, self._ranges(n))
        if bad[0]:
            raise ContractError(
                "a label is not one of 0 .. k - 1; label the rows with the clusters they are compared by"
            )
        return [WideSum.from_ints([sum(totals)], ()) for totals in zip(*done, strict=True)]

    def trait_scores(
        self,
        counts: CategoryCounts,
        terms: TraitTerms,
        scores: npt.NDArray[np.float64],
        evidence: npt.NDArray[np.float64],
        reasons: npt.NDArray[np.int16] | None = None,
    ) -> None:
        """Scores from over-indexing: see :meth:`gpuseg.engines.base.Engine.trait_scores`."""
        traits.trait_scores(self._ranges(counts.n_rows), counts, terms, scores, evidence, reasons)

    @staticmethod
    def _model_chunk(n_rows: int, d: int, n_models: int) -> int:
        """Rows that models take turns at: all of them for one model, else what stays in the cache."""
        return max(n_rows, 1) if n_models == 1 else max(4, _MODEL_CHUNK_BYTES // (4 * d) // TILE) * TILE

    bitmaps = staticmethod(records.bitmaps)
    first_periods = staticmethod(records.first_periods)
    triangle = staticmethod(records.triangle)
    revenue = staticmethod(records.revenue)
    category_sums = staticmethod(records.category_sums)


def _as_it_lies(block: Block) -> tuple[npt.NDArray[np.float32], int]:
    """The values of a block as one array, and how far features lie apart: 0 where it is row-major."""
    return (block.T.reshape(-1), 0) if is_row_major(block) else flattened(block)


def _chain(
    part: _Share, kernel: Any, block: tuple[Any, ...], rest: tuple[Any, ...], low: int, high: int
) -> None:
    """Rows [low, high) of one model by the chain, less those that bounds vouch for."""
    part.add_counts(*kernel(*block, low, high, *rest, *part.limbs))


def _cluster_moments(
    parts: list[tuple[npt.NDArray[np.int64], _Limbs, _Limbs]], k: int, d: int, scales: Scales
) -> list[Moments]:
    """Moments of a model's clusters: what every thread found, merged."""
    mass = WideSum.from_int64(np.sum([count for count, _, _ in parts], axis=0, dtype=np.int64))
    total = functools.reduce(WideSum.merge, [total.wide(k, d) for _, total, _ in parts])
    square = functools.reduce(WideSum.merge, [square.wide(k, d) for _, _, square in parts])
    return [Moments(mass[c], total[c], square[c], scales.exponent, scales.square_exponent) for c in range(k)]


def _whole_vector_scan(
    source: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_], use_positive: bool, out: Block | None
) -> Callable[..., int] | None:
    """How whole vectors of rows are scanned, up to the row that is returned; None where the layout is uncommon."""
    n, d = source.shape
    copied = out is not None and source.flags.c_contiguous and is_feature_major(out.T)
    row_major = copied or (out is None and is_row_major(source.T))
    if source.dtype != np.float32 or not (row_major or (out is None and is_feature_major(source))):
        return None
    flat, stride = (source.reshape(-1), d) if row_major else flattened(source.T)
    copy, copy_stride = (_NO_FLOATS, 0) if out is None else flattened(out)
    counts = positive.view(np.uint8)

    def read(start: int, stop: int, low: Any, high: Any, bad: npt.NDArray[np.int64]) -> int:
        # Of a table with few features the last rows are left out: eight values are read from each row's beginning.
        rows = min(stop, n - LANES if row_major and d < FEATURES else n) - start
        rest: int = start + max(0, rows - rows % LANES)
        dubious = np.zeros(d, np.bool_)
        given = (d, start, rest, counts, use_positive, low, high, dubious)
        if row_major:
            reading.scan_row_major(flat, *given, copy, copy_stride)
        else:
            reading.scan_block(flat, start, stride, *given)
        for f in np.flatnonzero(dubious):
            bad[f] += int(np.count_nonzero(~np.isfinite(source[start:rest, f])))
        return rest

    return read


def _padded_powers(exponent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Scales of a row whose features are filled up to whole groups of eight, with zeros."""
    scale = np.zeros(-(-exponent.size // FEATURES) * FEATURES)
    scale[: exponent.size] = _powers(exponent)
    return scale


def _powers(exponent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.ldexp(np.ones(exponent.size), exponent.astype(np.int32))


def _mass(weights: Weights, mode: WeightMode, start: int, stop: int) -> WideSum | BinSum:
    """Total weight of rows [start, stop), in the arithmetic of the whole data set."""
    if mode is WeightMode.REAL:
        bins = _Limbs(N_BINS)
        preparing.bin_sum(weights.reals, start, stop, bins.hi, bins.lo)
        return BinSum(bins.wide(N_BINS))
    if weights.mode is WeightMode.NONE:
        return WideSum.from_ints([stop - start], ())
    chunk = weights.integers[start:stop]
    # Halves keep the plain int64 sums far from overflow: 2**31 rows of 2**31.
    return WideSum.from_ints([int((chunk & 0xFFFF).sum()) + (int((chunk >> 16).sum()) << 16)], ())
