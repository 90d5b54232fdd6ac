"""Bounds that never lie (CPU engine): which rows cannot have changed their label since a pass that looked at them.

Hamerly's bounds (SDM 2010) as one number a row. When a row's distances to its nearest and its second nearest centre
are a and b, it keeps its label until the centres have moved by more than b - a in all: its own centre away from it,
the others towards it. ``slack`` holds b - a, less all roundings, plus what the centres had moved by then; the row is
skipped while ``slack > spent[label]``, what they have moved by now. Nothing is written for a row that is skipped.

Roundings (ONE_ANSWER section 5): a bound taken from a chain value enters as ub = a (1 + g) + e, lb = b (1 - g) - e with
g = (d + 4) 2**-23 and e = sqrt(d) 2**-74, and a row may be skipped only if ub (1 + g) + e < lb (1 - g) after the
centres moved. As ub < lb <= b then, b - a - 4 g b - 3 e > (what they moved) is enough. The float32 operations that
compute the left side are off by less than 8 b 2**-23, which is subtracted too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu.assigning import assign_rows
from gpuseg.engines.cpu.slack import count_doubtful
from gpuseg.engines.cpu.turning import FEATURES
from gpuseg.engines.cpu.vectors import LANES

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_NOTHING = np.empty(0, np.float32)
GAIN = 0.8
"""Share of the cost of looking at all rows that bounds may cost at most."""


def drifts(before: Float32Array, after: Float32Array) -> Float64Array:
    """Upper bounds of how far each centre moved."""
    shift = before.astype(np.float64) - after.astype(np.float64)
    # A running sum has a stated order: what is skipped is the same on every processor.
    squared = np.cumsum(shift * shift, axis=1)[:, -1]
    # Each of the roundings, of d products and d additions, is at most 2**-53 of the sum.
    return np.asarray(np.sqrt(squared) * (1.0 + (shift.shape[1] + 8) * 2.0**-52))


def rounded_up(values: Float64Array) -> Float32Array:
    """float32 numbers that are at least these."""
    rounded = values.astype(np.float32)
    return np.where(rounded < values, np.nextafter(rounded, np.float32(np.inf)), rounded)


def rounded_down(values: Float64Array) -> Float32Array:
    """float32 numbers that are at most these."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(0)), rounded)


@dataclass
class Bounds:
    """What is kept of one model on one block between passes.

    Parameters
    ----------
    slack : ndarray of float32, shape (n,)
        Movement that each row's label withstands, in the units of ``spent``.
    spent : ndarray of float64, shape (k,)
        Movement so far that tells against rows of each label: an upper bound.
    centres : ndarray of float32, shape (k, d)
        Centres of the last pass.
    complete : bool
        Whether every row has its slack; otherwise only those of the sampled tiles have.
    """

    slack: Float32Array
    spent: Float64Array
    centres: Float32Array
    complete: bool = False

    @classmethod
    def fresh(cls, n_rows: int, centres: Float32Array) -> Bounds:
        """For a first pass over ``n_rows`` rows."""
        return cls(np.empty(n_rows, np.float32), np.zeros(len(centres)), centres.copy())

    def moved_to(self, centres: Float32Array) -> Bounds:
        """The same rows after the centres moved."""
        drift = drifts(self.centres, centres)
        largest = int(np.argmax(drift))
        others = np.full(drift.size, drift[largest])
        others[largest] = np.max(drift, initial=0.0, where=np.arange(drift.size) != largest)
        spent = np.nextafter(self.spent + np.nextafter(drift + others, np.inf), np.inf)
        return Bounds(self.slack, spent, centres.copy(), self.complete)

    def doubtful_share(self, labels: npt.NDArray[np.integer], ranges: Sequence[tuple[int, int]]) -> float:
        """Share of the rows of the sampled tiles whose label may have changed; an estimate and nothing more."""
        counts = [count_doubtful(self.slack, *rows, labels, self.ceilings) for rows in ranges]
        return float(sum(found for found, _ in counts) / max(1, sum(seen for _, seen in counts)))

    @property
    def ceilings(self) -> Float32Array:
        """``spent`` rounded up."""
        return rounded_up(self.spent)

    @property
    def floors(self) -> Float32Array:
        """``spent`` rounded down."""
        return rounded_down(self.spent)

    @property
    def host_bytes(self) -> int:
        """Bytes held."""
        return self.slack.nbytes + self.spent.nbytes + self.centres.nbytes


