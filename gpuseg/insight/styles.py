"""Spending styles (room ``insight``; jobs call it): what customers do in their baskets, as scores with intervals.

A style describes behaviour that was seen, never a trait: "buys on discount in two baskets of three", not "is a bargain
hunter". Each comes with its formula, an interval, how much it rests on, and how well its halves agree.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpuseg.core.promise import Promise
from gpuseg.customers import frames
from gpuseg.customers.features import day_number
from gpuseg.customers.finishing import no_purchase
from gpuseg.customers.keyed import Int64
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.customers.sensitive import check_opt_in
from gpuseg.errors import InputError
from gpuseg.insight import style_values as values
from gpuseg.insight.basket_state import BasketState, merge_baskets, partition_baskets
from gpuseg.insight.rates import Z_95
from gpuseg.insight.style_values import Baskets, Flags, Float64

logger = logging.getLogger("gpuseg.insight")

GROUPS = 10
"""Groups of baskets that are left out in turn for the interval."""
MIN_HALF = 10
"""Baskets (gaps) in each half that a customer needs to count in the reliability."""

# Two-sided 95 % points of Student's t with 1 to 9 degrees of freedom.
_T_95 = np.array(
    [
        np.nan, 12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146,
        2.4469118511449786, 2.364624251592784, 2.306004135204166, 2.262157162798205,
    ]
)  # fmt: skip
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Style:
    """One style: what it says and how it is reckoned.

    Parameters
    ----------
    name : str
        Its column.
    label : str
        In words; "low to high" where both ends have a name.
    formula : str
        How it is reckoned from behaviour.
    low, high : str
        What customers at the lower and the upper end do.
    lowest : float
        Lower end of its range; the upper is 1.
    evidence : str
        What it rests on: "baskets" or "gaps between visit days".
    """

    name: str
    label: str
    formula: str
    low: str
    high: str
    lowest: float = 0.0
    evidence: str = "baskets"


STYLES = (
    Style(
        "variety_seeking",
        "Variety-seeking",
        "1 - sum over products of n (n - 1) / (sum of n x (baskets - 1)), n = baskets with the product: how likely a "
        "product of one basket is missing from another of the same customer (categories where there are no products)",
        "buy the same things again",
        "buy other things each time",
    ),
    Style(
        "regularity",
        "Regularity",
        "(mean - sd) / (mean + sd) of the days between days with a purchase: 1 clockwork, 0 chance, -1 bursts",
        "come in bursts",
        "come at even intervals",
        -1.0,
        "gaps between visit days",
    ),
    Style(
        "planned",
        "Spontaneous to planned",
        "share of baskets with more lines than the median basket of all customers, ties counting half",
        "make quick trips for a few things",
        "make full trips with a long list",
    ),
    Style(
        "deal_responsive",
        "Deal-responsive",
        "discount / (purchases + discount)",
        "buy at full price",
        "buy what is reduced",
    ),
    Style(
        "coupon_use",
        "Coupon use",
        "coupon / (purchases + discount)",
        "pay without coupons",
        "pay with coupons",
    ),
    Style(
        "own_label",
        "Brand to own label",
        "purchases of own label / purchases",
        "buy brands",
        "buy the seller's own label",
    ),
    Style(
        "breadth",
        "Breadth",
        "Shannon entropy of the spend over categories / ln C, C = categories in the whole table (sensitive ones are in "
        "neither)",
        "buy in one category",
        "buy evenly across categories",
    ),
)
"""Every style, in the order of the columns."""

_VALUES: dict[str, Callable[[Baskets, Flags], Float64]] = {
    "variety_seeking": values.variety_seeking,
    "regularity": values.regularity,
    "planned": values.planned,
    "deal_responsive": values.deal_responsive,
    "coupon_use": values.coupon_use,
    "own_label": values.own_label,
    "breadth": values.breadth,
}
_OF_THINGS = {"variety_seeking", "breadth"}
"""Styles that look at what was bought; all others count every basket."""
NEEDS = {
    "deal_responsive": "discount",
    "coupon_use": "coupon",
    "own_label": "own_label",
    "breadth": "category",
}
"""The role that a style needs beside the customer, the time and the amount."""


@dataclass(frozen=True)
class Reliability:
    """How well a style from one half of the baskets agrees with that from the other.

    Parameters
    ----------
    style : str
        Its name.
    correlation : float
        Pearson's, between odd and even baskets (gaps); NaN with fewer than three customers or no difference among them.
    rank_correlation : float
        Spearman's: where few customers have most of a style (coupons), Pearson's is theirs alone.
    n_customers : int
        Customers with at least :data:`MIN_HALF` in each half.
    """

    style: str
    correlation: float
    rank_correlation: float
    n_customers: int

    @property
    def spearman_brown(self) -> float:
        """Reliability of the style from all baskets: 2 r / (1 + r) (Spearman 1910, Brown 1910)."""
        return 2.0 * self.correlation / (1.0 + self.correlation) if self.correlation > -1.0 else -math.inf


@dataclass(frozen=True)
class SpendingStyles:
    """Styles of every customer with a purchase.

    Parameters
    ----------
    table : pyarrow.Table
        What :meth:`to_arrow` gives.
    styles : tuple of Style
        Those that these transactions allow.
    reliability : tuple of Reliability
        One a style.
    left_out : dict of str to str
        Styles that are not there, and why.
    as_of : date
        Last local day that counts.
    promise : Promise
        Always exact.
    """

    table: pa.Table
    styles: tuple[Style, ...]
    reliability: tuple[Reliability, ...]
    left_out: dict[str, str]
    as_of: dt.date
    promise: Promise = Promise.EXACT

    def to_arrow(self) -> pa.Table:
        """One row a customer, ascending: the key, then each style with ``_low``, ``_high`` and ``_n``.

        Returns
        -------
        pyarrow.Table
            Null where a style is not defined for a customer; an interval needs two groups of evidence.
        """
        return self.table

    def reliability_of(self, style: str) -> Reliability:
        """Reliability of one style."""
        return next(found for found in self.reliability if found.style == style)


def spending_styles(
    tx: Transactions, as_of: str | dt.date | None = None, *, opt_in: Sequence[str] = ()
) -> SpendingStyles:
    """Score every customer's spending styles.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`. Roles decide which styles there are: ``discount``, ``coupon``,
        ``own_label``, ``category``, ``product``; without ``basket`` a basket is a day.
    as_of : str ("YYYY-MM-DD") or date, optional
        The last local day that counts; default: the last with a basket.
    opt_in : sequence of str
        Kinds or names of sensitive categories that count all the same, as in :func:`gpuseg.features`.

    Returns
    -------
    SpendingStyles
        Scores, intervals and evidence of each customer, reliability of each style. A Dask source is computed now.

    Raises
    ------
    InputError
        ``tx`` is something else, ``as_of`` is no day, nobody bought anything by then, or ``opt_in`` is neither a kind
        nor a category.
    SchemaError
        A Dask source has problems.

    Notes
    -----
    Counted are lines that are not returns (amount >= 0) in baskets with a purchase; so ``deal_responsive`` may differ
    from ``discount_share`` of :func:`gpuseg.features` where discounts stand on baskets without one. Formulas are in
    :data:`STYLES`. Lines of sensitive categories count, but for variety-seeking and breadth, which look at what was
    bought: those are the same as if the lines were not there.

    The interval (95 %) is a jackknife: baskets, numbered in order of time, fall into ten groups in turn; each group is
    left out once, with Student's t of groups - 1. Where leaving out changes nothing, Wilson's interval of as many
    trials as there is evidence: three baskets without a coupon do not prove that there never is one. Clipped to the
    range. Reliability: odd against even baskets (for regularity: gaps), Spearman-Brown; it says how steady a difference
    among customers is, not what it means.

    References
    ----------
    Goh & Barabasi 2008 (regularity); Kahn & Schmittlein 1989 (quick and full trips); J. Shao, C. F. J. Wu. A general
    theory for jackknife variance estimation. Annals of Statistics 17 (1989).

    Examples
    --------
    >>> from gpuseg import datasets, read_transactions
    >>> table, _ = datasets.make_transactions(3, seed=1)
    >>> roles = {name: name for name in ("customer", "time", "amount", "basket", "own_label")}
    >>> styles = spending_styles(read_transactions(table, **roles, time_zone="Europe/Paris"))
    >>> [style.label for style in styles.styles]
    ['Regularity', 'Spontaneous to planned', 'Brand to own label']
    """
    if not isinstance(tx, Transactions):
        raise InputError(f"{type(tx).__name__} is no Transactions; make one with gpuseg.read_transactions")
    day = day_number(as_of)
    opted = (opt_in,) if isinstance(opt_in, str) else tuple(opt_in)
    state = _state(tx, day, opted)
    state.audit.require_usable(tx.where)
    check_opt_in(opted, state.categories.to_pylist())
    buys, baskets, telling = values.ready(state)
    if not baskets.n_customers:
        raise no_purchase(tx, day)
    until = _date(int(state.day.max()) if day is None else day)
    left_out = _left_out(tx, baskets, telling)
    styles = tuple(style for style in STYLES if style.name not in left_out)
    columns: dict[str, pa.Array] = {}
    reliability = []
    for style in styles:
        seen = telling if style.name in _OF_THINGS else baskets
        columns |= _columns(style, seen)
        reliability.append(_reliability(style, seen))
    for name, why in left_out.items():
        logger.info("%s: no style %s: %s", tx.where, name, why)
    facts = {"as_of": until.isoformat(), "styles": [style.name for style in styles], "left_out": left_out}
    table = frames.customer_table(tx, state.keys.filter(pa.array(buys)), columns, facts)
    return SpendingStyles(table, styles, tuple(reliability), left_out, until)


def _state(tx: Transactions, day: int | None, opt_in: tuple[str, ...]) -> BasketState:
    if tx.kind == "dask":
        found: BasketState = frames.delayed_state(tx, partition_baskets, merge_baskets, day, opt_in).compute()
        return found
    return merge_baskets([partition_baskets(partition.load(), day, opt_in) for partition in tx.partitions])


def _left_out(tx: Transactions, baskets: Baskets, telling: Baskets) -> dict[str, str]:
    """Styles that cannot be told from these transactions, and why."""
    found = {
        name: f"the transactions have no {role} column" for name, role in NEEDS.items() if not _has(tx, role)
    }
    if not _has(tx, "product") and not _has(tx, "category"):
        found["variety_seeking"] = "the transactions have neither a product nor a category column"
    elif not len(telling.customer):
        found["variety_seeking"] = "every purchase is in a sensitive category"
    if "breadth" not in found and baskets.n_categories < 2:
        found["breadth"] = "there are fewer than two categories, sensitive ones aside"
    if not (_has(tx, "basket") or _has(tx, "product")):
        found["planned"] = (
            "neither basket nor product is given: a row may be a whole purchase, and no line of one"
        )
    elif (baskets.lines == baskets.lines[0]).all():
        found["planned"] = f"every basket has {baskets.lines[0]} line(s)"
    return {style.name: found[style.name] for style in STYLES if style.name in found}


def _has(tx: Transactions, role: str) -> bool:
    return getattr(tx.roles, role) is not None


def _columns(style: Style, baskets: Baskets) -> dict[str, pa.Array]:
    value_of, number, evidence = _VALUES[style.name], _number(style, baskets), _evidence(style, baskets)
    value = value_of(baskets, np.ones(len(number), np.bool_))
    low, high = _interval(style, baskets, value)
    known = ~np.isnan(value)
    bounded = known & ~np.isnan(low)
    return {
        style.name: pa.array(value, mask=~known),
        f"{style.name}_low": pa.array(low, mask=~bounded),
        f"{style.name}_high": pa.array(high, mask=~bounded),
        f"{style.name}_n": pa.array(evidence),
    }


def _number(style: Style, baskets: Baskets) -> Int64:
    """Number of each basket (gap) among those of its customer."""
    return baskets.gap_number if style.name == "regularity" else baskets.number


def _evidence(style: Style, baskets: Baskets, use: Flags | None = None) -> Int64:
    """Baskets (gaps) of each customer."""
    return values.gaps_of(baskets, use) if style.name == "regularity" else baskets.count(use)


def _interval(style: Style, baskets: Baskets, value: Float64) -> tuple[Float64, Float64]:
    """Jackknife over groups of baskets in order of group; Wilson's interval where no group makes a difference."""
    evidence, group = _evidence(style, baskets), _number(style, baskets) % GROUPS
    groups = np.minimum(evidence, GROUPS)
    without = [_VALUES[style.name](baskets, group != g) for g in range(GROUPS)]
    mean, squares = np.zeros(len(value)), np.zeros(len(value))
    for g, left in enumerate(without):
        mean = mean + np.where(g < groups, left, 0.0)
    mean = mean / np.maximum(groups, 1)
    for g, left in enumerate(without):
        squares = squares + np.where(g < groups, (left - mean) * (left - mean), 0.0)
    spread = np.sqrt(squares * (groups - 1) / np.maximum(groups, 1))
    half = np.where(groups >= 2, _T_95[np.clip(groups - 1, 0, GROUPS - 1)], np.nan) * spread
    low, high = np.maximum(value - half, style.lowest), np.minimum(value + half, 1.0)
    # Leaving out equal baskets changes at most the last bits; a single one leaves nothing to compare.
    still = (groups < 2) | (spread <= 2.0**-40)
    wilson_low, wilson_high = _wilson(value, style.lowest, evidence)
    return np.where(still, wilson_low, low), np.where(still, wilson_high, high)


