"""Indicators of behaviour that studies use beside spend categories (room ``personality``; calibration takes them).

Tovanich et al. (2021) found temporal and diversity features the most telling. Each one here is a function of integers
that add up, so no split or order of the records matters; + - x /, sqrt and ``detmath.log`` only. Whatever tells *what*
is bought (diversity, persistence, turnover) leaves sensitive categories out unless somebody opts in.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core import detmath
from gpuseg.customers import finishing, frames, measures
from gpuseg.customers.features import day_number
from gpuseg.customers.keyed import Int64, pack, sum_by
from gpuseg.customers.reading.records import Transactions
from gpuseg.customers.sensitive import check_opt_in, kept_out
from gpuseg.errors import InputError
from gpuseg.personality.habit_state import HabitState, merge_habits, partition_habits
from gpuseg.personality.use_limits import NOT_FOR

Float64 = npt.NDArray[np.float64]

INDICATORS = (
    "variability",
    "persistence",
    "burstiness",
    "diversity",
    "turnover",
    "weekend_share",
    "night_share",
)
"""Columns of :func:`indicators`."""

_ENTROPY_BITS = 44
_LN_2 = float(detmath.log(2.0))


def indicators(
    tx: Transactions,
    *,
    middle: str | dt.date | None = None,
    opt_in: Sequence[str] = (),
    state: Any = None,
) -> Any:
    """Indicators of behaviour of every customer with a purchase.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`.
    middle : date or "YYYY-MM-DD", optional
        The month of this day begins the second half, for persistence and turnover. Default: the month in the middle of
        those with a purchase, of an odd number the later half being the longer one.
    opt_in : sequence of str
        Sensitive categories that count all the same, as in :func:`gpuseg.features`.
    state : HabitState, optional
        From :func:`habit_state` of the same ``tx``.

    Returns
    -------
    DataFrame or Table
        One row a customer, ascending by key, of the same kind as :func:`gpuseg.features`; float64 columns, NaN (null)
        where an indicator is not defined.

        =============  ==========================================================================================
        variability    sd / mean of the amounts of purchases; two at least
        persistence    1 - Jensen-Shannon divergence (base 2) between the category shares of the two halves
        burstiness     (sd - mean) / (sd + mean) of the days between visit days; three visit days at least
        diversity      Shannon entropy of the spend over categories / ln C, C = categories that count
        turnover       1 - Jaccard index of the categories of the two halves
        weekend_share  purchases on Saturday or Sunday / purchases
        night_share    purchases from 22:00 to 06:00 / purchases with a time of day; midnight sharp is none
        =============  ==========================================================================================

    Raises
    ------
    InputError
        ``tx`` is something else, nobody bought anything, ``middle`` is no day, or ``opt_in`` is unknown.
    RangeError
        A purchase above 2**31 minor units.
    SchemaError
        A Dask source has problems; raised when the result is computed.

    Notes
    -----
    A purchase is a line with an amount above 0. Persistence and turnover need purchases that count in both halves;
    without a category column they and diversity are NaN.

    References
    ----------
    N. Tovanich, S. Centellegher, N. Bennacer Seghouani, J. Gladstone, S. Matz, B. Lepri. Inferring psychological traits
    from spending categories and dynamic consumption patterns. EPJ Data Science 10 (2021). K.-I. Goh, A.-L. Barabasi.
    Burstiness and memory in complex systems. EPL 81 (2008).

    Examples
    --------
    >>> from gpuseg import datasets, read_transactions
    >>> table, _, _ = datasets.make_personality(3, 50, seed=1)
    >>> tx = read_transactions(
    ...     table, customer="customer", time="time", amount="amount", category="mcc", time_zone="UTC", naive="utc"
    ... )
    >>> indicators(tx).column_names[:3]
    ['customer', 'variability', 'persistence']
    """
    if not isinstance(tx, Transactions):
        raise InputError(f"{type(tx).__name__} is no Transactions; make one with gpuseg.read_transactions")
    number = day_number(middle, "middle")
    opted = (opt_in,) if isinstance(opt_in, str) else tuple(opt_in)
    if state is None:
        state = habit_state(tx)
    finish = partial(_table, frames.without_records(tx), number, opted)
    if tx.kind != "dask":
        return frames.as_kind(tx, finish(state))
    return frames.delayed_frame(tx, state, finish, dict.fromkeys(INDICATORS, pa.float64()))


def habit_state(tx: Transactions) -> Any:
    """The mergeable facts behind the indicators.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`.

    Returns
    -------
    HabitState
        Or, for a Dask source, the Dask task that makes it.
    """
    if tx.kind == "dask":
        return frames.delayed_state(tx, partition_habits, merge_habits, tx.time_zone)
    return merge_habits([partition_habits(partition.load(), tx.time_zone) for partition in tx.partitions])


def indicator_values(
    state: HabitState, middle: int | None = None, opt_in: Sequence[str] = ()
) -> dict[str, Float64]:
    """Every indicator of every customer of a state, NaN where it is not defined.

    Parameters
    ----------
    state : HabitState
        Of any records.
    middle : int or None
        First month of the second half, counted from January 1900; None for the middle of those with a purchase.
    opt_in : sequence of str
        Sensitive categories that count all the same.
    """
    base = state.base
    counts = base.total("purchase_lines")
    told = finishing.counted(base, opt_in)
    rhythm = measures.rhythm(base)
    telling = measures.counted_spend(told) > 0
    persistence, turnover = _halves(state, middle, opt_in)
    return {
        "variability": _variability(state),
        "persistence": persistence,
        "burstiness": np.where(rhythm.visit_days >= 3, -rhythm.regularity, np.nan),
        "diversity": np.where(telling & (len(told.categories) > 1), measures.diversity(told), np.nan),
        "turnover": turnover,
        "weekend_share": _share(state.sum_of("weekend"), counts),
        "night_share": _share(state.sum_of("night"), state.sum_of("timed")),
    }


def _table(tx: Transactions, middle: int | None, opt_in: Sequence[str], state: HabitState) -> pa.Table:
    finishing.usable(state.base, tx.where)
    check_opt_in(opt_in, state.base.categories.to_pylist())
    buys = state.base.total("purchase_lines") > 0
    if not buys.any():
        raise finishing.no_purchase(tx, None)
    month = None
    if middle is not None:
        day = dt.date(1970, 1, 1) + dt.timedelta(days=middle)
        month = (day.year - 1900) * 12 + day.month - 1
    left_out = sorted(kept_out(state.base.categories.to_pylist(), opt_in))
    columns = {
        name: pa.array(values[buys], mask=np.isnan(values[buys]))
        for name, values in indicator_values(state, month, opt_in).items()
    }
    facts = {"note": NOT_FOR, "left_out": left_out, "n_without_purchase": int((~buys).sum())}
    return frames.customer_table(tx, state.base.keys.filter(pa.array(buys)), columns, facts)


def _variability(state: HabitState) -> Float64:
    """Sqrt(m Q - S^2) / S, of exact integers."""
    m, total = state.base.total("purchase_lines"), state.base.total("purchases")
    whole = total.astype(object)
    squares = state.sum_of("square_high").astype(object) * (1 << 32) + state.sum_of("square_low").astype(
        object
    )
    spread = np.sqrt((m.astype(object) * squares - whole * whole).astype(np.float64))
    return np.where(m >= 2, spread / np.where(total > 0, total, 1).astype(np.float64), np.nan)


def _halves(state: HabitState, middle: int | None, opt_in: Sequence[str]) -> tuple[Float64, Float64]:
    """Persistence and turnover: category shares, and sets of categories, before and from a month on."""
    n = state.base.n_customers
    nothing = np.full(n, np.nan)
    customer, category, month = state.parts()
    names = state.base.categories.to_pylist()
    out = kept_out(names, opt_in)
    counts = np.array([name not in out for name in names], np.bool_)
    if not len(customer) or not counts.any():
        return nothing, nothing
    border = (int(month.min()) + int(month.max()) + 1) // 2 if middle is None else middle
    use = counts[category]
    cells, early = sum_by(pack(customer, category)[use], np.where(month < border, state.lines, 0)[use])
    _, late = sum_by(pack(customer, category)[use], np.where(month < border, 0, state.lines)[use])
    owner = cells >> 32
    before, after = _added(owner, early, n), _added(owner, late, n)
    known = (before > 0) & (after > 0)
    p, q = _share(early, before[owner]), _share(late, after[owner])
    entropies = [_entropy(owner, part, n) for part in ((p + q) / 2.0, p, q)]
    divergence = (2 * entropies[0] - entropies[1] - entropies[2]).astype(np.float64)
    divergence = divergence * 2.0 ** -(_ENTROPY_BITS + 1) / _LN_2
    both = _added(owner, ((early > 0) & (late > 0)).astype(np.int64), n)
    either = _added(owner, np.ones(len(owner), np.int64), n)
    persistence = 1.0 - np.minimum(np.maximum(divergence, 0.0), 1.0)
    return np.where(known, persistence, np.nan), np.where(known, 1.0 - _share(both, either), np.nan)


def _entropy(owner: Int64, p: Float64, n: int) -> Int64:
    """Sum of -p ln p of each customer, in units of 2**-44; no order of summation. NaN counts as 0."""
    inside = np.where(p > 0.0, p, 1.0)
    return _added(owner, np.rint(-(inside * detmath.log(inside)) * 2.0**_ENTROPY_BITS).astype(np.int64), n)


def _added(owner: Int64, amounts: Int64, n: int) -> Int64:
    sums = np.zeros(n, np.int64)
    np.add.at(sums, owner, amounts)
    return sums


def _share(part: Int64, whole: Int64) -> Float64:
    """Part / whole, NaN where the whole is 0."""
    known = whole > 0
    return np.where(known, part.astype(np.float64) / np.where(known, whole, 1).astype(np.float64), np.nan)
