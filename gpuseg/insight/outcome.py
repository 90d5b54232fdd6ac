"""Segments against a later outcome (room ``insight``; jobs and reports call it): rates and associations.

Contacting was not random, so everything here is association and is called so. Rates are of those contacted; the test
that ``next_test`` plans would tell cause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core.promise import Promise
from gpuseg.errors import InputError
from gpuseg.insight.associations import FeatureAssociation, feature_associations
from gpuseg.insight.outcome_events import Outcome, read_outcome
from gpuseg.insight.rates import (
    Rate,
    benjamini_hochberg,
    difference_interval,
    require_varied,
    truths,
    two_proportions,
)
from gpuseg.insight.words import format_percent

__all__ = [
    "BASE_FLOOR",
    "FeatureAssociation",
    "Outcome",
    "OutcomeRates",
    "SegmentOutcome",
    "feature_associations",
    "outcome_rates",
    "read_outcome",
]

BASE_FLOOR = 30
"""Customers contacted below which a rate says too little."""
OF_CONTACTED, OF_ALL = "of those contacted", "of all customers"
"""What rates are of."""


@dataclass(frozen=True)
class SegmentOutcome:
    """The outcome in one segment.

    Parameters
    ----------
    segment_id : int
        The segment.
    n_customers : int
        In the segment, contacted or not.
    rate : Rate
        Those with the outcome, of those contacted.
    rest : Rate
        The same over all other segments.
    enough : bool
        Whether both bases reach the floor.
    difference : float
        Rate less the rate of the rest; NaN where nobody was contacted on either side.
    difference_interval : (float, float)
        95 %, Newcombe's; (NaN, NaN) likewise.
    p, q : float or None
        Of the test against the rest, and adjusted by Benjamini-Hochberg over the tested segments; None below the floor.
    test : str or None
        Name of the test.
    """

    segment_id: int
    n_customers: int
    rate: Rate
    rest: Rate
    enough: bool
    difference: float
    difference_interval: tuple[float, float]
    p: float | None
    q: float | None
    test: str | None

    @property
    def n_not_contacted(self) -> int:
        """Customers of the segment whom nobody contacted."""
        return self.n_customers - self.rate.base

    @property
    def contacted_share(self) -> float:
        """Share of the segment that was contacted."""
        return self.rate.base / self.n_customers

    @property
    def words(self) -> str:
        """The rate with its interval, and whether it says anything: "51 % (41 % to 61 %)"."""
        if not self.rate.base:
            return "nobody contacted"
        low, high = self.rate.interval
        told = f"{format_percent(self.rate.value)} ({format_percent(low)} to {format_percent(high)})"
        return told if self.enough else f"{told}: too few to say (n = {min(self.rate.base, self.rest.base)})"


@dataclass(frozen=True)
class OutcomeRates:
    """The outcome in every segment.

    Parameters
    ----------
    segments : tuple of SegmentOutcome
        By segment id.
    whole : Rate
        Over all segments, of those contacted.
    outside : Rate
        The outcome among those not contacted; no hits means that it needs a contact.
    base_floor : int
        Customers contacted that a rate needs on either side.
    denominator : str
        What the rates are of.
    promise : Promise
        Rates, intervals and differences are exact; p-values come through scipy.
    """

    segments: tuple[SegmentOutcome, ...]
    whole: Rate
    outside: Rate
    base_floor: int
    denominator: str = OF_CONTACTED
    promise: Promise = Promise.REPEATABLE

    def segment(self, segment_id: int) -> SegmentOutcome:
        """One segment."""
        return next(found for found in self.segments if found.segment_id == segment_id)

    def to_table(self, names: dict[int, str]) -> pa.Table:
        """The rates as an Arrow table, a row a segment.

        Parameters
        ----------
        names : dict of int to str
            Name of each segment.
        """
        rows = [_row(found, names[found.segment_id]) for found in self.segments]
        return pa.Table.from_pylist(rows, schema=_SCHEMA)

    def to_consider(self) -> SegmentOutcome | None:
        """The segment to look at first; None if all have too few.

        The one where contacting whoever was not contacted would bring most outcomes for each of its customers, at the
        low end of the interval: share not contacted times that end. Ties go to the higher low end, then to the lower
        id.
        """
        enough = [found for found in self.segments if found.enough]
        if not enough:
            return None
        return max(enough, key=lambda found: (_promise_of(found), found.rate.interval[0], -found.segment_id))


def outcome_rates(
    keys: Any,
    segment_ids: npt.ArrayLike,
    contacted: npt.ArrayLike | None,
    outcome: npt.ArrayLike,
    *,
    base_floor: int = BASE_FLOOR,
) -> OutcomeRates:
    r"""Rate of an outcome in each segment, of those contacted, and how each differs from the rest.

    Parameters
    ----------
    keys : array_like or Arrow array, n customers
        Each once.
    segment_ids : array_like of int, shape (n,)
        Segment of each customer.
    contacted : array_like of bool, shape (n,), or None
        Whether each was contacted in the window; :meth:`Outcome.flags` gives it. None where nothing is known of
        contacts: rates are then of all customers.
    outcome : array_like of bool, shape (n,)
        Whether each had the outcome.
    base_floor : int, default 30
        Customers contacted in the segment, and in the rest, below which there is no test and "too few to say".

    Returns
    -------
    OutcomeRates
        Every segment that has a customer.

    Raises
    ------
    InputError
        Lengths that differ, a customer given twice, or nobody contacted; an outcome that nobody or everybody of those
        contacted has.

    Notes
    -----
    Wilson's intervals are shown whatever the base. A segment is compared with the rest, not with the average that it is
    part of: two proportions (Fisher's exact where an expected count is below 5), Benjamini-Hochberg over the tests.

    Examples
    --------
    >>> found = outcome_rates(range(100), [1, 2] * 50, [True] * 100, [True, False, False, False] * 25)
    >>> found.segment(1).words, round(found.segment(1).difference, 3)
    ('50\xa0% (37\xa0% to 63\xa0%)', 0.5)
    """
    ids = np.asarray(segment_ids)
    everybody = np.ones(ids.size, np.bool_)
    was_contacted = everybody if contacted is None else truths(contacted, "contacted", ids.size)
    happened = truths(outcome, "outcome", ids.size)
    names = list(keys.to_pylist() if hasattr(keys, "to_pylist") else keys)
    if len(names) != ids.size or not names:
        raise InputError(
            f"{len(names)} customers for {ids.size} segment ids; give one id a customer, at least one"
        )
    if len(set(names)) != len(names):
        raise InputError(f"{len(names) - len(set(names))} customers are given twice; give each once")
    if base_floor < 1:
        raise InputError(f"base_floor={base_floor} is below 1; 30 is usual")
    whole = Rate(int(np.count_nonzero(was_contacted & happened)), int(np.count_nonzero(was_contacted)))
    require_varied(whole)
    outside = Rate(int(np.count_nonzero(happened)) - whole.hits, ids.size - whole.base)
    found = []
    for segment_id in np.unique(ids).tolist():
        inside = ids == segment_id
        base = inside & was_contacted
        rate = Rate(int(np.count_nonzero(base & happened)), int(np.count_nonzero(base)))
        found.append((segment_id, int(np.count_nonzero(inside)), rate, whole.without(rate)))
    tests = {
        segment_id: two_proportions(rate, rest)
        for segment_id, _, rate, rest in found
        if min(rate.base, rest.base) >= base_floor
    }
    adjusted = dict(zip(tests, benjamini_hochberg([p for p, _ in tests.values()]), strict=True))
    segments = tuple(
        _segment(segment_id, n, rate, rest, tests.get(segment_id), adjusted.get(segment_id))
        for segment_id, n, rate, rest in found
    )
    return OutcomeRates(segments, whole, outside, base_floor, OF_ALL if contacted is None else OF_CONTACTED)


def _promise_of(found: SegmentOutcome) -> float:
    return (1.0 - found.contacted_share) * found.rate.interval[0]


_SCHEMA = pa.schema(
    {"segment_id": pa.int32(), "segment_name": pa.string()}
    | {name: pa.int64() for name in ("customers", "contacted", "outcomes")}
    | {name: pa.float64() for name in ("rate", "rate_low", "rate_high", "rest_rate")}
    | {name: pa.float64() for name in ("difference", "difference_low", "difference_high", "p", "q")}
    | {"test": pa.string(), "enough": pa.bool_()}
)


def _row(found: SegmentOutcome, name: str) -> dict[str, Any]:
    row = {
        "segment_id": found.segment_id,
        "segment_name": name,
        "customers": found.n_customers,
        "contacted": found.rate.base,
        "outcomes": found.rate.hits,
        "rate": found.rate.value,
        "rate_low": found.rate.interval[0],
        "rate_high": found.rate.interval[1],
        "rest_rate": found.rest.value,
        "difference": found.difference,
        "difference_low": found.difference_interval[0],
        "difference_high": found.difference_interval[1],
        "p": found.p,
        "q": found.q,
        "test": found.test,
        "enough": found.enough,
    }
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()
    }


def _segment(
    segment_id: int, n: int, rate: Rate, rest: Rate, test: tuple[float, str] | None, q: float | None
) -> SegmentOutcome:
    known = bool(rate.base and rest.base)
    return SegmentOutcome(
        segment_id=segment_id,
        n_customers=n,
        rate=rate,
        rest=rest,
        enough=test is not None,
        difference=rate.value - rest.value,
        difference_interval=difference_interval(rate, rest) if known else (math.nan, math.nan),
        p=None if test is None else test[0],
        q=q,
        test=None if test is None else test[1],
    )