def _wilson(value: Float64, lowest: float, n: Int64) -> tuple[Float64, Float64]:
    """Wilson's interval of a share of ``n`` trials, on a range from ``lowest`` to 1."""
    width = 1.0 - lowest
    p, square = (value - lowest) / width, Z_95 * Z_95 / np.maximum(n, 1)
    middle = p + square / 2.0
    half = Z_95 * np.sqrt(
        np.maximum(p * (1.0 - p), 0.0) / np.maximum(n, 1) + square * square / (4.0 * Z_95 * Z_95)
    )
    low, high = (middle - half) / (1.0 + square), (middle + half) / (1.0 + square)
    inside_low = np.minimum(np.maximum(low, 0.0), p)
    inside_high = np.maximum(np.minimum(high, 1.0), p)
    return lowest + width * inside_low, lowest + width * inside_high


def _reliability(style: Style, baskets: Baskets) -> Reliability:
    odd = _number(style, baskets) % 2 == 0  # numbers count from 0
    enough = (_evidence(style, baskets, odd) >= MIN_HALF) & (_evidence(style, baskets, ~odd) >= MIN_HALF)
    first, second = (_VALUES[style.name](baskets, half)[enough] for half in (odd, ~odd))
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    ranked = _pearson(_ranks(first), _ranks(second))
    return Reliability(style.name, _pearson(first, second), ranked, len(first))


def _pearson(a: Float64, b: Float64) -> float:
    """Pearson's correlation; sums are rounded once, so their order does not matter."""
    n = len(a)
    if n < 3:
        return math.nan
    a, b = a - math.fsum(a.tolist()) / n, b - math.fsum(b.tolist()) / n
    whole = math.fsum((a * a).tolist()) * math.fsum((b * b).tolist())
    if whole <= 0.0:
        return math.nan
    return max(-1.0, min(1.0, math.fsum((a * b).tolist()) / math.sqrt(whole)))


def _ranks(scores: Float64) -> Float64:
    """Twice the mid-ranks."""
    ordered = np.sort(scores)
    twice = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return twice.astype(np.float64)


def _date(day: int) -> dt.date:
    return _EPOCH + dt.timedelta(days=day)
