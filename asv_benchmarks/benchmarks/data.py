"""Data of the benchmarks: the same bytes for us and for every peer, from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPREAD = {"blobs": 3.0, "overlapping": 0.6}
"""Standard deviation of the true centres, for noise of standard deviation 1 in every feature."""

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Table:
    """A float32 table in C order and the rows that every fit starts from."""

    name: str
    x: npt.NDArray[np.float32]
    start: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.x.shape[0], self.x.shape[1]


def gaussian_mixture(name: str, n: int, d: int, k: int, seed: int = 0) -> Table:
    """``k`` spherical normal clusters of equal size, and ``k`` rows drawn at random as the common start.

    A random start puts two centres into one cluster or none into another nearly always, so that Lloyd's algorithm
    still moves after twenty iterations, on separate clusters (``blobs``) as well as on ``overlapping`` ones.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(0.0, SPREAD[name], (k, d)).astype(np.float32)
    x = np.empty((n, d), np.float32)
    for first in range(0, n, _BLOCK):
        block = x[first : first + _BLOCK]
        rng.standard_normal(dtype=np.float32, out=block)
        block += centres[rng.integers(0, k, len(block))]
    return Table(name, x, x[rng.choice(n, k, replace=False)].copy())


def purchases(n: int, d: int, k: int, seed: int = 0) -> Table:
    """Lines of the Complete Journey as they come from a shop: heavy tails, ties, zeros; standardised.

    At most ``n`` of its 1.5 million lines and ``d`` of eight features: quantity, sales, three discounts, week, day of
    the year and hour.
    """
    import pyarrow.compute as pc

    from gpuseg.datasets import complete_journey_table

    lines = complete_journey_table("transactions")
    when = lines["transaction_timestamp"]
    money = ("quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc", "week")
    columns = [lines[name] for name in money] + [pc.day_of_year(when), pc.hour(when)]
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(lines))[:n])
    values = np.stack([np.asarray(column, np.float64)[rows] for column in columns[:d]], axis=1)
    x = ((values - values.mean(axis=0)) / values.std(axis=0)).astype(np.float32)
    return Table("real", x, x[rng.choice(len(x), k, replace=False)].copy())


def table_of(name: str, n: int, d: int, k: int, seed: int = 0) -> Table:
    """The table of that name: one of ``SPREAD``, or "real"."""
    return purchases(n, d, k, seed) if name == "real" else gaussian_mixture(name, n, d, k, seed)


def inertia_float64(x: npt.NDArray[np.float32], centres: npt.NDArray[np.floating]) -> float:
    """Sum of squared distances to the nearest centre, in float64 difference form: the judge of every peer."""
    wide = np.asarray(centres, np.float64)
    total = 0.0
    for first in range(0, len(x), _BLOCK):
        block = x[first : first + _BLOCK].astype(np.float64)
        nearest = np.full(len(block), np.inf)
        for centre in wide:
            np.minimum(nearest, ((block - centre) ** 2).sum(axis=1), out=nearest)
        total += float(nearest.sum())
    return total
