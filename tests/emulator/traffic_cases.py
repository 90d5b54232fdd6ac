"""The cases of ``python -m tests.emulator.traffic``: kernels at sizes, with the bytes that they cannot do without.

A new kernel adds its own to ``CASES``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gpuseg.core.moments import Scales
from gpuseg.core.oversampling import Round
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.engines.base import label_dtype
from gpuseg.engines.device.assign import assign_on_device
from gpuseg.engines.device.assign_plan import SIZES, WANT_SUMS, Want, plan_staged
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
from gpuseg.engines.launch import DeviceProps
from tests.emulator.cards import Work
from tests.emulator.counting import Case
from tests.emulator.device import PROPS, EmulatedDevice

WHOLE_CARD = replace(PROPS, multiprocessors=132, optin_shared=227 << 10)
"""An H100: what a block costs counts as often as such a card has blocks."""
ONE_OF_A_CARD = replace(PROPS, optin_shared=WHOLE_CARD.optin_shared)
"""One multiprocessor of it."""


def _table(n: int, d: int, seed: int = 1) -> np.ndarray:
    """Customers in a few groups, feature-major."""
    random = np.random.default_rng(seed)
    groups = random.normal(size=(8, d)) * 4
    return np.ascontiguousarray(
        (groups[random.integers(8, size=n)] + random.normal(size=(n, d))).astype("f4").T
    )


def _scales(x: np.ndarray, mode: WeightMode) -> Scales:
    weights = {
        WeightMode.NONE: None,
        WeightMode.INTEGER: np.arange(x.shape[1]) % 5 + 1.0,
        WeightMode.REAL: np.arange(x.shape[1]) % 5 + 0.5,
    }[mode]
    return Scales.of(5 * np.abs(x).max(axis=1).astype(np.float64), WeightRange.of(weights, x.shape[1]))


def _weights(n: int, mode: WeightMode) -> np.ndarray:
    return (np.arange(n) % 5 + 0.5).astype(np.float32) if mode is WeightMode.REAL else np.arange(n) % 5 + 1


_WEIGHT_BYTES = {WeightMode.NONE: 0, WeightMode.INTEGER: 8, WeightMode.REAL: 4}


def _moments(d: int, mode: WeightMode) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        x = _table(n, d)
        w = device.to_device(_weights(n, mode))
        moments_on_device(device, device.to_device(x), w, mode, _scales(x, mode))

    weight = _WEIGHT_BYTES[mode]
    return Case(
        f"moments d={d} {mode.name}", "moments_partial", run, 16_384, 10_000_000,
        compulsory=lambda n: (4 * d + weight) * n,
        work=lambda n: Work(float64=3.0 * d * n),
    )  # fmt: skip


def _assign(
    d: int,
    k: int,
    *,
    passes: int,
    models: int = 1,
    mode: WeightMode = WeightMode.NONE,
    kernel: str = "assign_rows",
    n: int = 16_384,
    limit: float = 1.15,
    props: DeviceProps = PROPS,
    shift: float = 0.03,
    of_kernel: str = "",
    a_row: bool = False,
) -> Case:
    """The first pass over a partition, or one in which one row of twenty changes its cluster.

    Rows in shared memory meet centres that come from the cache that a launch shares, and labels, where they are read
    a second time, do too; x comes once a launch. ``of_kernel``: a case of that kernel's bytes alone.
    """

    def run(device: EmulatedDevice, n: int) -> None:
        device.props = props
        table = _table(n, d)
        x = device.to_device(table)
        scales = _scales(table, mode)
        w = device.to_device(_weights(n, mode))
        memo = AssignMemo.fresh(device, n, d, [k] * models, mode)
        centres = [np.ascontiguousarray(_table(k, d, seed=2 + m).T) for m in range(models)]
        for turn in range(passes):
            device.traffic.clear()
            moved = [c + np.float32(shift * turn) for c in centres]
            assign_on_device(device, x, w, moved, memo, scales)

    kind = "first pass" if passes == 1 else "later pass"
    several = f" {models} models" if models > 1 else "" if mode is WeightMode.NONE else f" {mode.name}"
    label, weight = np.dtype(label_dtype(k)).itemsize, _WEIGHT_BYTES[mode]
    # Sums go out in 128 bits, and come in where they are remembered: with many of them, as much as the rows emulated.
    sums = 16 * passes * models * k * (d + 1) * (kernel == "assign_staged")
    whole = f"assign d={d} k={k}{several}, {kind}", (4 * d + models * label + weight), sums
    name, row_bytes, more = {"": whole, **_parts_of_a_pass(d, k, props)}[of_kernel]
    chains = of_kernel != "assign_sums"
    return Case(
        f"{name}{', a row' if a_row else ''}", of_kernel or kernel, run, n, 10_000_000,
        compulsory=lambda n: row_bytes * n + more,
        work=lambda n: Work(
            float32=2.0 * n * d * k * models * chains,
            float64=3.0 * n * d * models * (passes == 1) * (not of_kernel),
        ),
        limit=limit, cache="L2" if kernel == "assign_staged" else "L1", alone=bool(of_kernel), a_row=a_row,
    )  # fmt: skip


def _staged(d: int, k: int, *, passes: int, limit: float = 1.3, **options: Any) -> Case:
    return _assign(d, k, passes=passes, kernel="assign_staged", limit=limit, **options)


def _by_row(*, passes: int, limit: float = 1.3, **options: Any) -> Case:
    """So many centres that they and the partial sums of a block are as many bytes as the rows that can be emulated."""
    return _staged(128, 512, passes=passes, limit=limit, n=4096, props=ONE_OF_A_CARD, a_row=True, **options)


def _parts_of_a_pass(d: int, k: int, props: DeviceProps) -> dict[str, tuple[str, float, float]]:
    """Kernels of a first pass whose sums do not fit beside the rows: name, bytes a row, and of sums in 64 bits."""
    want = Want(WeightMode.NONE, WANT_SUMS)
    kept = plan_staged([k], d, want, SIZES, props.optin_shared).kept
    left, label = want.entries(d) - kept, np.dtype(label_dtype(k)).itemsize
    return {
        "assign_staged": (f"assign d={d} k={k}: labels, some sums", 4 * d + label, 8 * k * kept),
        "assign_sums": (f"assign d={d} k={k}: the other sums", 4 * (left - 1) + label, 8 * k * left),
    }


def _distance(d: int, metric: Any) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        x, points = (device.to_device(_table(n, d, seed=seed)) for seed in (1, 2))
        distances_on_device(device, x, points, metric=metric)

    return Case(
        f"distance d={d} {metric}", "pair_distances", run, 512, 30_000,
        compulsory=lambda n: 4.0 * n * n + 8 * d * n,
        work=lambda n: Work(float32=(2.0 * d + 8) * n * n),
        cache="L2", pairs=True,
    )  # fmt: skip


def _silhouette(d: int, k: int, n: int = 1024) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        x = device.to_device(_table(n, d))
        starts = device.to_device(np.linspace(0, n, k + 1).astype(np.int64))
        silhouette_sums_on_device(device, x, x, starts, 30)

    return Case(
        f"silhouette d={d} k={k}", "distance_sums", run, n, 50_000,
        compulsory=lambda n: 4.0 * d * n + 16 * k * n,
        work=lambda n: Work(float32=(2.0 * d + 20) * n * n),
        cache="L2", pairs=True,
    )  # fmt: skip


def _square_silhouettes(d: int, k: int, *, labelling: bool = False) -> Case:
    """Silhouettes of labelled rows; or of rows that get their labels with it, of which the mean alone is wanted."""

    def run(device: EmulatedDevice, n: int) -> None:
        labels = device.to_device((np.arange(n) % k).astype(np.uint8))
        counts = np.bincount(np.arange(n) % k, minlength=k)
        facts = device.to_device(_table(k, d, seed=2)), device.to_device(np.ones(k)), device.to_device(counts)
        x = device.to_device(_table(n, d))
        square_silhouettes_on_device(
            device, x, labels, *facts, labelling=labelling, want_values=not labelling
        )

    return Case(
        f"squared silhouette{' and labels' if labelling else ''} d={d} k={k}",
        "square_silhouettes", run, 16_384, 10_000_000,
        compulsory=lambda n: (4.0 * d + (1 if labelling else 9)) * n,
        work=lambda n: Work(float32=2.0 * d * k * n, float64=4.0 * k * n),
    )  # fmt: skip


def _label_moments(
    d: int,
    k: int,
    *,
    n: int = 16_384,
    props: DeviceProps = PROPS,
    cache: str = "L1",
    tiled: bool = False,
    note: str = "",
) -> Case:
    """Labels are read once for each tile of features: where that is often, from the cache that a launch shares.

    With clusters in tiles, too, a warp's load asks for the rows of one tile only, here and there.
    """

    def run(device: EmulatedDevice, n: int) -> None:
        device.props = props
        x = _table(n, d)
        labels = device.to_device(np.random.default_rng(5).integers(k, size=n).astype(np.uint8))
        label_moments_on_device(device, device.to_device(x), labels, k, _scales(x, WeightMode.NONE))

    return Case(
        f"moments of clusters d={d} k={k}{note}", "label_sums", run, n, 10_000_000,
        compulsory=lambda n: (4.0 * d + 1) * n,
        work=lambda n: Work(float64=3.0 * d * n), cache=cache, scattered=tiled,
    )  # fmt: skip


def _scan(d: int, *, row_major: bool, weighted: bool = False) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        x = _table(n, d)
        out = device.empty((d, n), np.float32)
        source = device.to_device(np.ascontiguousarray(x.T) if row_major else x)
        weights = device.to_device(np.arange(n) % 5 + 0.5) if weighted else None
        scan_on_device(device, source, weights, out, row_major=row_major)

    return Case(
        f"scan d={d} {'row' if row_major else 'feature'}-major{' weighted' if weighted else ''}",
        "scan_rows", run, 8192, 10_000_000,
        compulsory=lambda n: (8.0 * d + 8 * weighted) * n,
        work=lambda n: Work(float32=3.0 * d * n),
    )  # fmt: skip


def _centre(d: int) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        source = device.to_device(np.ascontiguousarray(_table(n, d).T.astype(np.float64)))
        out = device.empty((d, n), np.float32)
        centre_on_device(device, source, device.zeros(d, np.float64), out, row_major=True)

    return Case(
        f"centre d={d} float64", "centre_rows", run, 8192, 10_000_000,
        compulsory=lambda n: 12.0 * d * n,
        work=lambda n: Work(float64=2.0 * d * n),
    )  # fmt: skip


def _seed_step(d: int, k: int) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        x, none = device.to_device(_table(n, d)), device.empty(0, np.int64)
        closest, out = device.to_device(np.full(n, 50, np.float32)), device.empty((k, n), np.float32)
        candidates = device.to_device(_table(k, d, seed=2))
        seed_step_on_device(device, x, none, WeightMode.NONE, closest, candidates, 20, out)

    return Case(
        f"seed step d={d}, {k} candidates", "seed_candidates", run, 16_384, 1 << 18,
        compulsory=lambda n: (4.0 * d + 4 + 4 * k) * n,
        work=lambda n: Work(float32=(2.0 * d + 2) * k * n, float64=3.0 * k * n),
    )  # fmt: skip


def _potentials() -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        closest = device.to_device(np.arange(n, dtype=np.float32))
        potentials_on_device(device, closest, device.empty(0, np.int64), WeightMode.NONE, 10)

    return Case(
        "seed potentials", "potentials_each", run, 8192, 1 << 18,
        compulsory=lambda n: 12.0 * n, work=lambda n: Work(float64=3.0 * n),
    )  # fmt: skip


def _oversample(kernel: str, d: int, k: int) -> Case:
    """A round of k-means||: ``k`` new candidates, their distances added, rows kept by their draws."""

    def run(device: EmulatedDevice, n: int) -> None:
        x, none = device.to_device(_table(n, d)), device.empty(0, np.int64)
        closest, who = np.full(n, 50, np.float32), device.to_device(np.arange(n, dtype=np.uint64))
        candidates = device.to_device(_table(k, d, seed=2))
        near, drawing = device.to_device(closest), Round(7, 1, 2.0 * k)
        oversample_on_device(device, x, none, WeightMode.NONE, near, candidates, who, drawing)

    of_kernel = {
        "nearer_rows": (4.0 * d + 8, Work(float32=(2.0 * d + 1) * k)),
        "distance_bins": (4.0, Work()),
        "keep_rows": (12.0, Work(float64=4.0)),
    }
    row_bytes, work = of_kernel[kernel]
    return Case(
        f"oversample d={d}, {k} candidates: {kernel}", kernel, run, 16_384, 10_000_000,
        compulsory=lambda n: row_bytes * n,
        work=lambda n: Work(float32=work.float32 * n, float64=work.float64 * n), alone=True,
    )  # fmt: skip


SAMPLED = 1 / 32


def _draws() -> Case:
    """Draws of all rows, and the numbers of those that may be in the sample."""

    def run(device: EmulatedDevice, n: int) -> None:
        identity, none = device.to_device(np.arange(n, dtype=np.uint64)), device.empty(0, np.int64)
        sample_rows_on_device(device, identity, none, WeightMode.NONE, 7, int(SAMPLED * 2**64))

    return Case(
        "sample draws", "draw_rows", run, 16_384, 10_000_000,
        compulsory=lambda n: (8 + 16 * SAMPLED) * n,
        work=lambda n: Work(), cache="L2", scattered=True, alone=True,
    )  # fmt: skip


PERIODS = 36


def _records(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten records a customer, in any order."""
    random = np.random.default_rng(3)
    customer = random.integers(n // 10, size=n)
    return customer, random.integers(PERIODS, size=n).astype(np.int32), random.integers(-500, 5000, size=n)


def _bitmaps(n: int) -> np.ndarray:
    bits = np.zeros((n, 1), np.uint64)
    customer, period, _ = _records(10 * n)
    np.bitwise_or.at(bits[:, 0], customer, np.uint64(1) << period.astype(np.uint64))
    return bits


def _marks() -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        customer, period, _ = map(device.to_device, _records(n))
        bitmaps_on_device(device, customer, period, device.zeros((n // 10, 1), np.uint64))

    return Case(
        "cohort bitmaps, 10 records a customer", "bitmap_marks", run, 20_480, 20_000_000,
        compulsory=lambda n: 13.6 * n, work=lambda n: Work(), cache="L2",
    )  # fmt: skip


def _first() -> Case:
    return Case(
        "cohort first periods, 36 months", "first_active",
        lambda device, n: first_periods_on_device(device, device.to_device(_bitmaps(n))), 8192, 2_000_000,
        compulsory=lambda n: 12.0 * n, work=lambda n: Work(),
    )  # fmt: skip


def _triangle() -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        bits = device.to_device(_bitmaps(n))
        first = first_periods_on_device(device, bits)
        device.stream.synchronize()
        device.traffic.clear()
        triangle_on_device(device, bits, first, PERIODS)

    return Case(
        "cohort triangle, 36 months", "triangle_counts", run, 65_536, 2_000_000,
        compulsory=lambda n: 12.0 * n, work=lambda n: Work(),
    )  # fmt: skip


def _revenue() -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        customer, period, amount = map(device.to_device, _records(n))
        first = device.to_device(np.zeros(n // 10, np.int32))
        money = device.zeros(PERIODS * (PERIODS + 1) // 2, np.uint64)
        revenue_on_device(device, customer, period, amount, first, money, PERIODS)

    return Case(
        "cohort revenue, 36 months", "revenue_sums", run, 20_480, 20_000_000,
        compulsory=lambda n: 20.4 * n, work=lambda n: Work(), cache="L2", scattered=True,
    )  # fmt: skip


def _categories(count: int) -> Case:
    def run(device: EmulatedDevice, n: int) -> None:
        customer, period, amount = _records(n)
        records = customer, period % np.int32(count), amount
        sums = device.zeros((n // 10, count), np.uint64)
        category_sums_on_device(device, *map(device.to_device, records), sums)

    return Case(
        f"category sums, {count} categories", "category_sums", run, 20_480, 20_000_000,
        compulsory=lambda n: 20.0 * n + 16 * count * (n // 10), work=lambda n: Work(), cache="L2", scattered=True,
    )  # fmt: skip


CASES = (
    *(_moments(d, mode) for d in (8, 32) for mode in WeightMode),
    *(_assign(d, k, passes=passes) for d, k in ((8, 4), (8, 8), (16, 16), (32, 4), (32, 32)) for passes in (1, 2)),
    _assign(8, 8, passes=1, models=3),
    *(_assign(8, 8, passes=1, mode=mode) for mode in (WeightMode.INTEGER, WeightMode.REAL)),
    # Of d 8 .. 32 and k 4 .. 32 the worst, mode by mode.
    *(_assign(8, 32, passes=2, mode=mode, n=20_480) for mode in WeightMode),
    _assign(8, 32, passes=1, mode=WeightMode.REAL, n=20_480),
    # Rows in shared memory; all sums beside them, or most.
    *(_staged(96, 64, passes=passes, shift=0.35) for passes in (1, 2)),
    _staged(96, 64, passes=1, mode=WeightMode.INTEGER),
    _staged(96, 136, passes=1, n=8192),
    *(_staged(96, 64, passes=passes, models=3, n=8192, shift=0.35) for passes in (1, 2)),
    *(_staged(256, 64, passes=passes, n=8192, shift=0.14) for passes in (1, 2)),
    # A third: kernel by kernel, and both.
    *(_by_row(passes=1, of_kernel=kernel) for kernel in ("assign_staged", "assign_sums")),
    _by_row(passes=1, limit=1.7),
    _by_row(passes=2, shift=0.16),
    *(_distance(16, metric) for metric in ("euclidean", "cosine")),
    _silhouette(8, 8),
    _silhouette(2, 2, n=256),
    _silhouette(32, 8),
    _square_silhouettes(8, 8),
    _square_silhouettes(8, 8, labelling=True),
    _label_moments(8, 8),
    _label_moments(2, 2, n=4096),
    _label_moments(8, 8, n=4096, props=WHOLE_CARD, note=", 4,096 rows on a whole card"),
    _label_moments(8, 32, n=65_536, props=WHOLE_CARD, cache="L2", note=" on a whole card"),
    _label_moments(8, 100, n=32_768, props=WHOLE_CARD, cache="L2", tiled=True, note=" on a whole card"),
    *(_scan(8, row_major=row_major) for row_major in (True, False)),
    _scan(8, row_major=True, weighted=True),
    _centre(8),
    _potentials(),
    _seed_step(8, 8),
    *(_oversample(kernel, 8, 16) for kernel in ("nearer_rows", "distance_bins", "keep_rows")),
    _draws(),
    _marks(),
    _first(),
    _triangle(),
    _revenue(),
    _categories(8),
)  # fmt: skip
