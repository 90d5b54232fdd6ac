"""Outcomes and contacts of a job (jobs; called by run): tables of events, read as their source is declared."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.reader import Erased
from gpuseg.customers.reading.sources import column_names, open_source
from gpuseg.customers.reading.texts import times_from_text
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.customers.reading.values import times_out_of_range
from gpuseg.errors import InputError
from gpuseg.insight.answer import Asked
from gpuseg.insight.outcome import read_outcome
from gpuseg.jobs.declared.job_file import JobFile, job_words
from gpuseg.jobs.declared.job_problems import nearest
from gpuseg.jobs.declared.job_sections import ContactFilter, Outcome
from gpuseg.jobs.joining import keys_like


def read_asked(job: JobFile, tx: Transactions, erased: Erased | None = None) -> Asked | None:
    """The outcome of a job's decision; None where it has none.

    Parameters
    ----------
    job : JobFile
        The job.
    tx : Transactions
        Its records: calendar, and type of the customers.
    erased : callable, optional
        Says of customers' keys who was erased: their events count nowhere.

    Raises
    ------
    InputError
        The events cannot be used: a missing column, times or customers of another kind, a window outside the data, an
        outcome that nobody or everybody has.
    """
    case = job.use_case
    if case is None or case.outcome is None or case.outcome_window is None:
        return None
    found: dict[str, Any] = {}
    given = case.contact_filter
    if given is not None:
        found = {
            "contacts": _events(job, given, tx, erased),
            "contact_customer": given.customer,
            "contact_start": given.start or given.time,
            "contact_end": given.end,
        }
    found |= {
        "events": _events(job, case.outcome, tx, erased),
        "customer": case.outcome.customer,
        "event_time": case.outcome.time,
        "features_until": job.as_of,
        "time_zone": tx.time_zone,
    }
    validation = None
    if case.validation_window is not None:
        try:
            validation = read_outcome(window=case.validation_window, **found)
        except InputError as error:
            said = str(error).replace("the outcome window", "the window")
            raise InputError(f"use_case.validation_window: {said}") from error
    outcome = read_outcome(window=case.outcome_window, **found)
    return Asked(outcome, did=case.outcome.name, validation=validation)


def _events(
    job: JobFile, events: Outcome | ContactFilter, tx: Transactions, erased: Erased | None
) -> pa.Table:
    """Customer and times of the events that the job's filter leaves."""
    path, declared = job.locate(events.source.path), job.dialect_of(events.source)
    times = list(filter(None, _times(events)))
    wanted = list(dict.fromkeys([events.customer, *times, *events.filter]))
    with job_words(place_of(events)):
        known = column_names(path, declared)
        missing = [name for name in wanted if name not in known]
        if missing:
            raise InputError(f"{path}: there is no column {missing[0]!r}; {nearest(missing[0], known)}")
        source = open_source(path, wanted, declared)
        pieces = [raw.table for part in source.parts for raw in part.read(wanted)]
    table = pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
    for name, value in events.filter.items():
        allowed = [_text(one) for one in _several(value)]
        table = table.filter(pc.is_in(_as_text(table[name]), value_set=pa.array(allowed, pa.large_string())))
    if not len(table):
        raise InputError(
            f"{path}: no row is left" + (f" by the filter {events.filter}" if events.filter else "")
        )
    columns = {events.customer: keys_like(table[events.customer], path, events.customer, tx)}
    for name in times:
        columns[name] = _clock(table[name], path, name, source.dialect, job)
        if name != open_end(events):
            _require_real(columns[name], path, name)
    found = pa.table(columns)
    return found if erased is None else found.filter(pa.array(~erased(found[events.customer])))


def _times(events: Outcome | ContactFilter) -> tuple[str | None, ...]:
    return (events.time,) if isinstance(events, Outcome) else (events.time, events.start, events.end)


def place_of(events: Outcome | ContactFilter) -> str:
    """Where the job file says how these events are to be read."""
    return "use_case.outcome.source" if isinstance(events, Outcome) else "use_case.contact_filter.source"


def open_end(events: Outcome | ContactFilter) -> str | None:
    """The column in which 9999-12-31 means that there is no end yet."""
    return events.end if isinstance(events, ContactFilter) else None


def _require_real(column: pa.ChunkedArray, path: str, name: str) -> None:
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return  # told by who counts days
    count = times_out_of_range(column.combine_chunks())
    if count:
        rows = f"{count:,} of {len(column):,} rows"
        raise InputError(
            f"{path}: column {name!r} lies before 1900 or after 2199 in {rows}; mend or drop them"
        )


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string())


def _clock(
    column: pa.ChunkedArray, path: str, name: str, dialect: CsvDialect, job: JobFile
) -> pa.ChunkedArray:
    """Times of events: text read as declared, instants in UTC given their zone; days stay days."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = column.cast(pa.large_string()).combine_chunks()
        stamps, bad = times_from_text(text, dialect)
        count = sum(int(mask.sum()) for mask in bad.values()) + text.null_count
        if count:
            raise InputError(
                f"{path}: column {name!r} holds no time in {count:,} of {len(text):,} rows; write it as 2024-12-31, or "
                "declare day_first or time_format in its source's csv section"
            )
        column = pa.chunked_array([stamps])
    naive = pa.types.is_timestamp(column.type) and column.type.tz is None
    if not naive or job.naive == "local" or job.time_zone is None:
        return column
    days_only = pc.all(pc.equal(column, pc.floor_temporal(column, unit="day"))).as_py()
    return column if days_only else pc.assume_timezone(column, "UTC")
