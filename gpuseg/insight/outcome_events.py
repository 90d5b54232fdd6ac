"""Who was contacted in a window and who had the outcome there (room ``insight``; jobs call it), from Arrow tables.

The window lies after everything that built the segments. Whoever had the outcome without being contacted is counted
and stays out of the rates.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.features import day_number
from gpuseg.customers.reading.local_time import check_zone
from gpuseg.errors import InputError
from gpuseg.insight.words import format_day

logger = logging.getLogger("gpuseg.insight")

Flags = npt.NDArray[np.bool_]
Window = tuple[str | dt.date, str | dt.date]

_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Outcome:
    """Who was contacted in a window, and who had the outcome in it.

    Parameters
    ----------
    window : (date, date)
        First and last local day, both included.
    contacted : pyarrow.Array or None
        Customers, distinct; None where nothing is known of contacts, and every customer counts.
    happened : pyarrow.Array
        Customers, distinct.
    n_not_contacted : int
        Customers who had the outcome though nobody is known to have contacted them; no rate counts them.
    """

    window: tuple[dt.date, dt.date]
    contacted: pa.Array | None
    happened: pa.Array
    n_not_contacted: int

    def flags(self, keys: Any) -> tuple[Flags | None, Flags]:
        """Whether each customer was contacted, and whether each had the outcome.

        Parameters
        ----------
        keys : pyarrow.Array, ChunkedArray or sequence, n customers
            Of the type of the customers here.

        Returns
        -------
        contacted, happened : ndarray of bool, shape (n,)
            ``contacted`` is None where nothing is known of contacts.

        Raises
        ------
        InputError
            None of the customers contacted is among them, or the types differ.
        """
        given = keys if isinstance(keys, (pa.Array, pa.ChunkedArray)) else pa.array(keys)
        _require_one_type(given.type, "here", self.happened.type, "among those with the outcome")
        happened = _is_in(given, self.happened)
        if self.contacted is None:
            return None, happened
        contacted = _is_in(given, self.contacted)
        if not contacted.any():
            raise InputError(
                f"none of the {len(self.contacted):,} customers contacted is among the {len(given):,} that have "
                "features; check that both tables name customers alike"
            )
        return contacted, happened

    @property
    def words(self) -> str:
        """The window in words."""
        return _words(self.window)


def read_outcome(
    events: pa.Table,
    contacts: pa.Table | None = None,
    *,
    window: Window,
    customer: str,
    event_time: str,
    contact_start: str | None = None,
    contact_end: str | None = None,
    contact_customer: str | None = None,
    coverage: Window | None = None,
    features_until: str | dt.date | None = None,
    time_zone: str | None = None,
) -> Outcome:
    """Find who was contacted in a window and who had the outcome in it.

    Parameters
    ----------
    events : pyarrow.Table
        A row an outcome: customer and time. Several of one customer count once.
    contacts : pyarrow.Table, optional
        A row a contact: customer, and when it began and ended. A contact whose period overlaps the window counts.
        Without it every customer counts, contacted or not.
    window : (first, last)
        Local days ("YYYY-MM-DD" or date), both included.
    customer : str
        Column of the customer in ``events`` (and in ``contacts``, unless ``contact_customer`` says otherwise).
    event_time : str
        Column of dates or timestamps in ``events``.
    contact_start : str, optional
        Needed with ``contacts``: column of dates or timestamps in ``contacts``.
    contact_end : str, optional
        The same for the end; default: a contact lasts for the day of its start.
    contact_customer : str, optional
        Column of the customer in ``contacts``.
    coverage : (first, last), optional
        Local days that the events cover completely; the window must lie within. Default: from the first event to the
        last, and the window must overlap it.
    features_until : str or date, optional
        Last day that the features know; the window must begin after it.
    time_zone : str, optional
        The calendar in which timestamps *with* a zone fall on days; others show the local day already.

    Returns
    -------
    Outcome
        The customers.

    Raises
    ------
    InputError
        A reversed window, one outside the data or not after the features; a column that is missing, is no time or has
        empty cells; a window in which nobody was contacted, or in which nobody or everybody of those contacted had the
        outcome.
    """
    if time_zone is not None:
        check_zone(time_zone)
    first, last = _days(window, "window")
    _require_later(first, features_until)
    event_days = _column_days(events, event_time, "the outcome events", time_zone)
    _require_covered(first, last, event_days, coverage)
    inside = (event_days >= first) & (event_days <= last)
    happened = _customers(events, customer, "the outcome events", inside)
    days = (_date(first), _date(last))
    if contacts is None:
        if not len(happened):
            raise InputError(
                f"nobody had the outcome from {_words(days)}; it separates nothing: choose another"
            )
        return Outcome(days, None, happened, 0)
    if contact_start is None:
        raise InputError("contacts need contact_start=, the column that says when a contact began")
    overlaps = _overlaps(contacts, contact_start, contact_end, time_zone, first, last)
    contacted = _customers(contacts, contact_customer or customer, "the contacts", overlaps)
    _require_one_type(contacted.type, "in the contacts", happened.type, "in the outcome events")
    both = int(np.count_nonzero(_is_in(happened, contacted)))
    _require_some(len(contacted), both, _words(days))
    if len(happened) > both:
        logger.info("%d customers had the outcome without a known contact", len(happened) - both)
    return Outcome(days, contacted, happened, len(happened) - both)


def _overlaps(
    contacts: pa.Table, start: str, end: str | None, time_zone: str | None, first: int, last: int
) -> Flags:
    """Whether each contact's period overlaps the window."""
    starts = _column_days(contacts, start, "the contacts", time_zone)
    ends = starts if end is None else _column_days(contacts, end, "the contacts", time_zone)
    reversed_rows = int(np.count_nonzero(ends < starts))
    if reversed_rows:
        raise InputError(f"the contacts: {reversed_rows:,} rows end before they start; mend or drop them")
    return np.asarray((starts <= last) & (ends >= first))


