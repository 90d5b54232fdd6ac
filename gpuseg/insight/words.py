"""Figures and customers in words (room ``insight``; reports and jobs call it)."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Stands where there is no figure."""
FEW = "\N{ASTERISK OPERATOR}"
"""Stands for a figure of a group that is too small to show."""
_SPACE = "\N{NO-BREAK SPACE}"


class Unit(StrEnum):
    """What a figure counts."""

    COUNT = "count"
    MONEY = "money"
    DAYS = "days"
    SHARE = "share"
    SCORE = "score"


@dataclass(frozen=True)
class Wording:
    """What this business calls its things: words only, no figure depends on them.

    Parameters
    ----------
    customer, customers : str
        One customer, several customers.
    category, categories : str
        One spend category, several of them.
    currency : str
        Sign before an amount.
    category_names : mapping of str to str
        Plain names of categories; a category without one keeps its own.
    """

    customer: str = "customer"
    customers: str = "customers"
    category: str = "category"
    categories: str = "categories"
    currency: str = ""
    category_names: Mapping[str, str] = field(default_factory=dict)

    def count(self, n: int) -> str:
        """A number of customers: "1 customer", "2,469 customers"."""
        return f"{n:,} {self.customer if n == 1 else self.customers}"


def format_figure(value: float | None, unit: Unit, currency: str = "") -> str:
    """A figure as people write it: "1,210", "$27.34", "15 %", "6 days", "0.43"; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    match unit:
        case Unit.MONEY:
            digits = 0 if abs(value) >= 100 else 2
            return f"{MINUS if value < 0 else ''}{currency}{abs(value):,.{digits}f}"
        case Unit.SHARE:
            return format_percent(value)
        case Unit.DAYS:
            return f"{_count(value)}{_SPACE}{'day' if value == 1 else 'days'}"
        case Unit.COUNT:
            return _count(value)
        case Unit.SCORE:
            return format_score(value)


def format_percent(share: float) -> str:
    """A share as a percentage; small ones keep a digit that says something."""
    percent = 100.0 * share
    if 0 < percent < 0.05:
        return f"<{_SPACE}0.1{_SPACE}%"
    digits = 0 if percent >= 9.95 or percent == 0 else 1
    return f"{percent:.{digits}f}{_SPACE}%"


def format_score(value: float) -> str:
    """A figure on a scale of its own, two decimals, with a true minus."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)


def format_day(day: dt.date) -> str:
    """A day as people write it: "1 January 2017". Month names are ours, not the system's locale."""
    return f"{day.day}{_SPACE}{MONTHS[day.month - 1]} {day.year}"


def list_words(words: Sequence[str]) -> str:
    """Words joined as in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def _count(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")
