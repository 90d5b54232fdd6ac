"""The randomised test to run next (room ``insight``; jobs and reports call it): what rates alone cannot tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpuseg.core.promise import Promise
from gpuseg.errors import InputError
from gpuseg.insight.outcome import OF_ALL, OutcomeRates
from gpuseg.insight.rates import detectable_difference, sample_size
from gpuseg.insight.words import format_percent


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
        Customers in each group; None where the two rates do not differ, or nothing is known of contacts.
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
        size = self.available if self.per_arm is None else self.per_arm
        if self.control == "held out":
            groups = (
                f'Draw two groups of {size:,} at random from "{name}", contact one and hold the other out'
            )
        else:
            groups = (
                f'Draw {size:,} at random from "{name}" and {size:,} from everybody else, contact both alike'
            )
        sure = f"with {format_percent(self.power)} certainty"
        if self.per_arm is None:
            return (
                f"{groups}, and compare the rates: a difference of {100.0 * self.detectable:.0f} percentage points "
                f"from {format_percent(self.baseline)} would show {sure}."
            )
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
    is then drawn from the rest. Otherwise the control is held out, and its rate is that of those not contacted so far;
    where nothing is known of contacts, that of the segment.
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
    unknown = rates.denominator == OF_ALL
    held_out = unknown or rates.outside.hits > 0
    baseline = found.rate.value if unknown else rates.outside.value if held_out else found.rest.value
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
