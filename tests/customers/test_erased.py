"""Records of erased customers: left out before anything else is looked at, counted, and remembered by nobody."""

from __future__ import annotations

import logging
import pickle

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

import gpuseg as gs
from gpuseg.errors import InputError, SourceError

ROLES = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC"}


def table(**changes):
    days = pa.array(["2024-01-01", "2024-02-01", "2024-03-01", "2024-12-31"])
    columns = {"who": [1, 2, 1, 7], "at": days, "paid": [1.5, 2.0, 3.0, -4.0], **changes}
    columns["at"] = pa.array(columns["at"]).cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC"))
    return pa.table(columns)


def seven(keys):
    return np.asarray(pc.equal(keys.cast(pa.string()), "7").fill_null(False))


def test_erased_rows_are_as_if_they_had_never_been_there(caplog):
    with caplog.at_level(logging.WARNING, "gpuseg"):
        tx = gs.read_transactions(table(), **ROLES, erased=seven)
    without = gs.read_transactions(table().slice(0, 3), **ROLES)
    assert tx.fingerprint == without.fingerprint
    assert [part.to_pylist() for part in tx.tables()] == [part.to_pylist() for part in without.tables()]
    assert (tx.audit.days, tx.notes()) == (without.audit.days, without.notes())
    assert (tx.n_rows, tx.n_rejected, tx.rejects, tx.n_erased) == (3, 1, {"customer erased": 1}, 1)
    assert gs.features(tx).equals(gs.features(without))
    assert "1 rows left out: 1 customer who was erased" in caplog.text


def test_what_is_wrong_in_their_rows_is_nobodys_problem():
    bad = table(paid=[1.5, 2.0, 3.0, None], ok=[True, True, False, False])
    tx = gs.read_transactions(bad, **ROLES, consent="ok", erased=seven)
    assert tx.rejects == {"customer erased": 1, "consent not given": 1}
    assert tx.n_rejected == 2


def test_text_keys_of_csv_are_asked_before_they_are_numbers(tmp_path):
    for name, rows in (("a", slice(0, 2)), ("b", slice(2, 4)), ("c", slice(0, 4))):
        pa.csv.write_csv(table().slice(rows.start, rows.stop - rows.start), tmp_path / f"{name}.csv")
    tx = gs.read_transactions(str(tmp_path / "*.csv"), **ROLES, erased=seven)
    assert (tx.n_rows, tx.n_rejected, tx.n_erased) == (6, 2, 1)  # one customer, in two files
    assert tx.customer_type == pa.int64()


def test_nobody_remembers_who_they_were():
    gone = pa.array(["a", "b", "a", "SECRET"])
    tx = gs.read_transactions(
        table(who=gone), **ROLES, erased=lambda keys: np.asarray(pc.equal(keys, "SECRET"))
    )
    assert tx.n_erased == 1
    assert b"SECRET" not in pickle.dumps(tx)


def test_nothing_is_left_when_all_were_erased():
    with pytest.raises(SourceError, match=r"all 4 rows were rejected \(customer erased: 4\)"):
        gs.read_transactions(table(), **ROLES, erased=lambda keys: np.ones(len(keys), np.bool_))


def test_dask_cannot_leave_them_out():
    frame = dd.from_pandas(pd.DataFrame({"who": [1], "at": [pd.Timestamp("2024-01-01")], "paid": [1.0]}))
    with pytest.raises(InputError, match=r"erased=.* not for a Dask dataframe"):
        gs.read_transactions(frame, **ROLES, erased=seven)
