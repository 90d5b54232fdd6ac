"""What a report says (room ``insight``): the record that ``page`` renders and its sections read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from gpuseg.customers.cohorts import CohortRetention
from gpuseg.customers.outliers import Outliers
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.insight.alternatives import Alternative
from gpuseg.insight.answer import Answer
from gpuseg.insight.certainty import Certainty
from gpuseg.insight.messages import Messages
from gpuseg.insight.profile import Profiles
from gpuseg.insight.style_profile import StyleProfile
from gpuseg.insight.traits import Traits
from gpuseg.insight.withheld import Withheld, withheld
from gpuseg.insight.words import Wording
from gpuseg.quality.choose_k import KChoice


@dataclass(frozen=True)
class Report:
    """All that a report is made of.

    Parameters
    ----------
    title : str
        The question, short.
    question : str
        What was asked, in one or two sentences.
    decision : str or None
        The decision that the segments serve; None says so on the first screen.
    source : str
        Whose records these are.
    started : datetime
        When the run began, in UTC: the only thing on the page that differs from one run to the next.
    wording : Wording
        What this business calls its things.
    tx : Transactions
        The records: counts, calendar and fingerprint.
    facts : dict
        What was decided and counted while the features were made.
    feature_names : tuple of str
        What built the segments.
    seed : int
        Of every random draw.
    choice : KChoice
        The number of segments, with the evidence.
    profiles : Profiles
        The segments in original units.
    names : dict of int to str
        By segment id.
    certainty : Certainty
        How far to trust it.
    retention : CohortRetention
        By period of the first purchase.
    clusters : dict of int to int
        The model's cluster behind each segment.
    answer : Answer or None
        What the segments say about the decision.
    alternatives : tuple of Alternative
        How far other choices would agree.
    outliers : Outliers or None
        The extreme customers, and what became of them.
    min_cell : int
        Smaller groups of customers are not shown.
    kept_out : tuple of str
        Sensitive categories that count in nothing that tells what customers buy.
    opted_in : tuple of str
        Kinds or names of sensitive categories that count there all the same.
    opt_in_purpose : str or None
        Why they do.
    styles : tuple of StyleProfile
        Spending styles of each segment.
    unplaced : mapping of str to int
        Customers who are in no segment, by reason.
    messages : Messages or None
        Who gets which message.
    traits : Traits or None
        Estimated traits.
    """

    title: str
    question: str
    decision: str | None
    source: str
    started: datetime
    wording: Wording
    tx: Transactions
    facts: dict[str, Any]
    feature_names: tuple[str, ...]
    seed: int
    choice: KChoice
    profiles: Profiles
    names: dict[int, str]
    certainty: Certainty
    retention: CohortRetention
    clusters: dict[int, int] = field(default_factory=dict)
    answer: Answer | None = None
    alternatives: tuple[Alternative, ...] = ()
    outliers: Outliers | None = None
    min_cell: int = 10
    kept_out: tuple[str, ...] = ()
    opted_in: tuple[str, ...] = ()
    opt_in_purpose: str | None = None
    styles: tuple[StyleProfile, ...] = ()
    unplaced: Mapping[str, int] = field(default_factory=dict)
    messages: Messages | None = None
    traits: Traits | None = None

    @cached_property
    def withheld(self) -> Withheld:
        """What the page does not tell of segments."""
        return withheld(self.profiles, self.min_cell, self.answer, self.styles)
