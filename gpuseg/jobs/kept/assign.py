"""Segments for new customers (jobs; for ``gpuseg assign``): a kept model applied to a file of records or features."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.customers.attributes import AttributeValues
from gpuseg.customers.outliers import OUTCOMES, OutlierRule
from gpuseg.customers.reading.transactions import Transactions, read_transactions
from gpuseg.errors import InputError, SourceError
from gpuseg.insight.model import MARGIN, NOVELTY, SegmentModel
from gpuseg.insight.model_files import FOLDER, RECORD, load_model
from gpuseg.jobs.consents import consented_by_table
from gpuseg.jobs.customer_table import dialect_beside, table_beside
from gpuseg.jobs.erasing.job_list import known_to
from gpuseg.jobs.erasing.suppression import Suppression
from gpuseg.jobs.kept.formats import KINDS, table_bytes
from gpuseg.jobs.kept.one_file import refuse_existing, write_new_file


@dataclass(frozen=True)
class Assigned:
    """What was assigned.

    Parameters
    ----------
    path : Path
        The file.
    source : str
        "transactions" or "features".
    sizes : dict of str to int
        Customers by name of the segment.
    novel, erased : int
        Customers far from all that the model was made of; customers left out because they were erased from the
        model's run, or from another run of its job.
    outliers : int
        Customers beyond the bounds of the model's run.
    rule : OutlierRule or None
        Whose bounds they are, and what became of those customers.
    days : tuple of date and date, or None
        First and last day of the transactions.
    known_until : str
        The last day that the model's run knew.
    """

    path: Path
    source: str
    sizes: dict[str, int]
    novel: int
    erased: int
    outliers: int = 0
    rule: OutlierRule | None = None
    days: tuple[dt.date, dt.date] | None = None
    known_until: str = ""

    @property
    def summary(self) -> str:
        """What is in the file; a line each."""
        total = sum(self.sizes.values())
        lines = [
            f"{self.path}: {total:,} customers assigned from {self.source}. The file holds customer ids."
        ]
        lines += [f"  {count:>9,}  {name}" for name, count in self.sizes.items()]
        if self.days is not None and self.days[0].isoformat() > self.known_until:
            lines.append(
                f"All records lie after {self.known_until}, the last day that the model knew, and only what is in the "
                "file counts: if these customers bought before, give their earlier records too, or they look new."
            )
        if self.novel:
            lines.append(
                f"{self.novel:,} are novel ({NOVELTY.removeprefix('novel: ')}): read them with care."
            )
        if self.outliers and self.rule is not None:
            bound = f"more than {self.rule.words} of a feature"
            lines.append(f"{self.outliers:,} are outliers, {bound}: {OUTCOMES[self.rule.action]}.")
        if self.erased:
            lines.append(f"{self.erased:,} were erased before and are left out.")
        lines.append(f"{MARGIN[:1].upper()}{MARGIN[1:]}.")
        return "\n".join(lines)


def assign_file(
    model: Path, source: Path, out: Path, as_of: str | None = None, customers: Path | None = None
) -> Assigned:
    """Assign the customers of a file and write their segments into a new one.

    Parameters
    ----------
    model : Path
        Folder of a model, or of a run that has one.
    source : Path
        Transactions with the columns that the model was made from, or a Parquet file of features.
    out : Path
        The file to make; its ending says the format: .csv, .parquet or .json.
    as_of : str ("YYYY-MM-DD"), optional
        Last day of transactions that counts.
    customers : Path, optional
        Table of customers, where the model was made with one, with the same columns.

    Returns
    -------
    Assigned

    Raises
    ------
    InputError
        The file does not fit the model, or a format is not known.
    OutputError
        ``out`` exists or cannot be written.
    """
    kind = out.suffix.removeprefix(".")
    if kind not in KINDS:
        raise InputError(f"{out}: the ending says the format; use {', '.join('.' + name for name in KINDS)}")
    refuse_existing(out)
    loaded = load_model(model)
    gone = known_to(model if (model / FOLDER / RECORD).exists() else model.absolute().parent)
    built = _features(source, loaded)
    if built is None:
        beside = _beside(customers, loaded)
        tx = _transactions(source, loaded, gone, beside)
        given = _attributes(loaded, tx, gone, beside)
        table, told = loaded.assign(tx, as_of, given), "transactions"
        erased, days = tx.n_erased, _days(tx)
    else:
        table, told, days = loaded.assign(built, as_of), "features", None
        blocked = gone.blocked(table.column(0))
        table, erased = table.filter(pa.array(~blocked)), int(np.count_nonzero(blocked))
    write_new_file(out, table_bytes(table, kind))
    novel = pc.sum(table["is_novel"]).as_py() or 0
    outliers = pc.sum(table["is_outlier"]).as_py() or 0
    rule = None if loaded.outliers is None else loaded.outliers.rule
    return Assigned(
        out,
        told,
        _sizes(table, loaded),
        int(novel),
        erased,
        int(outliers),
        rule,
        days,
        loaded.recipe.trained_as_of,
    )


def _days(tx: Transactions) -> tuple[dt.date, dt.date] | None:
    """First and last local day of the records."""
    if tx.audit is None or tx.audit.days is None:
        return None
    first, last = (dt.date(1970, 1, 1) + dt.timedelta(day) for day in tx.audit.days)
    return first, last


def _features(source: Path, model: SegmentModel) -> pa.Table | None:
    """The table of a Parquet file that has every feature of the model; None for anything else."""
    if not source.is_file() or source.suffix not in {".parquet", ".pq"}:
        return None
    try:
        names = {*pq.read_schema(source).names}
        return pq.read_table(source) if {*model.feature_names} <= names else None
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{source} cannot be read as Parquet ({error}); write it again") from error


def _transactions(source: Path, model: SegmentModel, gone: Suppression, beside: Path | None) -> Transactions:
    """The records as the model's job read its own: neither of erased customers nor of those who did not agree."""
    recipe = model.recipe
    options: dict[str, Any] = {**recipe.roles, **recipe.reading}
    if gone:
        options["erased"] = gone.blocked
    record = recipe.attribute_table
    if beside is not None and record is not None and record["consent"]:
        dialect = dialect_beside(beside, record)
        options["consented"] = consented_by_table(str(beside), record["customer"], record["consent"], dialect)
    return read_transactions(
        str(source),
        time_zone=recipe.time_zone,
        minor_units=recipe.minor_units,
        attributes=recipe.attributes_of_records,
        **options,
    )


