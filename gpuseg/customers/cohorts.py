"""Cohort retention (room ``customers``): who came when, and who was still buying how much later."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers import frames
from gpuseg.customers.activity import CODE_ZERO, NEVER, ActivityState, merge_activities, partition_activity
from gpuseg.customers.features import day_number
from gpuseg.customers.periods import Periods
from gpuseg.customers.reading.records import Transactions
from gpuseg.engines.choose import EngineChoice
from gpuseg.engines.cpu import records as cpu_records
from gpuseg.errors import InputError
from gpuseg.graph.placing import asking, choose_placed, current_client

logger = logging.getLogger("gpuseg.customers")

Float64 = npt.NDArray[np.float64]

MOST_PERIODS = 4096
"""Periods in one table; a triangle has the square of them."""

_EPOCH = dt.date(1970, 1, 1)
_TABLES = ("rates", "counts", "revenue")


@dataclass(frozen=True, eq=False)
class CohortRetention:
    """Retention by period of acquisition and age. Made by :func:`cohort_retention`.

    Rows of the tables are the periods of acquisition, columns ages in periods; NaN where a cell cannot be observed.

    Parameters
    ----------
    counts : ndarray of float64, shape (P, P)
        Customers of the cohort with a purchase at that age; column 0 is the size of the cohort.
    rates : ndarray of float64, shape (P, P)
        ``counts`` over the size of the cohort; NaN also where nobody was acquired.
    revenue : ndarray of float64, shape (P, P)
        Net money (returns subtracted) of the cohort at that age, in units of the currency.
    starts : tuple of date
        First day of each period.
    period, week_start, time_zone : str
        The calendar in which periods were cut.
    coverage : (date, date)
        First and last day that the records cover.
    lookback : int
        Days after the start of coverage in which a customer seen for the first time is not taken for a new one.
    n_customers : int
        Customers with at least one record.
    n_in_cohorts : int
        Customers in the cohorts shown.
    n_already_customers : int
        Customers first seen before the start of coverage + ``lookback``: in no cohort.
    n_incomplete_cohort : int
        Customers acquired in a period of which only a part can be observed: in no cohort.
    n_without_purchase : int
        Customers without a purchase: in no cohort.
    revenue_elsewhere : float
        Net money that is in no cell: of the customers in no cohort, in periods not covered, or before acquisition.
    """

    counts: Float64 = field(repr=False)
    rates: Float64 = field(repr=False)
    revenue: Float64 = field(repr=False)
    starts: tuple[dt.date, ...] = field(repr=False)
    period: str
    week_start: str
    time_zone: str
    coverage: tuple[dt.date, dt.date]
    lookback: int
    n_customers: int
    n_in_cohorts: int
    n_already_customers: int
    n_incomplete_cohort: int
    n_without_purchase: int
    revenue_elsewhere: float

    def to_arrow(self) -> pa.Table:
        """One row a cell, by cohort and then age.

        Returns
        -------
        pyarrow.Table
            ``cohort`` and ``period`` (date32, first days; null past the last period), ``age`` (int32), ``size`` and
            ``active`` (int64), ``rate`` and ``revenue`` (float64). What cannot be observed is null.
        """
        n = len(self.starts)
        cohort, age = np.divmod(np.arange(n * n), max(n, 1))
        sizes = np.repeat(self.counts[:, :1], n, axis=1)
        starts = pa.array(self.starts, pa.date32())
        later = pa.array(cohort + age, mask=cohort + age >= n)

        def whole(values: Float64) -> pa.Array:
            flat = values.reshape(-1)
            return pa.array(np.nan_to_num(flat).astype(np.int64), mask=np.isnan(flat))

        return pa.table(
            {
                "cohort": starts.take(pa.array(cohort)),
                "age": pa.array(age.astype(np.int32)),
                "period": starts.take(later),
                "size": whole(sizes),
                "active": whole(self.counts),
                "rate": pa.array(self.rates.reshape(-1), from_pandas=True),
                "revenue": pa.array(self.revenue.reshape(-1), from_pandas=True),
            }
        )

    def to_pandas(self, table: str = "rates") -> Any:
        """One table, cohorts by ages.

        Parameters
        ----------
        table : {"rates", "counts", "revenue"}, default "rates"
            Which one.

        Returns
        -------
        pandas.DataFrame
            Index ``cohort`` (first days), columns ``age``.

        Raises
        ------
        InputError
            There is no such table.
        """
        import pandas as pd

        if table not in _TABLES:
            raise InputError(f"table={table!r} is not known; use one of {', '.join(_TABLES)}")
        index = pd.DatetimeIndex(np.array(self.starts, "datetime64[s]"), name="cohort")
        columns = pd.Index(np.arange(len(self.starts)), name="age")
        return pd.DataFrame(getattr(self, table).copy(), index=index, columns=columns)


def cohort_retention(
    tx: Transactions,
    period: str = "month",
    coverage: tuple[str | dt.date, str | dt.date] | None = None,
    lookback: int | dt.timedelta | None = None,
    *,
    week_start: str = "monday",
    engine: str = "auto",
) -> CohortRetention:
    """Retention of customers by period of their first purchase.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`. A Dask source is computed now.
    period : {"day", "week", "month", "quarter"}, default "month"
        Length of a period, in the calendar of ``tx``.
    coverage : (str or date, str or date), optional
        First and last local day that the records cover completely. A period that is not wholly covered cannot be
        observed: neither the cohort acquired then nor the activity of others. Default: the first to the last *period*
        with a record.
    lookback : int (days) or timedelta, optional
        Customers first seen within so many days of the start of coverage count as already customers, in no cohort:
        records rarely begin when the customers do. A cohort whose period lies partly there cannot be observed.
        Default: 0.
    week_start : str, default "monday"
        First day of a week.
    engine : {"auto", "cpu", "cuda"}, default "auto"
        Who computes; the answer is the same.

    Returns
    -------
    CohortRetention
        Tables of counts, rates and revenue, and the customers in no cohort by reason.

    Raises
    ------
    InputError
        An option has no such value; coverage or lookback leave no cohort; there are more than 4096 periods.
    SchemaError
        A Dask source has problems.
    EngineUnavailableError
        If the engine asked for cannot run here.

    Notes
    -----
    A customer is active in a period with at least one purchase (a line with an amount above 0) there. This is
    exact-period retention: active at age a, whether or not before. Revenue is net: returns are subtracted in the
    period in which they happened. All sums are of integers, so no split or order of the records matters.

    Examples
    --------
    >>> from gpuseg import datasets, read_transactions
    >>> table, _ = datasets.make_transactions(40, seed=1)
    >>> tx = read_transactions(table, customer="customer", time="time", amount="amount", time_zone="Europe/Paris")
    >>> kept = cohort_retention(tx, period="quarter")
    >>> kept.counts[:2].tolist()
    [[40.0, 40.0, 40.0, 40.0], [0.0, 0.0, 0.0, nan]]
    """
    if not isinstance(tx, Transactions):
        raise InputError(f"{type(tx).__name__} is no Transactions; make one with gpuseg.read_transactions")
    periods = Periods(period, week_start)
    periods.check()
    days = _coverage_days(coverage)
    wait = _lookback_days(lookback)
    choice = choose_placed(engine, None, current_client() if tx.kind == "dask" else None)
    if tx.kind == "dask":
        with asking(choice):
            delayed = frames.delayed_state(tx, partition_activity, merge_activities, periods, choice)
        state = delayed.compute()
    else:
        state = merge_activities(
            [partition_activity(partition.load(), periods, choice) for partition in tx.partitions]
        )
    state.audit.require_usable(tx.where)
    return _finish(tx, state, periods, _window(state, periods, days, wait), choice.on_driver())


@dataclass(frozen=True)
class _Window:
    """What can be observed: days ``start`` to ``end``, cohorts from day ``new_from``, periods ``first`` to ``last``."""

    start: int
    end: int
    new_from: int
    first: int
    last: int


def _coverage_days(coverage: Any) -> tuple[int, int] | None:
    if coverage is None:
        return None
    if not isinstance(coverage, (tuple, list)) or len(coverage) != 2:
        raise InputError(f"coverage={coverage!r} is not a pair of days; give (start, end)")
    start, end = (day_number(day, "coverage") for day in coverage)
    if start is None or end is None or start > end:
        raise InputError(f"coverage={coverage!r}: give a start and an end that is not before it")
    return start, end


def _lookback_days(lookback: Any) -> int:
    if isinstance(lookback, dt.timedelta) and lookback % dt.timedelta(days=1) == dt.timedelta(0):
        lookback = lookback.days
    if lookback is None:
        return 0
    if isinstance(lookback, bool) or not isinstance(lookback, int) or lookback < 0:
        raise InputError(f"lookback={lookback!r} is not a number of days, 0 or more")
    return lookback


def _window(state: ActivityState, periods: Periods, coverage: tuple[int, int] | None, wait: int) -> _Window:
    seen = state.audit.days
    assert seen is not None  # require_usable: at least one record
    first, last = periods.code(seen[0]), periods.code(seen[1])
    start, end = coverage or (periods.first_day(first), periods.first_day(last + 1) - 1)
    first, last = min(first, periods.code(start)), max(last, periods.code(end))
    if last - first >= MOST_PERIODS:
        raise InputError(
            f"{last - first + 1:,} periods of one {periods.period} are more than {MOST_PERIODS:,}; use a longer period"
        )
    window = _Window(start, end, start + wait, first, last)
    if not any(_whole_cohorts(window, periods)):
        raise InputError(
            f"no whole {periods.period} lies between {_date(window.new_from)} (start of coverage and {wait} days of "
            f"lookback) and {_date(end)}, so there is no cohort to follow; use a shorter lookback or period"
        )
    return window


def _whole_periods(window: _Window, periods: Periods) -> npt.NDArray[np.bool_]:
    edges = [periods.first_day(code) for code in range(window.first, window.last + 2)]
    starts, stops = np.array(edges[:-1]), np.array(edges[1:])
    return (starts >= window.start) & (stops - 1 <= window.end)


def _whole_cohorts(window: _Window, periods: Periods) -> npt.NDArray[np.bool_]:
    starts = np.array([periods.first_day(code) for code in range(window.first, window.last + 1)])
    return _whole_periods(window, periods) & (starts >= window.new_from)


def _finish(
    tx: Transactions, state: ActivityState, periods: Periods, window: _Window, choice: EngineChoice
) -> CohortRetention:
    engine = choice.build()
    base = window.first // cpu_records.WORD * cpu_records.WORD
    offset, n = window.first - base, window.last - window.first + 1
    bits = state.placed(base, max(cpu_records.words_for(offset + n), _words_needed(state, base)))
    acquired = state.first_day < NEVER
    already = acquired & (state.first_day < window.new_from)
    cohort = np.where(acquired, periods.codes(np.where(acquired, state.first_day, 0)) - base, -1).astype(
        np.int32
    )
    cohort[already] = -1
    counts = np.zeros((offset + n, offset + n), np.int64)
    engine.triangle(bits, cohort, counts)
    money = np.zeros_like(counts)
    period = ((state.pairs & 0xFFFFFFFF) - CODE_ZERO - base).astype(np.int32)
    engine.revenue(state.pairs >> 32, period, state.money, cohort, money)

    whole = _whole_cohorts(window, periods)
    seen = _observable(whole, _whole_periods(window, periods))
    size = counts[offset:, 0]
    active = np.where(seen, counts[offset:, :n].astype(np.float64), np.nan)
    unit = float(10**tx.minor_units)
    cents = money[offset:, :n]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = active / size.astype(np.float64)[:, None]
    elsewhere = int(state.money.sum()) - int(cents[seen].sum())
    result = CohortRetention(
        counts=active,
        rates=rates,
        revenue=np.where(seen, cents.astype(np.float64) / unit, np.nan),
        starts=tuple(_day(periods.first_day(code)) for code in range(window.first, window.last + 1)),
        period=periods.period,
        week_start=periods.week_start,
        time_zone=tx.time_zone,
        coverage=(_day(window.start), _day(window.end)),
        lookback=window.new_from - window.start,
        n_customers=state.n_customers,
        n_in_cohorts=int(size[whole].sum()),
        n_already_customers=int(np.count_nonzero(already)),
        n_incomplete_cohort=int(size[~whole].sum()),
        n_without_purchase=int(np.count_nonzero(~acquired)),
        revenue_elsewhere=elsewhere / unit,
    )
    _log(tx.where, result)
    return result


def _words_needed(state: ActivityState, base: int) -> int:
    return (state.base - base) // cpu_records.WORD + state.bits.shape[1] if state.bits.shape[1] else 0


def _observable(
    whole_cohorts: npt.NDArray[np.bool_], whole_periods: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    n = len(whole_periods)
    later = np.arange(n)[:, None] + np.arange(n)[None, :]
    return np.asarray(whole_cohorts[:, None] & np.append(whole_periods, False)[np.minimum(later, n)])


def _log(where: str, result: CohortRetention) -> None:
    outside = (
        (result.n_already_customers, "were customers already (first seen before coverage and lookback)"),
        (result.n_incomplete_cohort, f"came in a {result.period} that is not wholly covered"),
        (result.n_without_purchase, "have no purchase"),
    )
    for count, why in outside:
        if count:
            logger.info(
                "%s: %d of %d customers are in no cohort: they %s", where, count, result.n_customers, why
            )


def _day(day: int) -> dt.date:
    return _EPOCH + dt.timedelta(days=day)


def _date(day: int) -> str:
    return _day(day).isoformat()
