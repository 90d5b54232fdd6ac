"""Segments for new customers (jobs; for ``gpuseg assign``): a kept model applied to a file of records or features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.customers.attributes import AttributeValues
from gpuseg.customers.outliers import OUTCOMES, OutlierRule
from gpuseg.customers.transactions import Transactions, read_transactions
from gpuseg.errors import InputError, SourceError
from gpuseg.insight.model import MARGIN, NOVELTY, SegmentModel
from gpuseg.insight.model_files import FOLDER, RECORD, load_model
from gpuseg.jobs.customer_table import table_beside
from gpuseg.jobs.formats import KINDS, table_bytes
from gpuseg.jobs.job_list import known_to
from gpuseg.jobs.one_file import refuse_existing, write_new_file
from gpuseg.jobs.suppression import Suppression


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
    """

    path: Path
    source: str
    sizes: dict[str, int]
    novel: int
    erased: int
    outliers: int = 0
    rule: OutlierRule | None = None

    @property
    def summary(self) -> str:
        """What is in the file; a line each."""
        total = sum(self.sizes.values())
        lines = [
            f"{self.path}: {total:,} customers assigned from {self.source}. The file holds customer ids."
        ]
        lines += [f"  {count:>9,}  {name}" for name, count in self.sizes.items()]
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
        tx = _transactions(source, loaded, gone)
        table, told = loaded.assign(tx, as_of, _attributes(customers, loaded, tx, gone)), "transactions"
        erased = tx.n_erased
    else:
        table, told = loaded.assign(built, as_of), "features"
        blocked = gone.blocked(table.column(0))
        table, erased = table.filter(pa.array(~blocked)), int(np.count_nonzero(blocked))
    write_new_file(out, table_bytes(table, kind))
    novel = pc.sum(table["is_novel"]).as_py() or 0
    outliers = pc.sum(table["is_outlier"]).as_py() or 0
    rule = None if loaded.outliers is None else loaded.outliers.rule
    return Assigned(out, told, _sizes(table, loaded), int(novel), erased, int(outliers), rule)


def _features(source: Path, model: SegmentModel) -> pa.Table | None:
    """The table of a Parquet file that has every feature of the model; None for anything else."""
    if not source.is_file() or source.suffix not in {".parquet", ".pq"}:
        return None
    try:
        names = {*pq.read_schema(source).names}
        return pq.read_table(source) if {*model.feature_names} <= names else None
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{source} cannot be read as Parquet ({error}); write it again") from error


def _transactions(source: Path, model: SegmentModel, gone: Suppression) -> Transactions:
    """The records as the model's job read its own, but those of erased customers."""
    recipe = model.recipe
    options: dict[str, Any] = {**recipe.roles, **recipe.reading}
    if gone:
        options["erased"] = gone.blocked
    return read_transactions(
        str(source),
        time_zone=recipe.time_zone,
        minor_units=recipe.minor_units,
        attributes=recipe.attributes_of_records,
        **options,
    )


def _attributes(
    customers: Path | None, model: SegmentModel, tx: Transactions, gone: Suppression
) -> AttributeValues | None:
    recipe = model.recipe
    beside = {found.name for found in recipe.attributes} - {*recipe.attributes_of_records}
    record = recipe.attribute_table
    if record is None or not beside:
        if customers is not None:
            raise InputError(f"{customers}: the model was made without a table of customers; leave it out")
        return None
    names = [name for name in record["names"] if name in beside]
    if customers is None:
        raise InputError(
            f"the model was made with a table of customers ({record['customer']}, {', '.join(names)}); give one: "
            "--customers FILE"
        )
    return table_beside(customers, {**record, "names": names}, tx, gone.blocked)


def _sizes(table: pa.Table, model: SegmentModel) -> dict[str, int]:
    counted = pc.value_counts(table["segment_name"]).to_pylist()
    found = {entry["values"]: entry["counts"] for entry in counted}
    return {name: found[name] for name in model.names.values() if name in found}
