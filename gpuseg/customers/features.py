"""Features of customers (room ``customers``): one row a customer, ready to be scaled and clustered.

:func:`features` gives the transformed values that build segments, :func:`customer_summary` the same facts in original
units that describe them. Both are finished from one mergeable state, so no split or order of the records matters.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from gpuseg.customers import finishing, frames, measures
from gpuseg.customers.customer_state import merge_states, partition_state
from gpuseg.customers.reading.records import Transactions
from gpuseg.customers.sensitive import kept_out
from gpuseg.errors import InputError

logger = logging.getLogger("gpuseg.customers")

_EPOCH = dt.date(1970, 1, 1)


def features(
    tx: Transactions,
    as_of: str | dt.date | None = None,
    categories: int | Sequence[str] = 8,
    *,
    opt_in: Sequence[str] = (),
    state: Any = None,
) -> Any:
    """Features of every customer with a purchase.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`.
    as_of : str ("YYYY-MM-DD") or date, optional
        The last local day that counts. Later records are left out of everything, the choice of categories included.
        Default: the last day with a record.
    categories : int or sequence of str, default 8
        How many categories get a share of their own, the largest by spend of all customers (ties by name; "unknown"
        never), or their names. A Dask source reads its records once now to find them; names keep it lazy.
    opt_in : sequence of str
        Sensitive categories that count all the same: kinds (``"health"``, ``"pharmacy"``, ``"religion_politics"``,
        ``"gambling"``, ``"debt"``, ``"alcohol"``) or names.
    state : CustomerState, optional
        From :func:`customer_state` of the same ``tx`` and ``as_of``: saves reading the records again.

    Returns
    -------
    DataFrame or Table
        One row a customer, ascending by key; float64 columns. pandas in: pandas, the customer a named index. polars in:
        polars, the customer first. Arrow or a path in: an Arrow table, the customer first and named in the metadata
        ``gpuseg.customer``. Dask in: a Dask dataframe, lazy, of the partitions that ``tx`` has. In its metadata
        ``gpuseg.facts`` (pandas: ``attrs["gpuseg"]``) are ``as_of``, the categories, the sensitive ones that were left
        out, neutral values, and the counts of customers without a purchase and of those with a neutral regularity.

        ==================  =======================================================================================
        log_visits          ln(1 + receipts); without ``basket``: distinct days with a purchase
        log_basket_value    ln(1 + purchases / visits), in units of the currency
        log_recency         ln(1 + days from the last purchase to the day after ``as_of``)
        discount_share      discount / (purchases + discount)
        root_coupon_share   sqrt(coupon / (purchases + discount)): coupons are rare and the share is heavy-tailed
        own_label_share     purchases of own label / purchases
        share_X             purchases in category X / purchases in all categories that count
        category_diversity  Shannon entropy of that spend over categories / ln C, C = categories that count
        regularity          (mean - sd) / (mean + sd) of the days between visit days: 1 clockwork, 0 Poisson, -1 bursts;
                            0 with fewer than three visit days
        ==================  =======================================================================================

    Raises
    ------
    InputError
        ``as_of`` is no day or lies before the first purchase; ``categories`` is no such number, an unknown name or a
        sensitive one; ``opt_in`` is neither a kind nor a category.
    SchemaError
        A Dask source has problems; raised when the result is computed.

    Notes
    -----
    A purchase is a line with an amount above 0. Lines with an amount of 0 or less (returns, adjustments, free pieces)
    are no visit and no part of ``purchases``; discounts and coupons count on lines that are not returns (amount >= 0).
    A quantity of 0 or less changes nothing: money counts, not pieces. Customers without a purchase have no row here
    (they do in :func:`customer_summary`); how many there are is logged and in the facts.

    Sensitive categories (health, pharmacy, religion and politics, gambling, debt, alcohol; known by name or merchant
    category code) count in visits, money, discounts and own label, which tell nothing of the kind. In shares and in
    diversity they do not, unless opted in: those are the same as if the lines were not there, and the mean of all
    others for who bought nothing else: a value that says nothing.

    Regularity is minus the burstiness of Goh & Barabasi (2008).

    Examples
    --------
    >>> from gpuseg import datasets, read_transactions
    >>> table, _ = datasets.make_transactions(3, seed=1)
    >>> tx = read_transactions(table, customer="customer", time="time", amount="amount", time_zone="Europe/Paris")
    >>> features(tx).column_names
    ['customer', 'log_visits', 'log_basket_value', 'log_recency', 'regularity']

    References
    ----------
    K.-I. Goh, A.-L. Barabasi. Burstiness and memory in complex systems. EPL 81 (2008).
    """
    return _finished(tx, as_of, categories, opt_in, state, finishing.feature_table)


def customer_summary(
    tx: Transactions,
    as_of: str | dt.date | None = None,
    categories: int | Sequence[str] = 8,
    *,
    opt_in: Sequence[str] = (),
    state: Any = None,
) -> Any:
    """Facts of every customer in original units: what profiles describe.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`.
    as_of : str ("YYYY-MM-DD") or date, optional
        The last local day that counts; default: the last day with a record.
    categories : int or sequence of str, default 8
        As in :func:`features`.
    opt_in : sequence of str
        As in :func:`features`.
    state : CustomerState, optional
        From :func:`customer_state` of the same ``tx`` and ``as_of``.

    Returns
    -------
    DataFrame or Table
        One row for *every* customer with a record, of the same kind as :func:`features`: ``lines``, ``visits``,
        ``visit_days``, ``spend`` (purchases and returns together), ``purchases``, ``returns`` (0 or less),
        ``basket_value``, ``first_day``, ``last_day`` (of a purchase), ``recency_days``, ``tenure_days``, ``gap_days``
        (mean between visit days), ``regularity``, ``discount``, ``discount_share``, ``coupon``, ``coupon_share``,
        ``own_label_share``, ``categories_bought``, ``category_diversity``, ``top_category`` and the ``share_X``. Money
        is in units of the currency. What is not defined for a customer is null (NaN).

    Raises
    ------
    InputError
        As in :func:`features`.

    See Also
    --------
    features : The transformed values that build segments.
    """
    return _finished(tx, as_of, categories, opt_in, state, finishing.summary_table)


def customer_state(tx: Transactions, as_of: str | dt.date | None = None) -> Any:
    """The mergeable facts behind features and summaries.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`.
    as_of : str ("YYYY-MM-DD") or date, optional
        The last local day that counts.

    Returns
    -------
    CustomerState
        Or, for a Dask source, the Dask task that makes it.

    Raises
    ------
    InputError
        ``as_of`` is no day, or ``tx`` is something else.
    """
    if not isinstance(tx, Transactions):
        raise InputError(f"{type(tx).__name__} is no Transactions; make one with gpuseg.read_transactions")
    day = day_number(as_of)
    if tx.kind == "dask":
        return frames.delayed_state(tx, partition_state, merge_states, day)
    return merge_states([partition_state(partition.load(), day) for partition in tx.partitions])


def day_number(day: str | dt.date | None, name: str = "as_of") -> int | None:
    """A local calendar day in days since 1970-01-01.

    Raises
    ------
    InputError
        It is neither a date nor "YYYY-MM-DD"; a time of day is no day.
    """
    if day is None:
        return None
    try:
        found = dt.date.fromisoformat(day) if isinstance(day, str) else day
    except ValueError:
        found = None
    if isinstance(found, dt.datetime) and found.time() == dt.time(0) and found.tzinfo is None:
        found = found.date()
    if not isinstance(found, dt.date) or isinstance(found, dt.datetime):
        raise InputError(f"{name}={day!r} is not a calendar day; give a date or 'YYYY-MM-DD'")
    return (found - _EPOCH).days


def _finished(
    tx: Transactions, as_of: Any, categories: Any, opt_in: Sequence[str], state: Any, finish: Any
) -> Any:
    if state is None:
        state = customer_state(tx, as_of)
    opted = (opt_in,) if isinstance(opt_in, str) else tuple(opt_in)
    names = _category_names(tx, categories, opted, state)
    finish = partial(finish, opt_in=opted)
    complete = partial(finish, frames.without_records(tx), day_number(as_of), names)
    if tx.kind != "dask":
        return frames.as_kind(tx, complete(state))
    assert not isinstance(names, int)
    columns = finishing.column_types(tx, names, finish)
    return frames.delayed_frame(tx, state, complete, columns)


def _category_names(
    tx: Transactions, categories: Any, opt_in: tuple[str, ...], state: Any
) -> int | tuple[str, ...]:
    """The names, or how many are wanted (Dask: found now, because they name the columns)."""
    if isinstance(categories, int) and not isinstance(categories, bool):
        if categories < 0:
            raise InputError(f"categories={categories} is negative; give 0 or more, or names")
        if tx.roles.category is None or categories == 0:
            return ()
        if tx.kind != "dask":
            return categories
        logger.info("%s: reading the records to find the %d largest categories", tx.where, categories)
        merged = finishing.usable(state.compute(), tx.where)
        totals = measures.category_totals(finishing.counted(merged, opt_in))
        return measures.top_categories(totals, categories)
    names = tuple(categories) if not isinstance(categories, (str, bool)) else (categories,)
    if names and tx.roles.category is None:
        raise InputError(
            f"categories={categories!r} but the transactions have no category column; give category="
        )
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"categories={categories!r} is neither a number nor names")
    for name, reason in kept_out(names, opt_in).items():
        raise InputError(
            f"{tx.where}: category {name!r} cannot have a share of its own ({reason}); opt_in names what may"
        )
    return names
