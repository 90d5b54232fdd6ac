"""Reading transactions (room ``customers``): from any source to checked, exact, typed records.

:func:`read_transactions` is what users call; :class:`Transactions` is what everything else in this room takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from gpuseg.customers.reading import contents, dask_frames, options
from gpuseg.customers.reading.attribute_columns import attribute_problems, declare_attributes
from gpuseg.customers.reading.audit import ERASED, NOTE, Audit
from gpuseg.customers.reading.consented import ConsentKeys
from gpuseg.customers.reading.dialect import CsvDialect, csv_dialect
from gpuseg.customers.reading.parts import Part, Raw, Source, first_records
from gpuseg.customers.reading.preflight import column_zone, schema_problems, unusable_roles, warn_utc
from gpuseg.customers.reading.reader import Checked, Consented, Erased, Reader
from gpuseg.customers.reading.records import Partition, Transactions
from gpuseg.customers.reading.rejected import RejectedRows
from gpuseg.customers.reading.roles import declare_roles
from gpuseg.customers.reading.sources import is_dask_frame, open_source
from gpuseg.errors import SchemaError

__all__ = ["Transactions", "read_transactions"]

logger = logging.getLogger("gpuseg.customers")


def read_transactions(
    source: Any,
    *,
    customer: str,
    time: str,
    amount: str,
    basket: str | None = None,
    quantity: str | None = None,
    product: str | None = None,
    category: str | None = None,
    discount: str | None = None,
    coupon: str | None = None,
    own_label: str | None = None,
    currency: str | None = None,
    consent: str | None = None,
    time_zone: str | None = None,
    naive: str = "utc",
    minor_units: int = 2,
    on_bad_rows: str = "error",
    csv: CsvDialect | Mapping[str, Any] | None = None,
    amount_of: str = "line",
    attributes: Sequence[str] = (),
    head: int | None = None,
    erased: Erased | None = None,
    consented: Consented | None = None,
) -> Transactions:
    """Read transaction records: one row a line of a receipt, or a row a purchase.

    Parameters
    ----------
    source : path, glob, folder, list of paths, Arrow table, pandas, polars or Dask dataframe
        Parquet or CSV files (``.parquet``, ``.csv``, also compressed), local or through fsspec (``s3://...``). Files
        and frames are read and checked now; a Dask dataframe when a result is computed.
    customer : str
        Column with the key of the customer, whole numbers or text. Kept with its type: 1 and "1" are never merged.
        From CSV, keys are whole numbers only if all are, without leading zeros (007 is text, in all files).
    time : str
        Column with the time of the record: timestamp, with or without a zone, or date.
    amount : str
        Column with the money of the line, in units such as euros or dollars, after discounts. Lines with an amount of
        0 or less are kept and counted (see Notes).
    basket : str, optional
        Column with the number of the receipt; visits are then distinct receipts, else distinct days.
    quantity : str, optional
        Column with the number of pieces (or weight, or volume). Kept, counted where 0 or less; multiplied with nothing
        unless ``amount_of`` says so.
    product : str, optional
        Column with the key of the product.
    category : str, optional
        Column with the name of the spend category; where it is missing the line belongs to the category "unknown".
    discount : str, optional
        Column with the money taken off by the seller, positive, in the units of ``amount``; a missing one is 0.
    coupon : str, optional
        Column with the money paid by coupon, positive; a missing one is 0.
    own_label : str, optional
        Column that says whether the product is of the seller's own label; a missing one is false.
    currency : str, optional
        Column with the currency; two currencies are refused.
    consent : str, optional
        Column that says whether the customer agreed to profiling. Rows where it is not true are left out and counted.
    time_zone : str, optional
        The calendar in which days, weeks and months are counted, such as "America/New_York". Default: the zone of the
        column, or UTC, with one warning, where times carry none.
    naive : {"utc", "local", "error"}, default "utc"
        What times without a zone mean: instants in UTC, or the wall clock of ``time_zone``. It moves the instants;
        ``time_zone`` only decides on which day they fall. "error": they are a problem.
    minor_units : int, default 2
        Decimals of the currency, 0 to 6. Amounts become integers of minor units; one with more decimals is a problem,
        never rounded away. If amounts are in cents already, 0.
    on_bad_rows : {"error", "reject"}, default "error"
        What to do with rows that lack a customer, time or amount, or have one that cannot be real: refuse the table
        with all problems listed, or leave the rows out, counted by reason; ``rejected_rows()`` of the result has them.
    csv : CsvDialect or mapping, optional
        How CSV files are written: ``separator``, ``decimal``, ``thousands``, ``encoding``, ``header``, and
        ``day_first`` or ``time_format``; see :class:`~gpuseg.customers.reading.dialect.CsvDialect`. Default: UTF-8 with
        commas (tabs in ``.tsv``), decimal points and ISO 8601 times. What is in another form is a problem, never a
        guess.
    amount_of : {"line", "piece"}, default "line"
        "piece": ``amount`` holds the price of one piece, and the money of a line is that times its ``quantity``: exact
        for whole numbers of pieces, the nearest minor unit for weights (counted).
    attributes : sequence of str
        Columns that say what customers are (age, region, tariff): text, numbers or flags. They are carried along; a
        column is numbers where all of its values are, without leading zeros. Not for Dask dataframes.
    head : int, optional
        Read only about so many of the first records of each file: to look for problems in a sample.
    erased : callable, optional
        Takes customers' keys, an Arrow array, and returns a mask of those who were erased and must not come back.
        Their rows are left out before anything else is looked at, and counted. Not for Dask.
    consented : callable, optional
        Takes customers' keys and returns a mask of those who agreed to profiling, where a table of customers says so,
        not a column of the records. All other rows are left out, as without ``consent``. Not for Dask.

    Returns
    -------
    Transactions
        The records and what is known of them.

    Raises
    ------
    SchemaError
        Columns or values do not fit their roles; every problem is listed with its count.
    SourceError
        A file is missing, cut off or empty, or no record is left.
    InputError
        An option has no such value.

    Notes
    -----
    Returns and adjustments: a line whose amount is 0 or less stays. It counts in net spend and in revenue, but it is
    no visit, and shares are of lines that are not returns; :func:`gpuseg.customers.features.features` says how.

    Memory: the declared columns of files and frames are held, about 70 bytes a record with all roles; CSV is read in
    blocks, so that its text never is. Larger tables go through Dask.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"who": [1, 1, 2], "at": ["2024-01-01", "2024-02-01", "2024-01-15"], "paid": [9.5, 3.25, 7.0]})
    >>> table = table.set_column(1, "at", table["at"].cast(pa.timestamp("s")))
    >>> tx = read_transactions(table, customer="who", time="at", amount="paid", time_zone="Europe/Paris")
    >>> tx.n_rows, tx.n_rejected
    (3, 0)
    """
    declared = declare_roles(
        customer=customer,
        time=time,
        amount=amount,
        basket=basket,
        quantity=quantity,
        product=product,
        category=category,
        discount=discount,
        coupon=coupon,
        own_label=own_label,
        currency=currency,
        consent=consent,
    )
    reader = Reader(
        declared,
        options.zone_option(time_zone, naive),
        naive,
        options.minor_option(minor_units),
        options.bad_rows_option(on_bad_rows),
        amount_of=options.amount_option(amount_of, declared),
        erased=erased,
        consented=consented,
        attributes=declare_attributes(attributes, declared),
    )
    dialect = None if csv is None else csv_dialect(csv)
    if is_dask_frame(source):
        options.refuse_for_dask(
            csv=csv,
            head=head,
            erased=erased,
            consented=consented,
            naive=naive if naive == "error" else None,
            attributes=attributes or None,
        )
        return dask_frames.read_dask(source, reader, time_zone)
    opened = open_source(source, reader.columns(), dialect)
    return _read_opened(opened if head is None else first_records(opened, head), reader, time_zone)


def _read_opened(source: Source, reader: Reader, time_zone: str | None) -> Transactions:
    schemas = list(dict.fromkeys((part.label, part.schema) for part in source.parts))
    problems = schema_problems(reader.roles, schemas)
    missing = attribute_problems(reader.attributes, schemas)
    problems += missing
    reader = replace(
        reader,
        attributes=() if missing else reader.attributes,
        as_text=source.as_text,
        dialect=source.dialect,
        skip=unusable_roles(reader.roles, schemas),
    )
    columns = reader.columns()
    raws = ((part, raw) for part in source.parts for raw in part.read(columns))
    first = next(raws)
    if time_zone is None:
        reader = replace(reader, time_zone=column_zone(reader.roles, [("", first[1].table.schema)]) or "UTC")
    checked, rejected, consent = _normalised(reader, chain([first], raws))
    audit = _merged(checked)
    problems += audit.problems()
    if reader.naive == "error" and audit.note("time", "taken as UTC"):
        problems.append(_naive_problem(reader.roles.time, audit))
    if problems:
        raise SchemaError(source.where, problems)
    audit.require_usable(source.where)
    n_erased = len(frozenset[str]().union(*(item.erased for item in checked)))
    checked = [replace(item, erased=frozenset()) for item in checked]  # nothing remembers who they were
    if source.as_text:  # whether keys are whole numbers is a question to all parts
        whole = frozenset.intersection(*(item.whole_keys for item in checked if item.audit.n_rows))
        checked = [item.with_whole_keys(whole) for item in checked]
    if reader.attributes:  # and so is whether an attribute is a number
        numeric = frozenset.intersection(*(item.numeric for item in checked if item.audit.n_rows))
        checked = [item.with_attributes(reader.attributes, numeric, source.dialect) for item in checked]
    if time_zone is None and audit.note("time", "taken as UTC"):
        warn_utc(source.where, audit.note("time", "taken as UTC"))
    _log_notes(source.where, audit, n_erased)
    return Transactions(
        partitions=tuple(
            Partition(partial(_same, item)) for item in checked if item.table is not None and len(item.table)
        ),
        roles=reader.roles,
        kind=source.kind,
        where=source.where,
        time_zone=reader.time_zone,
        minor_units=reader.minor_units,
        customer_type=next((item.customer_type for item in checked if item.customer_type is not None), None),
        customer_dtype=source.key_dtype(reader.roles.customer) if source.key_dtype else None,
        audit=audit,
        fingerprint=_contents(checked, audit),
        n_erased=n_erased,
        attributes=reader.attributes,
        rejected=rejected.to_table(),
        consent=None if reader.roles.consent is None and reader.consented is None else consent.counts(),
    )


def _normalised(
    reader: Reader, raws: Iterable[tuple[Part, Raw]]
) -> tuple[list[Checked], RejectedRows, ConsentKeys]:
    """The parts, checked; what is told of rows left out and of consent is gathered on the way."""
    checked = []
    rejected, consent = RejectedRows(tuple(reader.role_columns())), ConsentKeys()
    for part, raw in raws:
        item = replace(reader, collect=rejected.left).normalise(raw)
        rejected = rejected.adding(part.file or part.label, raw.table.num_rows, item.rejected)
        if item.consent is not None:
            consent = consent.merge(item.consent)
        checked.append(replace(item, rejected=None, consent=None))
    return checked, rejected, consent


def _naive_problem(column: str, audit: Audit) -> str:
    naive = audit.note("time", "taken as UTC")
    return (
        f"column {column!r} (time) carries no time zone in {naive:,} of {audit.n_rows:,} rows; "
        "state time_zone, such as 'Europe/Paris', and naive: 'local' if the times show its wall clock, 'utc' if not"
    )


def _merged(checked: Sequence[Checked]) -> Audit:
    audit = Audit()
    for item in checked:
        audit = audit.merge(item.audit)
    return audit


def _same(checked: Checked) -> Checked:
    return checked


def _contents(checked: Sequence[Checked], audit: Audit) -> str:
    digest = (0, 0)
    names: list[str] = []
    for item in checked:
        if item.table is not None:
            digest = contents.merge_digests(digest, contents.table_digest(item.table))
            names = list(item.table.column_names)
    return contents.name_contents(digest, audit.n_rows - audit.n_rejected, names)


def _log_notes(where: str, audit: Audit, n_erased: int) -> None:
    for finding, count in audit.counts(NOTE).items():
        logger.info("%s: %s (%s) %s: %d rows", where, finding.column, finding.role, finding.what, count)
    for reason, count in audit.rejects().items():
        who = "1 customer who was" if n_erased == 1 else f"{n_erased:,} customers who were"
        whose = f"{who} erased" if reason == f"customer {ERASED}" else reason
        logger.warning("%s: %d rows left out: %s", where, count, whose)
