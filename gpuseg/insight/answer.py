"""What the segments say about the one decision (room ``insight``; jobs and reports call it): rates, and what to do.

Whoever was contacted was not drawn at random, so suggestions are about whom to try first and how to find out; none of
them says that contacting causes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError
from gpuseg.insight.next_test import SuggestedTest, suggested_test
from gpuseg.insight.outcome import (
    FeatureAssociation,
    Outcome,
    OutcomeRates,
    SegmentOutcome,
    feature_associations,
    outcome_rates,
)

NEARLY_ALL = 0.8
"""Share contacted from which there are few left to add."""


@dataclass(frozen=True)
class Asked:
    """The outcome that the decision is about, and what it is called.

    Parameters
    ----------
    outcome : Outcome
        Who was contacted in the window, and who had the outcome.
    did : str
        What those with the outcome did, such as "redeemed a coupon".
    contacted : str
        What happened to those contacted, such as "mailed".
    act : str
        What to do to them, such as "mail".
    validation : Outcome or None
        The same in an earlier window, by which the number of segments is chosen: then the outcome that is told has not
        been looked at while choosing. None: it has.
    """

    outcome: Outcome
    did: str = "had the outcome"
    contacted: str = "contacted"
    act: str = "contact"
    validation: Outcome | None = None

    def truths(self, keys: Any) -> npt.NDArray[np.float64]:
        """1 and 0 for customers who were contacted, with and without the outcome; NaN for the others."""
        return _truths(self.outcome, keys)

    def choosing(self, keys: Any) -> npt.NDArray[np.float64]:
        """The truths that choose the number of segments: of the validation window where there is one.

        Raises
        ------
        InputError
            Nobody or everybody of those contacted has the outcome, in either window.
        """
        for outcome in (self.validation, self.outcome):
            if outcome is not None:
                _require_varied(outcome, _truths(outcome, keys))
        return _truths(self.outcome if self.validation is None else self.validation, keys)

    @property
    def counted(self) -> str:
        """What those are called whom rates are of: contacted, or observed where nothing is known of contacts."""
        return "observed" if self.outcome.contacted is None else self.contacted


def _truths(outcome: Outcome, keys: Any) -> npt.NDArray[np.float64]:
    contacted, happened = outcome.flags(keys)
    truths = happened.astype(np.float64)
    return truths if contacted is None else np.where(contacted, truths, np.nan)


def _require_varied(outcome: Outcome, truths: npt.NDArray[np.float64]) -> None:
    n_told, hits = int(np.count_nonzero(~np.isnan(truths))), int(np.count_nonzero(truths == 1))
    who = "customers" if outcome.contacted is None else "customers who were contacted"
    if not hits:
        raise InputError(
            f"none of the {n_told:,} {who} had the outcome from {outcome.words}; an outcome that nobody has separates "
            "nothing: choose another, and check that both tables name customers alike"
        )
    if hits == n_told:
        raise InputError(
            f"all {n_told:,} {who} had the outcome from {outcome.words}; an outcome that everybody has separates "
            "nothing: choose another"
        )


@dataclass(frozen=True)
class Answer:
    """The outcome in each segment, and what goes with it.

    Parameters
    ----------
    asked : Asked
        The outcome.
    rates : OutcomeRates
        By segment, of those contacted.
    associations : tuple of FeatureAssociation
        Of each feature, strongest first.
    test : SuggestedTest or None
        The randomised test of the segment to consider.
    """

    asked: Asked
    rates: OutcomeRates
    associations: tuple[FeatureAssociation, ...]
    test: SuggestedTest | None

    @property
    def chosen(self) -> SegmentOutcome | None:
        """The segment to consider first."""
        return self.rates.to_consider()

    def suggestion(self, segment_id: int) -> str:
        """What to do about a segment, in one or two short sentences."""
        found, verb = self.rates.segment(segment_id), self.asked.counted
        if not found.enough:
            return f"Too few {verb} to say: try a random sample before more."
        chosen = self.chosen
        low, high = found.difference_interval
        few_left = self.asked.outcome.contacted is not None and found.contacted_share >= NEARLY_ALL
        if chosen is not None and chosen.segment_id == segment_id:
            return "Consider first, as a randomised test."
        if high < 0:
            return f"Last in line: below the rest of those {verb}."
        if few_left:
            return f"Keep: most are {verb} already, so few can be added."
        if low > 0:
            return f"Second in line: above the rest of those {verb}."
        return f"No clear difference from the rest of those {verb}: decide by cost."


def answer(asked: Asked, keys: Any, segment_ids: npt.NDArray[np.int32], features: Any) -> Answer:
    """Compare the segments by the outcome.

    Parameters
    ----------
    asked : Asked
        The outcome.
    keys : Arrow array, n customers
        Who is in the segments.
    segment_ids : ndarray of int32, shape (n,)
        Of each customer.
    features : Table, n rows
        What built the segments, known before the window.

    Returns
    -------
    Answer
        Rates, associations and the test to run.

    Raises
    ------
    InputError
        Nobody in the segments was contacted, or the outcome separates nothing among them.
    """
    contacted, happened = asked.outcome.flags(keys)
    rates = outcome_rates(keys, segment_ids, contacted, happened)
    return Answer(asked, rates, feature_associations(features, happened, contacted), suggested_test(rates))
