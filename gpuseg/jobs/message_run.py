"""Message groups of a run (jobs; the pipeline calls it): the groups declared or learned, and who is in which."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import InputError
from gpuseg.insight.messages import (
    BEFORE_ALL,
    EarlierMessages,
    Messages,
    learned_of_styles,
    style_evidence,
    style_scores,
)
from gpuseg.insight.styles import SpendingStyles
from gpuseg.jobs.kept.runs import Run
from gpuseg.jobs.message_plan import MessagePlan
from gpuseg.personality.message_groups import MessageGroups

MESSAGES = "messages.parquet"
"""File of a run: the message group of every customer."""
MESSAGE_GROUPS = "message_groups.json"
"""File of a run: the groups themselves."""

_WHAT_IS_BOUGHT = ("variety_seeking", "breadth")
"""Styles that look at what was bought, and so at sensitive categories that the job opts in to."""


def messages_by_styles(
    plan: MessagePlan,
    styles: SpendingStyles,
    sensitive: Sequence[str],
    seed: int,
    earlier: EarlierMessages | None = None,
) -> Messages:
    """The message group of each customer by spending styles.

    Parameters
    ----------
    plan : MessagePlan
        What the job declares.
    styles : SpendingStyles
        Of every customer.
    sensitive : sequence of str
        Sensitive kinds or categories that count in the styles.
    seed : int
        Of learned groups.
    earlier : EarlierMessages, optional
        Of the run before: customers keep their groups but for review dates and the margin.

    Returns
    -------
    Messages

    Raises
    ------
    InputError
        The transactions do not allow a style that is asked for, or one rests on what may choose no message.
    """
    groups = plan.groups() or _kept_centres(plan, earlier)
    rests_on = {name: tuple(sensitive) for name in _WHAT_IS_BOUGHT}
    if groups is None:
        assert plan.learned is not None
        groups = _learned(plan.learned, styles, rests_on, seed)
    _require_styles(groups.traits, styles)
    evidence = style_evidence(styles, groups.traits)
    return _reviewed(plan, groups, style_scores(styles), evidence, rests_on, styles.as_of, earlier)


def _learned(
    learned: Mapping[str, Any], styles: SpendingStyles, rests_on: Mapping[str, Sequence[str]], seed: int
) -> MessageGroups:
    names = tuple(learned["of"] or (style.name for style in styles.styles))
    _require_styles(names, styles)
    options = {key: value for key, value in learned.items() if key not in {"groups", "of"}}
    return learned_of_styles(styles, names, learned["groups"], rests_on=rests_on, seed=seed, **options)


def _kept_centres(plan: MessagePlan, earlier: EarlierMessages | None) -> MessageGroups | None:
    """Centres that an earlier run learned for the same order: they are fixed."""
    same = earlier is not None and earlier.by == plan.by and earlier.learned == plan.learned
    return earlier.groups if earlier is not None and same else None


def _reviewed(
    plan: MessagePlan,
    groups: MessageGroups,
    scores: pa.Table,
    evidence: npt.NDArray[np.float64],
    rests_on: Mapping[str, Sequence[str]],
    last_day: dt.date,
    earlier: EarlierMessages | None,
) -> Messages:
    """Groups as of the last review that is due by the last day that counts."""
    anew = ""
    if earlier is not None and (earlier.by != plan.by or set(earlier.groups.names) != set(groups.names)):
        anew, earlier = "the earlier run had other groups, so nobody's earlier group counts", None
    since = BEFORE_ALL if earlier is None else earlier.reviewed_on
    on = groups.review_due(since, last_day) or last_day
    assigned = groups.assign(
        scores,
        None if earlier is None else earlier.table,
        on=on,
        evidence=evidence,
        rests_on=rests_on,
    )
    return Messages(
        by=plan.by,
        groups=groups,
        assigned=assigned,
        reviewed_on=on if assigned.reviewed else since,
        modules=plan.of_groups(),
        learned=plan.learned,
        anew=anew,
    )


def _require_styles(names: Sequence[str], styles: SpendingStyles) -> None:
    there = {style.name for style in styles.styles}
    for name in names:
        if name not in there:
            why = styles.left_out.get(name, "no such style")
            raise InputError(
                f"messages: {name} cannot choose a message: {why}; choose by {', '.join(sorted(there))}"
            )


def earlier_messages(run: Run) -> EarlierMessages | None:
    """The message groups of an earlier run, if it has any.

    Parameters
    ----------
    run : Run
        The run.

    Raises
    ------
    SourceError
        A file of the run is damaged.
    """
    if not (run.has(MESSAGES) and run.has(MESSAGE_GROUPS)):
        return None
    text = run.read(MESSAGE_GROUPS).decode("utf-8", "replace")
    return EarlierMessages.of_files(text, run.table(MESSAGES), str(Path(run.path) / MESSAGE_GROUPS))