@dataclass(frozen=True)
class BoundPlan:
    """What one pass does about bounds.

    Parameters
    ----------
    bounds : Bounds or None
        None: nothing is kept.
    paying : float
        Largest share of a tile's rows that are looked at alone.
    use : bool
        Whether rows are skipped.
    keep_all : bool
        Whether every row that is looked at keeps its slack; otherwise those of the sampled tiles do.
    settled : bool, default False
        Whether the centres are those of the last pass, so that every label stays.
    """

    bounds: Bounds | None
    paying: float
    use: bool
    keep_all: bool
    settled: bool = False

    @classmethod
    def none(cls) -> BoundPlan:
        """A pass that looks at every row and keeps nothing."""
        return cls(None, 0.0, use=False, keep_all=False)

    @property
    def kernel(self) -> Any:
        """The pass that takes ``arrays``."""
        return assign_rows

    def arrays(self) -> tuple[Any, ...]:
        """What the kernel takes: slack, use, settled, keep_all, paying, spent, rounded up and down, and margins."""
        if self.bounds is None:
            return _NOTHING, False, False, False, 0.0, _NOTHING, _NOTHING, *margins(1)
        bounds = self.bounds
        return (
            bounds.slack,
            self.use,
            self.settled,
            self.keep_all,
            self.paying,
            bounds.ceilings,
            bounds.floors,
            *margins(bounds.centres.shape[1]),
        )

    def after(self, looked_at: float, ranges: Sequence[tuple[int, int]]) -> Bounds | None:  # noqa: ARG002 (groups' need)
        """Bounds after the pass, in which a share ``looked_at`` of the rows was looked at."""
        if self.bounds is None:
            return None
        # Where most rows had to be looked at, bounds do not pay for now: from here on the sample says when they do.
        complete = self.keep_all and not (self.use and looked_at > max(0.5, 2 * self.paying))
        return replace(self.bounds, complete=complete)


def margins(d: int) -> tuple[np.float32, np.float32]:
    """``4 g + 8 * 2**-23``, the share of b that roundings may take, and at least ``3 e``."""
    return np.float32((4 * (d + 4) + 8) * 2.0**-23), np.float32(4.0 * np.sqrt(float(d)) * 2.0**-74)


@dataclass(frozen=True)
class PassCosts:
    """What decides how dear a row is in one pass, beside its features and the centres.

    Parameters
    ----------
    row_major : bool, default False
        Whether rows that are looked at alone come from a row-major table.
    distances : bool, default False
        Whether every row's distance is wanted, not its label alone.
    """

    row_major: bool = False
    distances: bool = False


@functools.cache
def paying_share(d: int, k: int, costs: PassCosts = PassCosts()) -> float:
    """Largest share of doubtful rows at which looking at them alone pays; 0 where none does.

    Nanoseconds a row as measured on one core (2.0e6 rows, AVX-512). A row that is looked at where it lies: 0.5, 0.06 a
    feature and 0.0235 a feature and centre. The bound: 0.5. A row that is gathered costs as much as one where it lies,
    0.2 a feature, and 7 where rows lie row-major; otherwise 3, and each cache line of 16 rows that has to come 5.3. The
    distance to its own centre: 0.3 a feature.
    """
    look = 0.5 + 0.06 * d + 0.0235 * d * k
    once = 0.5 + (0.3 * d if costs.distances else 0.0)
    paying = 0.0
    for percent in range(1, 81):
        share = percent / 100
        lines = 0.0 if costs.row_major else d * (1.0 - (1.0 - share) ** LANES) / LANES
        gathered = share * ((7.0 if costs.row_major else 3.0) + 0.2 * d + look)
        if once + 5.3 * lines + gathered <= GAIN * look:
            paying = share
    return paying


def whole_groups(centres: Float32Array) -> Float32Array:
    """Centres (k, d), flat, each filled up with zeros to whole groups of eight features."""
    k, d = centres.shape
    filled = np.zeros((k, -(-d // FEATURES) * FEATURES), np.float32)
    filled[:, :d] = centres
    return filled.reshape(-1)