def _beside(customers: Path | None, model: SegmentModel) -> Path | None:
    """The table of customers, given exactly where the model needs one."""
    record = model.recipe.attribute_table
    needed = [] if record is None else [*_names_beside(model), *filter(None, [record["consent"]])]
    if not needed and customers is not None:
        raise InputError(f"{customers}: the model was made without a table of customers; leave it out")
    if record is not None and needed and customers is None:
        raise InputError(
            f"the model was made with a table of customers ({record['customer']}, {', '.join(needed)}); give one: "
            "--customers FILE"
        )
    return customers


def _names_beside(model: SegmentModel) -> list[str]:
    """The attributes that the model takes from a table of customers."""
    of_records = model.recipe.attributes_of_records
    return [found.name for found in model.recipe.attributes if found.name not in of_records]


def _attributes(
    model: SegmentModel, tx: Transactions, gone: Suppression, beside: Path | None
) -> AttributeValues | None:
    record, names = model.recipe.attribute_table, _names_beside(model)
    if beside is None or record is None or not names:
        return None
    return table_beside(beside, {**record, "names": names}, tx, gone.blocked)


def _sizes(table: pa.Table, model: SegmentModel) -> dict[str, int]:
    counted = pc.value_counts(table["segment_name"]).to_pylist()
    found = {entry["values"]: entry["counts"] for entry in counted}
    return {name: found[name] for name in model.names.values() if name in found}
