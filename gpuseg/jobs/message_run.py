"""Message groups of a run (jobs; the pipeline calls it): the groups declared or learned, and who is in which."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from gpuseg.insight.traits import Traits
from gpuseg.jobs.kept.runs import Run
from gpuseg.jobs.message_plan import MessagePlan
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.use_limits import require_allowed

MESSAGES = "messages.parquet"
"""File of a run: the message group of every customer."""
MESSAGE_GROUPS = "message_groups.json"
"""File of a run: the groups themselves."""

_WHAT_IS_BOUGHT = ("variety_seeking", "breadth")
"""Styles that look at what was bought, and so at sensitive categories that the job opts in to."""

_OTHER_SCORES = (
    "the earlier run's scores were relative to something else, so groups were learned anew and nobody's earlier group "
    "counts"
)


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


def messages_by_scores(
    plan: MessagePlan,
    traits: Traits,
    last_day: dt.date,
    seed: int,
    earlier: EarlierMessages | None = None,
) -> Messages:
    """The message group of each customer by estimated scores.

    Parameters
    ----------
    plan : MessagePlan
        What the job declares.
    traits : Traits
        Of every customer.
    last_day : date
        The last that counts.
    seed : int
        Of learned groups.
    earlier : EarlierMessages, optional
        Of the run before.

    Returns
    -------
    Messages
        Customers are in the fallback if a trait that their groups go by is not measurable on these data.

    Raises
    ------
    InputError
        A group goes by a trait that there is not, that may choose no message, or that rests on what may not; or nothing
        is measurable that groups could be learned from.
    """
    # Centres among scores mean nothing among scores that are relative to something else.
    moved = earlier is not None and plan.learned is not None and not traits.kept
    counts = None if moved else earlier
    groups = plan.groups() or _kept_centres(plan, counts)
    if groups is None:
        assert plan.learned is not None
        groups = _learned_of_scores(plan.learned, traits, seed)
    _require_traits(groups.traits, traits)
    found = _reviewed(plan, groups, traits.scores(), traits.evidence(), traits.rests_on(), last_day, counts)
    return replace(found, anew=_OTHER_SCORES) if moved else found


def _learned_of_scores(learned: Mapping[str, Any], traits: Traits, seed: int) -> MessageGroups:
    opted = learned["opt_in"]
    _require_traits(learned["of"] or (), traits)
    barred = tuple(name for name in traits.names if not _may_choose(name, opted, traits.rests_on()))
    of = tuple(learned["of"] or (name for name in traits.measurable if name not in barred))
    if not of or not set(of) <= set(traits.measurable):
        lacking = [name for name in of if name not in traits.measurable]
        what = f"{', '.join(lacking)} cannot be measured" if lacking else "no trait can be measured"
        raise InputError(
            f"messages.learned: {what} on these records, so there is nothing to learn from; choose by styles"
        )
    options = {key: value for key, value in learned.items() if key not in {"groups", "of"}}
    found = MessageGroups.learned(
        traits.scores(),
        learned["groups"],
        traits=of,
        evidence=traits.evidence(),
        rests_on=traits.rests_on(),
        seed=seed,
        **options,
    )
    return replace(found, left_out=() if learned["of"] else barred)


def _may_choose(name: str, opted: Mapping[str, str], rests_on: Mapping[str, Sequence[str]]) -> bool:
    try:
        require_allowed([name], opted, rests_on)
    except InputError:
        return False
    return True


def _require_traits(names: Sequence[str], traits: Traits) -> None:
    for name in names:
        if name not in traits.names:
            raise InputError(f"messages: there is no trait {name!r}; there are {', '.join(traits.names)}")


def _learned(
    learned: Mapping[str, Any], styles: SpendingStyles, rests_on: Mapping[str, Sequence[str]], seed: int
) -> MessageGroups:
    there = tuple(style.name for style in styles.styles)
    barred = tuple(name for name in there if not _may_choose(name, learned["opt_in"], rests_on))
    names = tuple(learned["of"] or (name for name in there if name not in barred))
    _require_styles(names, styles)
    options = {key: value for key, value in learned.items() if key not in {"groups", "of"}}
    found = learned_of_styles(styles, names, learned["groups"], rests_on=rests_on, seed=seed, **options)
    return replace(found, left_out=() if learned["of"] else barred)


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
