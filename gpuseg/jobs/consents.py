"""Who agreed to profiling, where a table of customers says so (jobs; called by job_file and assign)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.reading import values
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.reader import Consented
from gpuseg.customers.reading.sources import column_names, open_source
from gpuseg.errors import InputError
from gpuseg.jobs.declared.job_problems import nearest


def consented_by_table(path: str, customer: str, column: str, dialect: CsvDialect | None) -> Consented:
    """Says of customers' keys who agreed: those with a row, all of whose rows say so.

    Parameters
    ----------
    path : str
        The table of customers.
    customer, column : str
        Its columns with the key and with the consent.
    dialect : CsvDialect or None
        How CSV is written.

    Returns
    -------
    callable
        Takes keys, whole numbers or text, and returns a mask.

    Raises
    ------
    InputError
        A column is missing, or values of consent are neither yes nor no: nobody knows what they mean.
    """
    known = column_names(path, dialect)
    absent = [name for name in (customer, column) if name not in known]
    if absent:
        raise InputError(f"{path}: there is no column {absent[0]!r}; {nearest(absent[0], known)}")
    pieces = [
        raw.table
        for part in open_source(path, [customer, column], dialect).parts
        for raw in part.read([customer, column])
    ]
    table = pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
    found = values.flags(values.plain(table[column].combine_chunks()), when_null="null")
    unclear = sum(int(mask.sum()) for mask in found.bad.values())
    if unclear:
        raise InputError(
            f"{path}: column {column!r} (consent) is neither true/false, yes/no nor 1/0 in {unclear:,} of "
            f"{len(table):,} rows; mend them"
        )
    agreed = np.asarray(found.values, np.bool_)
    keys = _text(table[customer])
    yes, no = keys.filter(pa.array(agreed)), keys.filter(pa.array(~agreed))
    who = yes.filter(pc.invert(pc.is_in(yes, value_set=no))).unique()

    def consented(given: Any) -> npt.NDArray[np.bool_]:
        found = pc.or_(pc.is_in(_text(given), value_set=who), given.is_null())
        return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)

    return consented


def _text(keys: Any) -> pa.Array:
    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks() if keys.num_chunks != 1 else keys.chunk(0)
    return values.plain(keys).cast(pa.large_string())
