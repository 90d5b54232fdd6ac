"""Partitions: read again they give the same; a token names the contents; keys are identities."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError, SourceError
from gpuseg.graph.parquet_tables import parquet_table
from gpuseg.graph.partitions import (
    HostTable,
    MemoryPartition,
    arrow_host_table,
    arrow_keys,
    is_key_type,
    key_identities,
)
from tests.oracle import hashing

X = np.arange(60, dtype=np.float32).reshape(20, 3) / 7
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(
    w=np.arange(20) / 4, who=[f"customer-{i}" for i in range(20)]
)


@pytest.fixture
def path(tmp_path):
    FRAME.to_parquet(tmp_path / "rows.parquet", row_group_size=8, index=False)
    return tmp_path / "rows.parquet"


def partitions(path, weight="w", customer="who"):
    return parquet_table(path, weight, customer).partitions


def test_a_row_group_is_a_partition_and_reads_the_same_again(path):
    parts = partitions(path)
    assert [len(part.load().values) for part in parts] == [8, 8, 4]
    for number, part in enumerate(parts):
        rows = FRAME.iloc[8 * number : 8 * number + 8]
        for _ in range(2):
            table = part.load()
            assert table.values.dtype == np.float32
            assert table.values.tobytes() == rows[["a", "b", "c"]].to_numpy().tobytes()
            assert table.values.T.flags.c_contiguous  # feature-major: it can serve as a block
            assert table.weights.tolist() == rows["w"].tolist()
            assert table.keys.tolist() == rows["who"].tolist()
            assert part.has_keys
        assert part.where == f"{path}, row group {number}"


def test_a_partition_is_small_and_travels(path):
    part = partitions(path)[1]
    assert len(pickle.dumps(part)) < 2000
    copy = pickle.loads(pickle.dumps(part))
    assert copy == part
    assert copy.load().values.tobytes() == part.load().values.tobytes()


def test_tokens_name_contents_columns_and_roles(path):
    tokens = [part.token for part in partitions(path)]
    assert len(set(tokens)) == 3
    assert [part.token for part in partitions(path)] == tokens
    others = [partitions(path, weight=None), partitions(path, customer=None), partitions(path, None, None)]
    known = set(tokens)
    for parts in others:
        assert known.isdisjoint(part.token for part in parts)
        known.update(part.token for part in parts)


def test_a_file_that_is_written_again_is_refused_and_gets_other_tokens(path):
    before = partitions(path)
    changed = FRAME.assign(a=np.float32(0))
    changed.to_parquet(path, row_group_size=8, index=False)
    os.utime(path, (1, 1))
    with pytest.raises(SourceError, match=r"rows\.parquet: the file has changed while it was used"):
        before[0].load()
    after = partitions(path)
    assert {part.token for part in before}.isdisjoint(part.token for part in after)
    assert not after[0].load().values[:, 0].any()


def test_a_file_that_is_gone(path):
    part = partitions(path)[0]
    path.unlink()
    with pytest.raises(SourceError, match=r"rows\.parquet: cannot be read as Parquet"):
        part.load()


def test_rows_in_memory_are_not_copied():
    table = HostTable(X)
    part = MemoryPartition("token", table)
    assert part.load() is table
    assert not part.has_keys
    assert MemoryPartition("token", HostTable(X, None, np.arange(20))).has_keys


def test_a_row_without_a_key_is_its_number():
    table = HostTable(X[:4])
    assert table.identity(0).tolist() == [0, 1, 2, 3]
    assert table.identity(2**40).tolist() == [2**40 + i for i in range(4)]
    assert table.identity(5).dtype == np.uint64


@pytest.mark.parametrize(
    "keys",
    [
        np.array([3, -1, 2**62], np.int64),
        np.array([3, 1, 2], np.uint8),
        np.array(["a", "Ärger", ""]),
        np.array(["a", "b" * 50, "c"], dtype=object),
        np.array([1, "1", np.int32(7), -5], dtype=object),
        np.array([], dtype=object),
        np.array([], dtype=np.int16),
    ],
    ids=["int64", "uint8", "text", "objects", "mixed", "no objects", "no integers"],
)
def test_a_key_is_its_hash_whatever_holds_it(keys):
    expected = [hashing.identity(key if isinstance(key, str) else int(key)) for key in keys.tolist()]
    assert key_identities(keys).tolist() == expected
    assert HostTable(np.zeros((len(keys), 1)), None, keys).identity(99).tolist() == expected


def test_equal_keys_of_other_integer_types_are_one_customer():
    kinds = [np.int8, np.uint16, np.int64, object]
    assert len({tuple(key_identities(np.array([5, 17], kind)).tolist()) for kind in kinds}) == 1


@pytest.mark.parametrize("strange", [1.5, None, np.nan, b"a", True, (1,)])
def test_other_keys_are_refused_with_their_number(strange):
    keys = np.array(["a", None, "b", None], dtype=object)
    keys[1] = keys[3] = strange
    with pytest.raises(InputError, match="2 customer ids are neither integers nor text, the first is"):
        key_identities(keys)


# Arrow ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pa.array([1.5, 2.5], pa.float32()), np.float32),
        (pa.array([1.5, 2.5], pa.float64()), np.float64),
        (pa.array(np.array([1.5, 2.5], np.float16)), np.float64),
        (pa.array([1, 2], pa.int8()), np.float64),
        (pa.array([1, None], pa.int64()), np.float64),
        (pa.array([True, False]), np.float64),
        (pa.array([True, None]), np.float64),
    ],
    ids=str,
)
def test_arrow_columns(values, dtype):
    table = pa.table({"a": values})
    found = arrow_host_table(table, ["a"], None, None, "here").values
    assert found.dtype == dtype
    expected = [np.nan if value is None else float(value) for value in values.to_pylist()]
    assert np.array_equal(found[:, 0], expected, equal_nan=True)


def test_arrow_columns_of_many_types_go_as_float64_in_the_order_asked_for():
    table = pa.table(
        {"a": pa.array([1.5], pa.float32()), "b": pa.array([2], pa.int32()), "c": pa.array([3.0])}
    )
    found = arrow_host_table(table, ["c", "a", "b"], None, None, "here").values
    assert found.dtype == np.float64
    assert found.tolist() == [[3.0, 1.5, 2.0]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1"]),
        pa.array([None], pa.null()),
        pa.array([1], pa.date32()),
        pa.array([[1.0]]),
        pa.array([1], pa.decimal128(5)),
        pa.array(["a"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type)[:12],
)
def test_arrow_columns_that_are_no_numbers(column):
    with pytest.raises(InputError, match=r"here: column 'a' is .*, not numeric; encode it or leave it out"):
        arrow_host_table(pa.table({"a": column}), ["a"], None, None, "here")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_arrow_text_keys(kind):
    column = pa.chunked_array([pa.array(["a", "b"]), pa.array(["c"])]).cast(kind)
    assert arrow_keys(column, "here").tolist() == ["a", "b", "c"]


def test_arrow_integer_keys():
    for kind in (pa.int8(), pa.uint32(), pa.int64(), pa.uint64()):
        assert is_key_type(kind)
        assert arrow_keys(pa.chunked_array([pa.array([3, 4], kind)]), "here").tolist() == [3, 4]
    assert not is_key_type(pa.float64())


def test_a_file_without_row_groups_is_one_partition_without_rows(tmp_path):
    schema = pa.schema([("a", pa.float32()), ("b", pa.float32())])
    pq.ParquetWriter(tmp_path / "none.parquet", schema).close()
    [part] = parquet_table(tmp_path / "none.parquet", None, None).partitions
    assert part.load().values.shape == (0, 2)
    assert part.load().values.dtype == np.float32
    assert part.where == str(tmp_path / "none.parquet")
