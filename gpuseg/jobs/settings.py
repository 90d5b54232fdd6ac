"""The choices of a run (jobs): what a job file declares and the pipeline acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuseg.customers.attribute_encoding import AttributeRule
from gpuseg.customers.outliers import OutlierRule
from gpuseg.jobs.message_plan import MessagePlan
from gpuseg.jobs.personality_plan import PersonalityPlan


@dataclass(frozen=True)
class Settings:
    """The choices that shape the answer.

    Parameters
    ----------
    clusters : tuple of int
        The numbers of segments to try.
    seed : int
        Of every random draw.
    n_categories : int or tuple of str
        Categories that get a share of their own: how many of the largest, or their names.
    opt_in : tuple of str
        Kinds or names of sensitive categories that count in what tells what customers buy all the same.
    opt_in_purpose : str or None
        Why.
    describe_only : tuple of str
        Roles that describe customers and build no segment.
    attributes : tuple of AttributeRule
        Columns that say what customers are, and what may be done with each.
    attributes_only : bool
        Whether only attributes build segments, and what customers do describes them.
    attribute_table : mapping of str to object or None
        How a table of customers was read, for those to be assigned later; JSON values only.
    as_of : str ("YYYY-MM-DD") or None
        Last local day that counts in features; None for the last day with a record.
    period : str
        Length of a cohort's period.
    coverage : (str, str) or None
        First and last day that the records cover completely.
    lookback : int
        Days after the start of coverage in which nobody is taken for a new customer.
    min_size : int or None
        Customers that every segment needs.
    max_share : float or None
        Share of the customers that a segment may have.
    n_boot : int or None
        Bootstrap replicates behind the stability of the segments; None does without.
    outliers : OutlierRule
        Who is extreme, and what becomes of them.
    min_cell : int
        Smaller groups of customers are not shown.
    reading : mapping of str to object
        Options with which the records were read, for files to be assigned later; JSON values only.
    messages : MessagePlan or None
        Message groups; None for none.
    personality : PersonalityPlan or None
        Estimated traits; None: nobody is scored.
    """

    clusters: tuple[int, ...] = tuple(range(3, 9))
    seed: int = 0
    n_categories: int | tuple[str, ...] = 8
    opt_in: tuple[str, ...] = ()
    opt_in_purpose: str | None = None
    describe_only: tuple[str, ...] = ()
    attributes: tuple[AttributeRule, ...] = ()
    attributes_only: bool = False
    attribute_table: Mapping[str, Any] | None = None
    as_of: str | None = None
    period: str = "month"
    coverage: tuple[str, str] | None = None
    lookback: int = 0
    min_size: int | None = None
    max_share: float | None = None
    n_boot: int | None = None
    outliers: OutlierRule = field(default_factory=OutlierRule)
    min_cell: int = 10
    reading: Mapping[str, Any] = field(default_factory=dict)
    messages: MessagePlan | None = None
    personality: PersonalityPlan | None = None
