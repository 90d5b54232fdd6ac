"""The cases of gpu.py: every kernel of kernels/, on data that lie on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.data import gaussian_mixture
from gpuseg.core.moments import FeatureRange, Layout, Scales
from gpuseg.core.oversampling import Round
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.engines.device.assign import assign_on_device
from gpuseg.engines.device.categories import category_sums_on_device
from gpuseg.engines.device.cohort import (
    bitmaps_on_device,
    first_periods_on_device,
    revenue_on_device,
    triangle_on_device,
)
from gpuseg.engines.device.distance import distances_on_device
from gpuseg.engines.device.label_moments import label_moments_on_device
from gpuseg.engines.device.memo import AssignMemo
from gpuseg.engines.device.moments import moments_on_device
from gpuseg.engines.device.oversample import oversample_on_device
from gpuseg.engines.device.scale import centre_on_device, scan_on_device
from gpuseg.engines.device.seed import potentials_on_device, sample_rows_on_device, seed_step_on_device
from gpuseg.engines.device.silhouette import silhouette_sums_on_device, square_silhouettes_on_device

PERIODS = 36
SAMPLED = 1 / 32
"""Share of the rows that a draw takes."""

SHAPES = {
    (8, 8): "assign_rows",
    (16, 16): "assign_rows",
    (32, 32): "assign_rows",
    (64, 64): "assign_staged",
    (128, 512): "assign_staged",
}
"""Features and clusters of the assignment passes, and the kernel that they go to."""


@dataclass(frozen=True)
class Work:
    """Something to be timed.

    Parameters
    ----------
    run : callable
        Does it once; its data are on the device.
    compulsory : int
        Bytes that it cannot do without.
    kernel : str
        Beginning of the name of the kernel that it is about.
    """

    run: Callable[[], Any]
    compulsory: int
    kernel: str


def _block(device: Any, n: int, d: int, k: int) -> tuple[Any, np.ndarray, Layout]:
    """Rows on the device, feature-major; a start; scales."""
    table = gaussian_mixture("overlapping", n, d, k)
    x = np.ascontiguousarray(table.x.T)
    low, high = (edge.astype(np.float64) for edge in (x.min(axis=1), x.max(axis=1)))
    seen = FeatureRange(n, low, high, np.zeros(d, np.int64), WeightRange.of(None, n))
    return device.to_device(x), np.ascontiguousarray(table.start), Layout.plain(seen)


def _assign(d: int, k: int, *, later: bool) -> Callable[[Any, int], Work]:
    """A pass over fresh labels, or one that remembers; later passes move between two sets of centres."""

    def prepare(device: Any, n: int) -> Work:
        x, start, layout = _block(device, n, d, k)
        w = device.empty(0, np.int64)
        memo = AssignMemo.fresh(device, n, d, [k], WeightMode.NONE)
        nudged = (start * np.float32(1.001), start)
        turn = [0]

        def run() -> None:
            if not later:
                memo.known[0] = False
            turn[0] += 1
            assign_on_device(device, x, w, [nudged[turn[0] % 2]], memo, layout.scales)

        return Work(run, n * (4 * d + 1), SHAPES[d, k])

    return prepare


def _moments(mode: WeightMode) -> Callable[[Any, int], Work]:
    def prepare(device: Any, n: int) -> Work:
        table = gaussian_mixture("overlapping", n, 8, 8)
        drawn = np.random.default_rng(0).integers(1, 5, n)
        weights = {
            WeightMode.NONE: np.empty(0, np.int64),
            WeightMode.INTEGER: drawn,
            WeightMode.REAL: (drawn / 2).astype(np.float32),
        }[mode]
        seen = WeightRange.of(weights.astype(np.float64) if weights.size else None, n)
        scales = Scales.of(4 * np.abs(table.x).max(axis=0).astype(np.float64), seen)
        x, w = device.to_device(np.ascontiguousarray(table.x.T)), device.to_device(weights)
        return Work(
            lambda: moments_on_device(device, x, w, mode, scales),
            32 * n + weights.nbytes,
            f"moments_partial<{mode.name}>",
        )

    return prepare


def _label_moments(device: Any, n: int) -> Work:
    x, _, layout = _block(device, n, 8, 8)
    labels = device.to_device((np.arange(n) * 7 % 13 % 8).astype(np.uint8))
    return Work(lambda: label_moments_on_device(device, x, labels, 8, layout.scales), 33 * n, "label_sums")


def _scan(*, weighted: bool) -> Callable[[Any, int], Work]:
    def prepare(device: Any, n: int) -> Work:
        x, _, _ = _block(device, n, 8, 8)
        weights = device.to_device(np.arange(n) % 5 + 0.5) if weighted else None
        return Work(
            lambda: scan_on_device(device, x, weights, None, row_major=False),
            (32 + 8 * weighted) * n,
            "weigh_rows" if weighted else "scan_rows",
        )

    return prepare


def _centre(device: Any, n: int) -> Work:
    table = gaussian_mixture("overlapping", n, 8, 8)
    source = device.to_device(np.ascontiguousarray(table.x, np.float64))
    shift, out = device.zeros(8, np.float64), device.empty((8, n), np.float32)
    return Work(lambda: centre_on_device(device, source, shift, out, row_major=True), 96 * n, "centre_rows")


def _distances(metric: Any) -> Callable[[Any, int], Work]:
    def prepare(device: Any, n: int) -> Work:
        x, start, _ = _block(device, n, 8, 8)
        points = device.to_device(start)
        kernel = f"pair_distances<{metric.upper()}>"
        return Work(lambda: distances_on_device(device, x, points, metric=metric), 64 * n, kernel)

    return prepare


def _silhouette(device: Any, n: int) -> Work:
    some = min(n, 50_000)
    x, _, _ = _block(device, some, 8, 8)
    starts = device.to_device(np.linspace(0, some, 9).astype(np.int64))
    return Work(lambda: silhouette_sums_on_device(device, x, x, starts, 20), 96 * some, "distance_sums")


def _square_silhouettes(device: Any, n: int) -> Work:
    x, start, _ = _block(device, n, 8, 8)
    labels = device.to_device((np.arange(n) % 8).astype(np.uint8))
    facts = (start, np.ones(8), np.bincount(np.arange(n) % 8, minlength=8).astype(np.int64))
    up = [device.to_device(fact) for fact in facts]
    return Work(lambda: square_silhouettes_on_device(device, x, labels, *up), 41 * n, "square_silhouettes")


def _potentials(device: Any, n: int) -> Work:
    closest, none = device.to_device(np.arange(n, dtype=np.float32)), device.empty(0, np.int64)
    return Work(
        lambda: potentials_on_device(device, closest, none, WeightMode.NONE, 10), 12 * n, "potentials_each"
    )


def _seed_step(device: Any, n: int) -> Work:
    x, candidates, _ = _block(device, n, 8, 8)
    none, up = device.empty(0, np.int64), device.to_device(np.ascontiguousarray(candidates.T))
    closest, out = device.to_device(np.full(n, 50, np.float32)), device.empty((8, n), np.float32)
    return Work(
        lambda: seed_step_on_device(device, x, none, WeightMode.NONE, closest, up, 20, out),
        68 * n,
        "seed_candidates",
    )


def _oversample(device: Any, n: int) -> Work:
    x, candidates, _ = _block(device, n, 8, 16)
    none, up = device.empty(0, np.int64), device.to_device(np.ascontiguousarray(candidates.T))
    closest, who = np.full(n, 50, np.float32), device.to_device(np.arange(n, dtype=np.uint64))
    near, drawing = device.to_device(closest), Round(7, 1, 32.0)
    return Work(
        lambda: oversample_on_device(device, x, none, WeightMode.NONE, near, up, who, drawing),
        (4 * 8 + 8 + 4 + 12) * n,
        "nearer_rows",
    )


def _draws(device: Any, n: int) -> Work:
    identity, none = device.to_device(np.arange(n, dtype=np.uint64)), device.empty(0, np.int64)
    threshold = int(SAMPLED * 2**64)
    return Work(
        lambda: sample_rows_on_device(device, identity, none, WeightMode.NONE, 7, threshold),
        8 * n + int(16 * SAMPLED * n),
        "draw_rows",
    )


def _records(device: Any, n: int, codes: int) -> tuple[int, tuple[Any, Any, Any]]:
    """Customers, ten records of each in any order: customer, code, amount."""
    rng = np.random.default_rng(0)
    customers = max(n // 10, 1)
    columns = (
        rng.integers(0, customers, n),
        rng.integers(0, codes, n).astype(np.int32),
        rng.integers(-1000, 100_000, n),
    )
    customer, code, amount = map(device.to_device, columns)
    return customers, (customer, code, amount)


def _bits(n: int) -> np.ndarray:
    """Activity of n customers."""
    return np.random.default_rng(0).integers(1, 1 << PERIODS, (n, 1), dtype=np.uint64)


def _marks(device: Any, n: int) -> Work:
    customers, (customer, period, _) = _records(device, n, PERIODS)
    bits = device.zeros((customers, 1), np.uint64)
    return Work(
        lambda: bitmaps_on_device(device, customer, period, bits), 12 * n + 16 * customers, "bitmap_marks"
    )


def _first(device: Any, n: int) -> Work:
    customers = max(n // 10, 1)
    bits = device.to_device(_bits(customers))
    return Work(lambda: first_periods_on_device(device, bits), 12 * customers, "first_active")


def _triangle(device: Any, n: int) -> Work:
    customers = max(n // 10, 1)
    first = np.random.default_rng(1).integers(0, PERIODS, customers).astype(np.int32)
    up = device.to_device(_bits(customers)), device.to_device(first)
    return Work(lambda: triangle_on_device(device, *up, PERIODS), 12 * customers, "triangle_counts")


def _revenue(device: Any, n: int) -> Work:
    customers, records = _records(device, n, PERIODS)
    first = device.zeros(customers, np.int32)
    money = device.zeros(PERIODS * (PERIODS + 1) // 2, np.uint64)
    return Work(
        lambda: revenue_on_device(device, *records, first, money, PERIODS),
        20 * n + 4 * customers,
        "revenue_sums",
    )


def _categories(device: Any, n: int) -> Work:
    customers, records = _records(device, n, 8)
    sums = device.zeros((customers, 8), np.uint64)
    return Work(
        lambda: category_sums_on_device(device, *records, sums), 20 * n + 128 * customers, "category_sums"
    )


CASES: dict[str, Callable[[Any, int], Work]] = {
    **{f"assign d={d} k={k}, first pass": _assign(d, k, later=False) for d, k in SHAPES},
    **{f"assign d={d} k={k}, later pass": _assign(d, k, later=True) for d, k in SHAPES},
    **{f"moments d=8 {mode.name}": _moments(mode) for mode in WeightMode},
    "moments of clusters d=8 k=8": _label_moments,
    "scan d=8": _scan(weighted=False),
    "scan d=8 weighted": _scan(weighted=True),
    "centre d=8 float64": _centre,
    **{f"distances d=8 k=8 {metric}": _distances(metric) for metric in ("euclidean", "cosine")},
    "silhouette sums d=8 k=8": _silhouette,
    "squared silhouettes d=8 k=8": _square_silhouettes,
    "seed potentials": _potentials,
    "seed step d=8, 8 candidates": _seed_step,
    "oversample d=8, 16 candidates": _oversample,
    "sample draws": _draws,
    "cohort bitmaps, 36 months": _marks,
    "cohort first periods, 36 months": _first,
    "cohort triangle, 36 months": _triangle,
    "cohort revenue, 36 months": _revenue,
    "category sums, 8 categories": _categories,
}
