"""Segments against a later outcome (room ``insight``; jobs and reports call it): rates, associations, the test to run.

Contacting was not random, so everything here is association and is called so. Rates are of those contacted; the test
that :func:`suggested_test` describes is what would tell cause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.promise import Promise
from gpuseg.errors import InputError
from gpuseg.insight.associations import FeatureAssociation, feature_associations
from gpuseg.insight.outcome_events import Outcome, read_outcome
from gpuseg.insight.rates import (
    Rate,
    benjamini_hochberg,
    detectable_difference,
    difference_interval,
    require_varied,
    sample_size,
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
    "SuggestedTest",
    "feature_associations",
    "outcome_rates",
    "read_outcome",
    "suggested_test",
]

BASE_FLOOR = 30
"""Customers contacted below which a rate says too little."""
DENOMINATOR = "of those contacted"


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
    denominator: str = DENOMINATOR
    promise: Promise = Promise.REPEATABLE

    def segment(self, segment_id: int) -> SegmentOutcome:
        """One segment."""
        return next(found for found in self.segments if found.segment_id == segment_id)

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
    contacted: npt.ArrayLike,
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
    contacted : array_like of bool, shape (n,)
        Whether each was contacted in the window; :meth:`Outcome.flags` gives it.
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
    was_contacted, happened = truths(contacted, "contacted", ids.size), truths(outcome, "outcome", ids.size)
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
    return OutcomeRates(segments, whole, outside, base_floor)


@dataclass(frozen=True)
class SuggestedTest:
    """A randomised test that would tell what rates cannot.

    Parameters
    ----------
    segment_id : int
        Whom it is about.
    control : str
        "rest": both groups are contacted, one drawn from the segment and one from everybody else (for an outcome that
        needs a contact). "held out": both are drawn from the segment, and one is not contacted.
    expected, baseline : float
        Rates that the size is reckoned from: of the segment, and of the control.
    per_arm : int or None
        Customers in each group; None where the two rates do not differ.
    per_arm_half : int or None
        The same if the true difference is half as large.
    available : int
        Customers that there are for each group.
    detectable : float
        Difference above the baseline that groups of this size would show.
    alpha, power : float
        Error of the first kind, and the chance to see the difference if it is there.
    promise : Promise
        Normal quantiles come from scipy.
    """

    segment_id: int
    control: str
    expected: float
    baseline: float
    per_arm: int | None
    per_arm_half: int | None
    available: int
    detectable: float
    alpha: float
    power: float
    promise: Promise = Promise.REPEATABLE

    @property
    def feasible(self) -> bool:
        """Whether there are customers enough for both groups."""
        return self.per_arm is not None and self.per_arm <= self.available

    def sentence(self, name: str) -> str:
        """The test in plain words, for a segment called ``name``."""
        if self.per_arm is None:
            return f'"{name}" and its control have the same rate so far: there is no difference to plan a test for.'
        if self.control == "held out":
            groups = f'Draw two groups of {self.per_arm:,} at random from "{name}", contact one and hold the other out'
        else:
            groups = (
                f'Draw {self.per_arm:,} at random from "{name}" and {self.per_arm:,} from everybody else, contact both '
                "alike"
            )
        sure = f"with {format_percent(self.power)} certainty"
        if not self.feasible:
            return (
                f"{groups}, and compare the rates: that would tell {format_percent(self.expected)} from "
                f"{format_percent(self.baseline)} {sure}. There are not so many: {self.available:,} each would show a "
                f"difference of {100.0 * self.detectable:.0f} percentage points."
            )
        return (
            f"{groups}, and compare the rates: {format_percent(self.expected)} against {format_percent(self.baseline)} "
            f"would show {sure} ({self.per_arm_half:,} each if the true difference is half of that)."
        )


def suggested_test(
    rates: OutcomeRates, segment_id: int | None = None, *, alpha: float = 0.05, power: float = 0.8
) -> SuggestedTest | None:
    """The randomised test that rates among non-randomly contacted customers call for.

    Parameters
    ----------
    rates : OutcomeRates
        From :func:`outcome_rates`.
    segment_id : int, optional
        Whom to test; default: :meth:`OutcomeRates.to_consider`.
    alpha, power : float, default 0.05 and 0.8
        Error of the first kind, and the chance to see the difference if it is there.

    Returns
    -------
    SuggestedTest or None
        None where every segment has too few customers to plan with.

    Raises
    ------
    InputError
        ``alpha`` or ``power`` is no probability, or there is no such segment.

    Notes
    -----
    Where nobody has the outcome without a contact, holding a group out would compare with 0 by definition: the control
    is then drawn from the rest. Otherwise the control is held out, and its rate is that of those not contacted so far.
    Size by Fleiss (1981), two-sided.
    """
    if not (0 < alpha < 1 and 0 < power < 1):
        raise InputError(f"alpha={alpha}, power={power}: both lie between 0 and 1; 0.05 and 0.8 are usual")
    if segment_id is not None and segment_id not in {found.segment_id for found in rates.segments}:
        raise InputError(
            f"there is no segment {segment_id}; there are {[f.segment_id for f in rates.segments]}"
        )
    found = rates.to_consider() if segment_id is None else rates.segment(segment_id)
    if found is None or not found.rate.base:
        return None
    held_out = rates.outside.hits > 0
    baseline = rates.outside.value if held_out else found.rest.value
    expected = found.rate.value
    if math.isnan(baseline):
        return None
    gap = expected - baseline
    sizes: tuple[int | None, int | None] = (None, None)
    if gap:
        whole, half = (
            sample_size(baseline + gap * part, baseline, alpha=alpha, power=power) for part in (1.0, 0.5)
        )
        sizes = (whole, half)
    n_rest = sum(other.n_customers for other in rates.segments) - found.n_customers
    available = found.n_customers // 2 if held_out else min(found.n_customers, n_rest)
    return SuggestedTest(
        segment_id=found.segment_id,
        control="held out" if held_out else "rest",
        expected=expected,
        baseline=baseline,
        per_arm=sizes[0],
        per_arm_half=sizes[1],
        available=available,
        detectable=detectable_difference(baseline, available, alpha=alpha, power=power),
        alpha=alpha,
        power=power,
    )


def _promise_of(found: SegmentOutcome) -> float:
    return (1.0 - found.contacted_share) * found.rate.interval[0]


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
