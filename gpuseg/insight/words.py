"""Figures and customers in words (room ``insight``; reports and jobs call it)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpuseg.insight.measures import Unit

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Stands where there is no figure."""


@dataclass(frozen=True)
class Wording:
    """What this business calls its things.

    Parameters
    ----------
    customer, customers : str
        One customer, several customers.
    category, categories : str
        One spend category, several of them.
    currency : str
        Sign before an amount.
    """

    customer: str = "customer"
    customers: str = "customers"
    category: str = "category"
    categories: str = "categories"
    currency: str = ""

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
        case Unit.DAYS | Unit.COUNT:
            return f"{value:,.1f}".removesuffix(".0")
        case Unit.SCORE:
            return f"{value:.2f}".replace("-", MINUS)


def format_percent(share: float) -> str:
    """A share as a percentage; small ones keep a digit that says something."""
    percent = 100.0 * share
    digits = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{digits}f} %" if percent == 0 or percent >= 0.05 else "< 0.1 %"
