"""Values of spending styles over some of the baskets (room ``insight``; styles call it).

Each value is a function of integers that are summed over chosen baskets, so that the same code gives the value, the
halves behind its reliability and the groups behind its interval. Only + - x / and sqrt, and the logarithm of
``core.detmath``: the same bits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core import detmath
from gpuseg.customers.keyed import Int64, first_of, pack
from gpuseg.insight.basket_state import BasketState

Float64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_LOW = 0xFFFFFFFF
_ENTROPY_BITS = 44
"""Entropy terms are rounded to 2**-44 and added as integers: no order of summation."""


@dataclass(frozen=True)
class Grouped:
    """Things found in baskets, grouped by (customer, thing).

    Parameters
    ----------
    basket : ndarray of int64
        Basket of each entry, entries of a group together.
    amount : ndarray of int64
        Of each entry.
    starts : ndarray of intp
        Where each group begins.
    customer : ndarray of int64
        Of each group.
    """

    basket: Int64
    amount: Int64
    starts: npt.NDArray[np.intp]
    customer: Int64

    @classmethod
    def of(cls, pairs: Int64, amount: Int64, customer: Int64) -> Grouped:
        """From pairs (basket, thing), an amount each, and the customer of each basket."""
        basket, thing = pairs >> 32, pairs & _LOW
        keys = pack(customer[basket], thing)
        order = np.argsort(keys, kind="stable")
        starts = first_of(keys[order])
        return cls(basket[order], amount[order], starts, (keys[order] >> 32)[starts])

    def sums(self, use: Flags) -> Int64:
        """Amount of each group over the chosen baskets."""
        if not len(self.basket):
            return np.zeros(0, np.int64)
        return np.add.reduceat(np.where(use[self.basket], self.amount, 0), self.starts)


@dataclass(frozen=True)
class Baskets:
    """Baskets with a purchase, and the days between visits, ready to be counted.

    Parameters
    ----------
    n_customers : int
        Customers with a purchase.
    customer, number : ndarray of int64
        Of each basket: whose it is, and its number among those, from 0, by time.
    lines, purchases, discount, coupon, own_label : ndarray of int64
        Of each basket.
    middle : int
        Median of the lines over all baskets (the lower one).
    spend, things : Grouped
        Money by category; products (categories without a product column), one an entry. Nothing sensitive.
    n_categories : int
        In the whole table, without sensitive ones.
    gap, gap_customer, gap_number : ndarray of int64
        Days between consecutive days with a purchase, whose they are, and their number.
    """

    n_customers: int
    customer: Int64
    number: Int64
    lines: Int64
    purchases: Int64
    discount: Int64
    coupon: Int64
    own_label: Int64
    middle: int
    spend: Grouped
    things: Grouped
    n_categories: int
    gap: Int64
    gap_customer: Int64
    gap_number: Int64

    def count(self, use: Flags | None = None) -> Int64:
        """Chosen baskets of each customer."""
        return self.by_customer(
            np.ones(len(self.customer), np.int64) if use is None else use.astype(np.int64)
        )

    def by_customer(self, amounts: Int64) -> Int64:
        """Sum of something of each basket, by customer."""
        return _add(self.customer, amounts, self.n_customers)


def ready(state: BasketState) -> tuple[Flags, Baskets, Baskets]:
    """The customers that have a purchase, their baskets with one, and those of them that may say what was bought.

    A basket of nothing but sensitive things is a basket like any other in rhythm, length and money. Where it is asked
    what was bought, it is as if it had not been.
    """
    bought, telling = state.total("lines") > 0, state.total("telling_lines") > 0
    buys = np.zeros(state.n_customers, np.bool_)
    buys[state.customer[bought]] = True
    every = _chosen(state, bought, buys)
    return buys, every, every if np.array_equal(bought, telling) else _chosen(state, telling, buys)


def _chosen(state: BasketState, chosen: Flags, buys: Flags) -> Baskets:
    """Some of the baskets, of the customers that have a purchase."""
    row = np.cumsum(chosen) - 1
    customer = (np.cumsum(buys) - 1)[state.customer[chosen]]
    lines = state.total("lines")[chosen]
    # Only baskets that tell have spend and products here, and those are among the chosen.
    spend_pairs = pack(row[state.spend_pairs >> 32], state.spend_pairs & _LOW)
    spend = Grouped.of(spend_pairs, state.spend, customer)
    products = state.product_pairs if len(state.products) else state.spend_pairs
    thing_pairs = pack(row[products >> 32], products & _LOW)
    days = np.unique(pack(customer, state.day[chosen] + (1 << 20)))
    owner, day = days >> 32, days & _LOW
    follows = np.flatnonzero(owner[1:] == owner[:-1]) if len(days) else np.zeros(0, np.intp)
    gap_customer = owner[1:][follows] if len(days) else owner
    return Baskets(
        n_customers=int(np.count_nonzero(buys)),
        customer=customer,
        number=_numbers(customer, state.first[chosen], state.baskets[chosen]),
        lines=lines,
        purchases=state.total("purchases")[chosen],
        discount=state.total("discount")[chosen],
        coupon=state.total("coupon")[chosen],
        own_label=state.total("own_label")[chosen],
        middle=int(np.partition(lines, (len(lines) - 1) // 2)[(len(lines) - 1) // 2]) if len(lines) else 0,
        spend=spend,
        things=Grouped.of(thing_pairs, np.ones(len(thing_pairs), np.int64), customer),
        n_categories=len(state.categories),
        gap=(day[1:] - day[:-1])[follows] if len(days) else day,
        gap_customer=gap_customer,
        gap_number=_positions(gap_customer),
    )


def deal_responsive(baskets: Baskets, use: Flags) -> Float64:
    """Discount / (purchases + discount)."""
    discount = _of(baskets, baskets.discount, use)
    return _share(discount, _of(baskets, baskets.purchases, use) + discount)


def coupon_use(baskets: Baskets, use: Flags) -> Float64:
    """Coupon / (purchases + discount)."""
    full = _of(baskets, baskets.purchases + baskets.discount, use)
    return _share(_of(baskets, baskets.coupon, use), full)


def own_label(baskets: Baskets, use: Flags) -> Float64:
    """Purchases of own label / purchases."""
    return _share(_of(baskets, baskets.own_label, use), _of(baskets, baskets.purchases, use))


def planned(baskets: Baskets, use: Flags) -> Float64:
    """Share of baskets with more lines than the median basket of all customers, ties counting half."""
    twice = (baskets.lines > baskets.middle).astype(np.int64) + (baskets.lines >= baskets.middle)
    return _share(_of(baskets, twice, use), 2 * baskets.count(use))


def variety_seeking(baskets: Baskets, use: Flags) -> Float64:
    """1 - sum of n (n - 1) over products / (sum of n x (baskets - 1)), n = baskets with the product."""
    found = baskets.things.sums(use)
    again = _add(baskets.things.customer, found * (found - 1), baskets.n_customers)
    chances = _add(baskets.things.customer, found, baskets.n_customers) * (baskets.count(use) - 1)
    return 1.0 - _share(again, chances)


def breadth(baskets: Baskets, use: Flags) -> Float64:
    """Shannon entropy of the spend over categories / ln C, C = categories that count in the whole table."""
    spend = baskets.spend.sums(use)
    customer = baskets.spend.customer
    whole = _add(customer, spend, baskets.n_customers)
    p = _share(spend, whole[customer])
    inside = np.where(p > 0, p, 1.0)
    terms = np.rint(-(inside * detmath.log(inside)) * 2.0**_ENTROPY_BITS).astype(np.int64)
    entropy = _add(customer, terms, baskets.n_customers).astype(np.float64) * 2.0**-_ENTROPY_BITS
    values = np.minimum(entropy / float(detmath.log(float(baskets.n_categories))), 1.0)
    return np.where(whole > 0, values, np.nan)


def regularity(baskets: Baskets, use: Flags) -> Float64:
    """(mean - sd) / (mean + sd) of the chosen gaps: ``use`` is of gaps here."""
    gap = np.where(use, baskets.gap, 0)
    m = _add(baskets.gap_customer, use.astype(np.int64), baskets.n_customers)
    total = _add(baskets.gap_customer, gap, baskets.n_customers)
    square = _add(baskets.gap_customer, gap * gap, baskets.n_customers)
    spread = np.sqrt(np.maximum(m * square - total * total, 0).astype(np.float64))
    span = np.where(m >= 2, total, 1).astype(np.float64)
    return np.where(m >= 2, (span - spread) / (span + spread), np.nan)


def gaps_of(baskets: Baskets, use: Flags | None = None) -> Int64:
    """Chosen gaps of each customer."""
    chosen = np.ones(len(baskets.gap), np.int64) if use is None else use.astype(np.int64)
    return _add(baskets.gap_customer, chosen, baskets.n_customers)


def _of(baskets: Baskets, amounts: Int64, use: Flags) -> Int64:
    return baskets.by_customer(np.where(use, amounts, 0))


def _share(part: Int64, whole: Int64) -> Float64:
    """Part / whole, NaN where the whole is 0."""
    return np.where(
        whole > 0, part.astype(np.float64) / np.where(whole > 0, whole, 1).astype(np.float64), np.nan
    )


def _add(where: Int64, amounts: Int64, size: int) -> Int64:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, where, amounts)
    return sums


def _numbers(customer: Int64, first: Int64, basket: Int64) -> Int64:
    """Number of each basket among those of its customer, by time of its first record, then by receipt."""
    order = np.lexsort((basket, first, customer))
    number = np.empty(len(order), np.int64)
    number[order] = _positions(customer[order])
    return number


def _positions(ordered: Int64) -> Int64:
    """Position of each entry within its run of equal values."""
    starts = first_of(ordered)
    counts = np.diff(np.append(starts, len(ordered)))
    return np.arange(len(ordered)) - np.repeat(starts, counts)
