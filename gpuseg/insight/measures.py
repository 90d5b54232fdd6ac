"""What the figures of a customer are called (room ``insight``): units, plain words, and which may name a segment.

A :class:`Measure` belongs to a column of :func:`gpuseg.customers.features.customer_summary`. Words are neutral: they
say what customers do, never what they are worth or whether it is good.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gpuseg.insight.words import Unit, Wording

CATEGORY_PREFIX = "share_"
"""A column ``share_X`` is the share of category X in what the customer spent."""
CATEGORY_FAMILY = "category"


@dataclass(frozen=True)
class Measure:
    """One figure of a customer.

    Parameters
    ----------
    column : str
        Where it stands.
    label : str
        Its name in a table.
    unit : Unit
        What it counts.
    family : str
        Measures of one family say much the same; a name takes at most one of them. Empty: never part of a name.
    high, low : str
        Phrases for a segment above or below the rest.
    signed : bool
        Whether it takes both signs around a meaningful 0: then a ratio of means, the index, has no meaning.
    binary : bool
        Whether it is 1 for customers who have something and 0 for the others: its mean is the share of those.
    note : str
        What a reader must know to read it.
    """

    column: str
    label: str
    unit: Unit
    family: str = ""
    high: str = ""
    low: str = ""
    signed: bool = False
    binary: bool = False
    note: str = ""

    @property
    def is_category(self) -> bool:
        """Whether it is the share of one spend category."""
        return self.family == CATEGORY_FAMILY


# {category} and {categories} stand for what this business calls them.
_KNOWN = (
    Measure("visits", "Visits", Unit.COUNT, "visits", "many visits", "few visits"),
    Measure("basket_value", "Basket value", Unit.MONEY, "basket", "large baskets", "small baskets"),
    Measure("spend", "Spend", Unit.MONEY),
    Measure(
        "recency_days",
        "Days since last purchase",
        Unit.DAYS,
        "recency",
        "long since last visit",
        "seen recently",
    ),
    Measure(
        "regularity",
        "Regularity of visits",
        Unit.SCORE,
        "rhythm",
        "regular rhythm",
        "irregular rhythm",
        signed=True,
        note="1 is clockwork, 0 is chance, below 0 is bursts",
    ),
    Measure("discount_share", "Discount share", Unit.SHARE, "discount", "more discounts", "fewer discounts"),
    Measure("coupon_share", "Coupon share", Unit.SHARE, "coupon", "more coupons", "fewer coupons"),
    Measure(
        "own_label_share", "Own-label share", Unit.SHARE, "own label", "more own label", "less own label"
    ),
    Measure(
        "category_diversity",
        "Variety",
        Unit.SCORE,
        "variety",
        "wide variety",
        "narrow variety",
        note="0 is all in one {category}, 1 is spread evenly over all",
    ),
    Measure("categories_bought", "Number of {categories}", Unit.COUNT),
)


def measures_of(columns: Iterable[str], wording: Wording | None = None) -> tuple[Measure, ...]:
    """The measures among the columns of a customer summary, in the order in which they are shown.

    Parameters
    ----------
    columns : iterable of str
        Names of columns; unknown ones are left out.
    wording : Wording, optional
        What this business calls its things.

    Returns
    -------
    tuple of Measure
        The known measures, then one for each category in the order of the columns.
    """
    present, words = list(columns), wording or Wording()
    known = tuple(_in_words(measure, words) for measure in _KNOWN if measure.column in present)
    codes = [column.removeprefix(CATEGORY_PREFIX) for column in present if column.startswith(CATEGORY_PREFIX)]
    return known + tuple(_category(code, words.category_names.get(code, code)) for code in codes)


def _in_words(measure: Measure, words: Wording) -> Measure:
    plain = {"category": words.category, "categories": words.categories}
    return replace(measure, label=measure.label.format(**plain), note=measure.note.format(**plain))


def _category(code: str, name: str) -> Measure:
    label = name[:1].upper() + name[1:]
    high, low = f"more {name}", f"less {name}"
    return Measure(CATEGORY_PREFIX + code, label, Unit.SHARE, CATEGORY_FAMILY, high, low)