def _require_one_type(first: pa.DataType, here: str, second: pa.DataType, there: str) -> None:
    if pa.types.is_integer(first) != pa.types.is_integer(second):
        raise InputError(f"customers are {first} {here} and {second} {there}; give both one type")


def _days(window: Any, name: str) -> tuple[int, int]:
    if isinstance(window, str) or len(window) != 2:
        raise InputError(f"{name}={window!r} is no pair of days; give (first, last)")
    first, last = (day_number(day, name) for day in window)
    if first is None or last is None:
        raise InputError(f"{name}={window!r} lacks a day; give (first, last)")
    if last < first:
        raise InputError(
            f"{name}: it ends ({_date(last)}) before it starts ({_date(first)}); swap the two days"
        )
    return first, last


def _require_later(first: int, features_until: str | dt.date | None) -> None:
    until = day_number(features_until, "features_until")
    if until is not None and first <= until:
        raise InputError(
            f"the outcome window starts on {_date(first)}, but the features know everything up to {_date(until)}; "
            "start it later, or the features would know the outcome"
        )


def _require_covered(first: int, last: int, days: npt.NDArray[np.int64], coverage: Window | None) -> None:
    if coverage is not None:
        start, stop = _days(coverage, "coverage")
        outside = first < start or last > stop
    else:
        start, stop = int(days.min()), int(days.max())
        outside = first > stop or last < start
    if outside:
        raise InputError(
            f"the outcome window {_date(first)} to {_date(last)} lies outside the data, which cover {_date(start)} to "
            f"{_date(stop)}; choose days within them"
        )


def _require_some(n_contacted: int, n_happened: int, words: str) -> None:
    if not n_contacted:
        raise InputError(f"nobody was contacted from {words}; choose another window or other contacts")
    if not n_happened:
        raise InputError(
            f"none of the {n_contacted:,} customers contacted from {words} had the outcome; an outcome that nobody has "
            "separates nothing: choose another"
        )
    if n_happened == n_contacted:
        raise InputError(
            f"all {n_contacted:,} customers contacted from {words} had the outcome; an outcome that everybody has "
            "separates nothing: choose another"
        )


def _column(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    if table.column_names.count(name) != 1:
        raise InputError(f"{where} have no single column {name!r}; they have {', '.join(table.column_names)}")
    if not len(table):
        raise InputError(f"{where} have no rows; give at least one")
    column = table[name]
    if column.null_count:
        raise InputError(
            f"{where}: {column.null_count:,} cells of {name!r} are empty; fill or drop those rows"
        )
    return column


def _column_days(table: pa.Table, name: str, where: str, time_zone: str | None) -> npt.NDArray[np.int64]:
    """Local days, counted from 1970-01-01."""
    column = _column(table, name, where)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = pc.local_timestamp(column.cast(pa.timestamp("us", time_zone or column.type.tz)))
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        raise InputError(f"{where}: {name!r} is {column.type}, not dates or times; convert it first")
    # Down to the day, before 1970 too.
    days = pc.floor_temporal(column, unit="day").cast(pa.date32()).cast(pa.int32())
    return np.asarray(days.to_numpy()).astype(np.int64)


def _customers(table: pa.Table, name: str, where: str, chosen: Flags) -> pa.Array:
    column = _column(table, name, where)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_string())
    else:
        raise InputError(f"{where}: customers in {name!r} are {column.type}; they must be integers or text")
    found = pc.unique(column.filter(pa.array(chosen)))
    return found.take(pc.sort_indices(found))


def _is_in(keys: Any, wanted: pa.Array) -> Flags:
    flags = pc.is_in(keys.cast(wanted.type), value_set=wanted)
    return np.asarray(
        flags.to_numpy(zero_copy_only=False) if isinstance(flags, pa.Array) else flags.to_numpy()
    )


def _words(window: tuple[dt.date, dt.date]) -> str:
    return f"{format_day(window[0])} to {format_day(window[1])}"


def _date(day: int) -> dt.date:
    return _EPOCH + dt.timedelta(days=day)
