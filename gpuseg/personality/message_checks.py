"""What a declaration of message groups must be (room ``personality``; message groups call it)."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpuseg.customers.features import day_number
from gpuseg.errors import InputError
from gpuseg.personality.message_choice import MessageGroup

OFTEN = {"monthly": tuple(range(1, 13)), "quarterly": (1, 4, 7, 10), "yearly": (1,)}
"""Words for review dates, and the months on whose first day they are."""

_MOST_TRAITS = 60


def check_groups(
    groups: tuple[MessageGroup, ...], fallback: str, *, margin: Any, least_evidence: Any
) -> None:
    """Refuse groups that cannot be told apart, or go by different things.

    Raises
    ------
    InputError
        Names the group and what is wrong with it.
    """
    names = [*(group.name for group in groups), fallback]
    for name in (*names, *(trait for group in groups for trait in group.traits)):
        if not isinstance(name, str):
            raise InputError(f"{name!r} names a group or a trait and is no text; give text")
    if not groups or len(set(names)) != len(names):
        raise InputError(f"groups {names}: none, or a name twice (the fallback's too); name each once")
    for name in names:
        if not name.strip() or name != name.strip():
            raise InputError(f"group {name!r}: the name is empty or has blanks around it; name it")
    for option, value in (("margin", margin), ("least_evidence", least_evidence)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise InputError(f"{option}={value!r} is not a number from 0 up")
    traits = list(dict.fromkeys(trait for group in groups for trait in group.traits))
    if len(traits) > _MOST_TRAITS:
        raise InputError(f"groups go by {len(traits)} traits; {_MOST_TRAITS} at most")
    for group in groups:
        _check_group(group, groups[0], traits)


def _check_group(group: MessageGroup, first: MessageGroup, traits: Sequence[str]) -> None:
    if bool(group.centre) != bool(first.centre) or bool(group.centre) == bool(group.bounds):
        raise InputError(f"group {group.name!r}: give all groups bounds, or all of them centres")
    if len(set(group.traits)) != len(group.traits):
        raise InputError(f"group {group.name!r} names a trait twice")
    if group.centre and len(group.traits) != len(traits):
        raise InputError(
            f"group {group.name!r} has a centre in {', '.join(group.traits)}; all need {', '.join(traits)}"
        )
    for trait, score in group.centre:
        _require_score(group.name, trait, score)
    for trait, low, high in group.bounds:
        bound_of(group.name, trait, (low, high))


def require_mapping(name: str, given: Any) -> None:
    """Refuse what should go by names and does not.

    Raises
    ------
    InputError
        It is no mapping.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{name}={given!r} does not go by names; give a mapping")


def bound_of(group: str, trait: str, pair: Any) -> tuple[str, float | None, float | None]:
    """A trait with its lowest and highest score.

    Raises
    ------
    InputError
        The pair is none, has no bound, or is turned round.
    """
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise InputError(f"group {group!r}, {trait}: {pair!r} is not (lowest, highest); None for no bound")
    low, high = pair
    for value in (low, high):
        if value is not None:
            _require_score(group, trait, value)
    if low is None and high is None:
        raise InputError(
            f"group {group!r}, {trait}: neither a lowest nor a highest score; leave the trait out"
        )
    if low is not None and high is not None and low > high:
        raise InputError(f"group {group!r}, {trait}: the lowest score {low:g} is above the highest {high:g}")
    return trait, low if low is None else float(low), high if high is None else float(high)


def review_dates(review: Any) -> tuple[dt.date, ...] | str:
    """The days on which groups may change, ascending; or a word of :data:`OFTEN`.

    Raises
    ------
    InputError
        There is none, or one is no day.
    """
    if isinstance(review, str):
        if review not in OFTEN:
            raise InputError(f"review={review!r} is none of {', '.join(OFTEN)}; or give the days in a list")
        return review
    if not isinstance(review, Iterable):
        raise InputError(f"review={review!r} is neither {', '.join(OFTEN)} nor a list of days")
    days = tuple(sorted({calendar_day(day) for day in review}))
    if not days:
        raise InputError("review has no day; declare when groups may change")
    return days


def calendar_day(day: str | dt.date) -> dt.date:
    """A day.

    Raises
    ------
    InputError
        It is neither a date nor "YYYY-MM-DD".
    """
    number = day_number(day, "day")
    if number is None:
        raise InputError("day=None is not a calendar day; give a date or 'YYYY-MM-DD'")
    return dt.date(1970, 1, 1) + dt.timedelta(days=number)


def _require_score(group: str, trait: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"group {group!r}, {trait}: {value!r} is no score; give a number")
