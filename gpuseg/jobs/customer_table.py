"""A job's table of customers (jobs; called by run and assign): what customers are, one row each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.attribute_encoding import AttributeRule
from gpuseg.customers.attributes import AttributeValues, attributes_of_table
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.reader import Erased
from gpuseg.customers.reading.sources import column_names, open_source
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.errors import InputError
from gpuseg.jobs.declared.job_file import JobFile, job_words
from gpuseg.jobs.declared.job_problems import nearest
from gpuseg.jobs.declared.job_sections import Column, Constant
from gpuseg.jobs.joining import keys_like

logger = logging.getLogger("gpuseg.jobs")


def attribute_rules(job: JobFile) -> tuple[AttributeRule, ...]:
    """What a job declares of its attributes, in the order of its columns."""
    return tuple(_rule(name, job.column(name)) for name in job.read_attributes())


def _rule(name: str, column: Column) -> AttributeRule:
    missing, constant = column.missing, None
    if isinstance(missing, Constant):
        given = missing.constant
        constant = str(given).lower() if isinstance(given, bool) else given
        missing = "constant"  # type: ignore[assignment]
    return AttributeRule(
        name=name,
        builds=column.use == "build",
        kind=column.kind,
        missing=str(missing),
        constant=float(constant) if isinstance(constant, int) else constant,
        log=column.log,
    )


def table_record(job: JobFile) -> dict[str, Any] | None:
    """How the table of customers is read, for those to be assigned later; None where no attribute comes from it."""
    if job.customers is None:
        return None
    names = [name for name in job.read_attributes() if name in job.columns_of_customers()]
    csv = job.customers.source.csv
    return {
        "customer": job.customers.customer,
        "names": names,
        "csv": None if csv is None else csv.model_dump(mode="json"),
        "consent": job.consent.column if job.consent_is_in_customers() else None,
    }


def read_customers(job: JobFile, tx: Transactions, erased: Erased | None = None) -> AttributeValues | None:
    """What the job's table of customers says; None where the job has none.

    Parameters
    ----------
    job : JobFile
        The job.
    tx : Transactions
        Its records.
    erased : callable, optional
        Says of customers' keys who was erased: their rows are not looked at.

    Raises
    ------
    InputError
        The table cannot be used: a missing column, contradicting rows, keys of another kind.
    """
    record = table_record(job)
    if job.customers is None or record is None:
        return None
    with job_words("customers.source"):
        return read_table(
            job.locate(job.customers.source.path), record, tx, job.dialect_of(job.customers.source), erased
        )


def read_table(
    path: str,
    record: Mapping[str, Any],
    tx: Transactions,
    dialect: CsvDialect | None,
    erased: Erased | None = None,
) -> AttributeValues:
    """What a table of customers says.

    Parameters
    ----------
    path : str
        Where it is.
    record : mapping
        ``customer`` and ``names``: its columns.
    tx : Transactions
        The records: type of the customers.
    dialect : CsvDialect or None
        How CSV is written.
    erased : callable, optional
        Says of customers' keys who was erased: their rows are not looked at.

    Raises
    ------
    InputError
        The table cannot be used.
    """
    customer, names = str(record["customer"]), list(record["names"])
    known = column_names(path, dialect)
    missing = [name for name in (customer, *names) if name not in known]
    if missing:
        raise InputError(f"{path}: there is no column {missing[0]!r}; {nearest(missing[0], known)}")
    wanted = list(dict.fromkeys([customer, *names]))
    source = open_source(path, wanted, dialect)
    pieces = [raw.table for part in source.parts for raw in part.read(wanted)]
    table = pa.concat_tables(pieces, promote_options="permissive")
    keys = keys_like(table[customer], path, customer, tx)
    table = table.set_column(table.column_names.index(customer), customer, keys)
    if erased is not None:
        table = table.filter(pa.array(~erased(keys)))
    found = attributes_of_table(table, customer, names, path, source.dialect if source.as_text else None)
    _say_matches(found, path, tx)
    return found


def _say_matches(found: AttributeValues, path: str, tx: Transactions) -> None:
    seen = pa.chunked_array([part["customer"].unique() for part in tx.tables()]).unique()
    own = seen if tx.customer_type is None else seen.cast(tx.customer_type)
    known = int(pc.sum(pc.is_in(own, value_set=found.keys)).as_py() or 0)
    if not known:
        raise InputError(
            f"{path}: none of its {len(found.keys):,} customers is among the {len(own):,} of the records; is it the "
            "right column?"
        )
    logger.info("%s: %d of %d customers of the records are in it", path, known, len(own))


def dialect_beside(path: Path, record: Mapping[str, Any]) -> CsvDialect | None:
    """How a later table of customers is written, if it is text: as that of the run."""
    csv = record["csv"]
    return CsvDialect(**csv) if csv and path.suffix not in {".parquet", ".pq"} else None


def table_beside(path: Path, record: Mapping[str, Any], tx: Transactions, erased: Erased) -> AttributeValues:
    """What a later table of customers says, but of the erased, read as that of the run was.

    Raises
    ------
    InputError
        The table cannot be used.
    """
    return read_table(str(path), record, tx, dialect_beside(path, record), erased)
