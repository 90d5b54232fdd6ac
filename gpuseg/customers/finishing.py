"""From a merged state to the tables of features and summaries (room ``customers``, called by features).

Pure functions of what is known of the transactions and of the state; with Dask they run as one task.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core import detmath
from gpuseg.customers import frames, measures
from gpuseg.customers.customer_state import MEASURES, CustomerState
from gpuseg.customers.keyed import Int64
from gpuseg.customers.reading.records import Transactions
from gpuseg.customers.sensitive import check_opt_in, kept_out
from gpuseg.errors import InputError

logger = logging.getLogger("gpuseg.customers")

SHARE_PREFIX = "share_"
"""A column ``share_X`` is the share of category X in what the customer spent."""

_SHARE_ROLES = ("discount", "coupon", "own_label")
_EPOCH = dt.date(1970, 1, 1)


def column_types(
    tx: Transactions, names: tuple[str, ...], finish: Callable[..., pa.Table]
) -> dict[str, pa.DataType]:
    """Columns and types that a table will have: those of the table of one made-up customer."""
    one = CustomerState(
        keys=pa.array([0]),
        totals=np.ones((len(MEASURES), 1), np.int64),
        days=np.full(1, 1 << 20, np.int64),
        basket_pairs=np.zeros(1, np.int64),
        categories=pa.array(sorted(names), pa.large_string()),
        spend_pairs=np.arange(len(names), dtype=np.int64),
        spend=np.ones(len(names), np.int64),
        last_day=0,
    )
    light = replace(frames.without_records(tx), customer_type=None)
    schema = finish(light, None, names, one, check=False).schema
    return {field.name: field.type for field in schema if field.name != tx.roles.customer}


def usable(state: CustomerState, where: str) -> CustomerState:
    """The state itself, if the records behind it may be used (Dask: only now is it known)."""
    state.audit.require_usable(where)
    return state


def counted(state: CustomerState, opt_in: Sequence[str]) -> CustomerState:
    """The state without the sensitive categories that nobody opted in: they tell how much and when, never what."""
    return state.without_categories(kept_out(state.categories.to_pylist(), opt_in))


def no_purchase(tx: Transactions, as_of: int | None) -> InputError:
    """What to say where nobody bought anything, up to a day or at all."""
    found = f"{tx.where}: no purchase (a line with an amount above 0)"
    if as_of is None:
        return InputError(f"{found}; where purchases are written as negative amounts, turn their sign")
    return InputError(f"{found} on or before {_date(as_of)}; give a later as_of")


def _as_of_day(tx: Transactions, state: CustomerState, as_of: int | None) -> int:
    if state.last_day is None or not len(state.days):
        raise no_purchase(tx, as_of)
    return state.last_day if as_of is None else as_of


def _shown_categories(
    tx: Transactions, state: CustomerState, names: int | tuple[str, ...]
) -> tuple[str, ...]:
    totals = measures.category_totals(state)
    if isinstance(names, int):
        return measures.top_categories(totals, names)
    for name in names:
        if name not in totals:
            raise InputError(
                f"{tx.where}: nobody bought category {name!r}; there are {', '.join(sorted(totals)[:12])}"
            )
    return names


def feature_table(
    tx: Transactions,
    as_of: int | None,
    names: int | tuple[str, ...],
    state: CustomerState,
    *,
    opt_in: Sequence[str] = (),
    neutral: Mapping[str, float] | None = None,
    check: bool = True,
) -> pa.Table:
    """Finish a state as the table of :func:`features`; ``neutral`` is from the facts of an earlier one."""
    if check:
        usable(state, tx.where)
        check_opt_in(opt_in, state.categories.to_pylist())
    day = _as_of_day(tx, state, as_of)
    every, state = state.categories.to_pylist(), counted(state, opt_in)
    shown = _shown_categories(tx, state, names)
    visits = measures.visits(state, by_basket=tx.roles.basket is not None)
    rhythm = measures.rhythm(state)
    buys = visits > 0
    unit = float(10**tx.minor_units)
    purchases = state.total("purchases")
    columns: dict[str, npt.NDArray[np.float64]] = {
        "log_visits": detmath.log1p(visits.astype(np.float64)),
        "log_basket_value": detmath.log1p(measures.share(purchases, visits) / unit),
        "log_recency": detmath.log1p((day + 1 - rhythm.last).astype(np.float64)),
    }
    columns |= _even_shares(tx, state)
    of_things, neutral = _of_things(tx, state, shown, neutral)
    columns |= of_things
    columns["regularity"] = rhythm.regularity
    arrays = {name: pa.array(values[buys]) for name, values in columns.items()}
    facts = _facts(tx, state, day, shown, rhythm, buys) | _left_out(every, state, opt_in, buys)
    facts["neutral"] = neutral
    if check:
        _log_facts(tx, facts)
    return frames.customer_table(tx, state.keys.filter(pa.array(buys)), arrays, facts)


def summary_table(
    tx: Transactions,
    as_of: int | None,
    names: int | tuple[str, ...],
    state: CustomerState,
    *,
    opt_in: Sequence[str] = (),
    check: bool = True,
) -> pa.Table:
    """Finish a state as the table of :func:`customer_summary`."""
    if check:
        usable(state, tx.where)
        check_opt_in(opt_in, state.categories.to_pylist())
    day = _as_of_day(tx, state, as_of)
    every, state = state.categories.to_pylist(), counted(state, opt_in)
    shown = _shown_categories(tx, state, names)
    visits = measures.visits(state, by_basket=tx.roles.basket is not None)
    rhythm = measures.rhythm(state)
    buys = visits > 0
    unit = float(10**tx.minor_units)
    purchases, returns = state.total("purchases"), state.total("returns")
    spent = measures.counted_spend(state)

    def money(minor: Int64) -> pa.Array:
        return pa.array(minor.astype(np.float64) / unit)

    def defined(values: npt.NDArray[Any], where: npt.NDArray[np.bool_] = buys) -> pa.Array:
        return pa.array(values, mask=~where)

    columns = {
        "lines": pa.array(state.total("lines")),
        "visits": pa.array(visits),
        "visit_days": pa.array(rhythm.visit_days),
        "spend": money(purchases + returns),
        "purchases": money(purchases),
        "returns": money(returns),
        "basket_value": defined(measures.share(purchases, visits) / unit),
        "first_day": defined(rhythm.first.astype(np.int32)).cast(pa.date32()),
        "last_day": defined(rhythm.last.astype(np.int32)).cast(pa.date32()),
        "recency_days": defined((day + 1 - rhythm.last).astype(np.float64)),
        "tenure_days": defined((day + 1 - rhythm.first).astype(np.float64)),
        "gap_days": defined(rhythm.gap_mean, rhythm.visit_days >= 2),
        "regularity": defined(rhythm.regularity, rhythm.visit_days >= 3),
    }
    columns |= {role: money(state.total(role)) for role in ("discount", "coupon") if getattr(tx.roles, role)}
    columns |= {name: defined(values) for name, values in _shares(tx, state).items()}
    if tx.roles.category is not None:
        columns["categories_bought"] = pa.array(measures.categories_bought(state))
        columns["category_diversity"] = defined(measures.diversity(state), spent > 0)
        columns["top_category"] = measures.top_category(state)
    spend = {name: measures.category_spend(state, name) for name in shown}
    columns |= {SHARE_PREFIX + name: defined(measures.share(spend[name], spent), spent > 0) for name in shown}
    facts = _facts(tx, state, day, shown, rhythm, buys) | _left_out(every, state, opt_in, buys)
    return frames.customer_table(tx, state.keys, columns, facts)


def _of_things(
    tx: Transactions, state: CustomerState, shown: tuple[str, ...], neutral: Mapping[str, float] | None
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, float]]:
    """Features of what is bought, and the neutral value of each: for who bought nothing that counts.

    A 0 would set these customers apart, as those with nothing but sensitive purchases.
    """
    spent = measures.counted_spend(state)
    found = {
        SHARE_PREFIX + name: measures.share(measures.category_spend(state, name), spent) for name in shown
    }
    if tx.roles.category is not None:
        found["category_diversity"] = measures.diversity(state)
    means = {name: measures.mean_of_scores(values[spent > 0]) for name, values in found.items()}
    means |= {name: value for name, value in (neutral or {}).items() if name in found}
    return {name: np.where(spent > 0, values, means[name]) for name, values in found.items()}, means


def _shares(tx: Transactions, state: CustomerState) -> dict[str, npt.NDArray[np.float64]]:
    purchases = state.total("purchases")
    full = purchases + state.total("discount")
    whole = {"discount": full, "coupon": full, "own_label": purchases}
    return {
        f"{role}_share": measures.share(state.total(role), whole[role])
        for role in _SHARE_ROLES
        if getattr(tx.roles, role) is not None
    }


def _even_shares(tx: Transactions, state: CustomerState) -> dict[str, npt.NDArray[np.float64]]:
    """Shares as features: coupons are rare, so that a few customers would outweigh all others without the root."""
    found = _shares(tx, state)
    return {
        ("root_coupon_share" if name == "coupon_share" else name): (
            np.sqrt(values) if name == "coupon_share" else values
        )
        for name, values in found.items()
    }


def _facts(
    tx: Transactions,
    state: CustomerState,
    day: int,
    shown: tuple[str, ...],
    rhythm: measures.Rhythm,
    buys: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    return {
        "as_of": _date(day),
        "time_zone": tx.time_zone,
        "n_customers": state.n_customers,
        "n_without_purchase": int(np.count_nonzero(~buys)),
        "n_neutral_regularity": int(np.count_nonzero(buys & (rhythm.visit_days < 3))),
        "n_records_after_as_of": state.n_after,
        "categories": list(shown),
        "n_categories": len(state.categories),
        "visits_are": "receipts" if tx.roles.basket is not None else "days with a purchase",
    }


def _left_out(
    every: list[str], state: CustomerState, opt_in: Sequence[str], buys: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """What was kept out because it is sensitive, and the customers of whom nothing else is known."""
    counts = set(state.categories.to_pylist())
    left_out = [name for name in every if name not in counts]
    only = buys & (measures.counted_spend(state) == 0) if left_out else np.zeros(0, np.bool_)
    return {
        "opt_in": list(opt_in),
        "sensitive_left_out": left_out,
        "n_only_sensitive": int(np.count_nonzero(only)),
    }


def _log_facts(tx: Transactions, facts: dict[str, Any]) -> None:
    if facts["n_without_purchase"]:
        logger.warning(
            "%s: %s of %s customers have no purchase up to %s (no amount above 0, or only later ones), so they have no "
            "features and build no segment",
            tx.where,
            f"{facts['n_without_purchase']:,}",
            f"{facts['n_customers']:,}",
            facts["as_of"],
        )
    if facts["sensitive_left_out"]:
        logger.info(
            "%s: %d sensitive categories count in visits and money, not in shares and variety (%s%s); %d customers "
            "bought in no other and have the mean of all others there; opt_in lets a category count",
            tx.where,
            len(facts["sensitive_left_out"]),
            ", ".join(facts["sensitive_left_out"][:5]),
            ", ..." if len(facts["sensitive_left_out"]) > 5 else "",
            facts["n_only_sensitive"],
        )
    if facts["n_neutral_regularity"]:
        logger.info(
            "%s: %d customers with fewer than three visit days have the neutral regularity 0",
            tx.where,
            facts["n_neutral_regularity"],
        )


def _date(day: int) -> str:
    return (_EPOCH + dt.timedelta(days=day)).isoformat()
