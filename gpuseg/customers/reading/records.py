"""Checked records (room ``customers``): what reading makes, and what everything else in this room takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpuseg.customers.reading.audit import ERASED, NOTE, Audit
from gpuseg.customers.reading.consented import ConsentCounts
from gpuseg.customers.reading.reader import Checked
from gpuseg.customers.reading.roles import Roles


@dataclass(frozen=True)
class Partition:
    """Some of the records, readable again and again.

    Parameters
    ----------
    load : callable
        Returns the records as :class:`~gpuseg.customers.reading.reader.Checked`: normalised, with their audit.
    delayed : object or None
        The same as a Dask task, for Dask sources.
    """

    load: Callable[[], Checked]
    delayed: Any = None


@dataclass(frozen=True)
class Transactions:
    """Checked records and what is known of them. Made by :func:`gpuseg.read_transactions`.

    Records are Arrow tables with one column a role that was declared: ``customer`` and ``basket`` and ``product``
    (int64 or text), ``time`` (timestamp[us, UTC]), ``amount``, ``discount``, ``coupon`` (int64 minor units),
    ``quantity``, ``category`` (dictionary of text), ``own_label`` (bool), and ``day`` (date32, the local calendar day).

    Parameters
    ----------
    partitions : tuple of Partition
        The records. Order and borders never change an answer.
    roles : Roles
        Which column of the source played which role.
    kind : str
        "pandas", "polars", "arrow" or "dask": the kind of frame that results come as.
    where : str
        Words for the source in messages.
    time_zone : str
        The calendar in which days, weeks and months are counted.
    minor_units : int
        Decimals of the currency: an amount is an integer times ``10 ** -minor_units``.
    customer_type : pyarrow.DataType or None
        The type in which customer keys came and in which they are given back.
    customer_dtype : object or None
        The same for pandas.
    audit : Audit or None
        What was found in the records; ``None`` for Dask, whose records are read when a result is computed.
    fingerprint : str
        Names the contents (Dask: the task graph) of the records.
    n_erased : int
        Erased customers whose records were left out.
    attributes : tuple of str
        Columns of the source that say what customers are; ``attribute_X`` (float64 or text) in the records.
    rejected : pyarrow.Table or None
        The rows that were left out and can be mended; ``None`` for Dask. See :meth:`rejected_rows`.
    consent : ConsentCounts or None
        Customers left out, wholly or in part, for want of consent; ``None`` without such a column, and for Dask.

    See Also
    --------
    gpuseg.read_transactions : The only way to make one.
    """

    partitions: tuple[Partition, ...]
    roles: Roles
    kind: str
    where: str
    time_zone: str
    minor_units: int
    customer_type: pa.DataType | None
    customer_dtype: Any
    audit: Audit | None
    fingerprint: str
    n_erased: int = 0
    attributes: tuple[str, ...] = ()
    rejected: pa.Table | None = None
    consent: ConsentCounts | None = None

    @property
    def n_rows(self) -> int | None:
        """Records kept; ``None`` while unknown (Dask)."""
        return None if self.audit is None else self.audit.n_rows - self.audit.n_rejected

    @property
    def n_rejected(self) -> int | None:
        """Records left out for the reasons in :attr:`rejects`; ``None`` while unknown (Dask)."""
        return None if self.audit is None else self.audit.n_rejected

    @property
    def rejects(self) -> dict[str, int] | None:
        """Records left out, by reason (a record may have several); ``None`` while unknown (Dask)."""
        return None if self.audit is None else self.audit.rejects()

    @property
    def n_nonpositive_amount(self) -> int | None:
        """Records kept whose amount is 0 or less: returns and adjustments; ``None`` while unknown (Dask)."""
        return None if self.audit is None else self.audit.note("amount", "zero or negative")

    @property
    def n_nonpositive_quantity(self) -> int | None:
        """Records kept whose quantity is 0 or less; ``None`` while unknown (Dask)."""
        return None if self.audit is None else self.audit.note("quantity", "zero or negative")

    @property
    def n_without_consent(self) -> int | None:
        """Records left out because their ``consent`` is not true; ``None`` while unknown (Dask)."""
        return None if self.audit is None else self.audit.rejects().get("consent not given", 0)

    @property
    def n_rejected_rows(self) -> int | None:
        """Records left out that can be mended: consented, and of nobody erased; ``None`` while unknown (Dask)."""
        if self.audit is None:
            return None
        erased = self.audit.rejects().get(f"customer {ERASED}", 0)
        return self.audit.n_rejected - erased - (self.n_without_consent or 0)

    @property
    def currency(self) -> str | None:
        """Code of the currency, where a column says so."""
        return None if self.audit is None else self.audit.currency()

    def rejected_rows(self) -> Any:
        """The rows that ``on_bad_rows="reject"`` left out, as they came, so that they can be found and mended.

        Returns
        -------
        table of the kind of the source, or None
            In the order of files and rows: ``source_file`` (within the folder that was read; words for a frame),
            ``source_row``, the columns that play a role as text under their own names, and ``reasons`` in the words of
            :attr:`rejects`, separated by "; ". Only the first 100,000; :attr:`n_rejected_rows` counts all. Rows without
            consent, or of erased customers, are not among them. ``None`` for Dask.

        Notes
        -----
        ``source_row`` counts records from 1. In a CSV file the header is none, nor is an empty line, and a field in
        quotes may span several lines: where there is neither, row 1 is line 2 (line 1 if there is no header).
        """
        if self.rejected is None or self.kind not in {"pandas", "polars"}:
            return self.rejected
        if self.kind == "pandas":
            return self.rejected.to_pandas()
        import polars as pl

        return pl.from_arrow(self.rejected)

    def notes(self) -> dict[str, int]:
        """Everything that was counted about records that were kept, in plain words."""
        found = {} if self.audit is None else self.audit.counts(NOTE)
        return {f"{f.role} {f.what}": count for f, count in found.items()}

    def tables(self) -> Iterator[pa.Table]:
        """The normalised records, partition by partition.

        Raises
        ------
        SchemaError
            The records of a Dask partition have problems (other sources were checked when they were read).
        """
        for partition in self.partitions:
            checked = partition.load()
            if self.audit is None:
                checked.audit.require_usable(self.where)
            yield checked.require_table(self.where)
