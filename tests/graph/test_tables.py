"""Tables: what each kind becomes, roles of columns, files in natural order, what is refused at opening."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gpuseg.errors import InputError, SourceError
from gpuseg.graph import tables
from gpuseg.graph.dask_tables import dask_table
from gpuseg.graph.parquet_tables import expand_paths, natural_key, parquet_table
from gpuseg.graph.tables import arrow_table, memory_table

X = np.arange(40, dtype=np.float32).reshape(10, 4)
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"])


def keyed(keys, name="who"):
    return FRAME.set_axis(pd.Index(keys, name=name))


def test_an_array_is_one_partition_and_no_copy():
    table = memory_table(X, None, None, None)
    assert (table.kind, table.n_features, table.single, table.columns) == ("memory", 4, True, None)
    [part] = table.partitions
    assert part.load().values is X
    assert not memory_table(X.astype(np.float64), None, None, None).single
    tokens = {memory_table(X, None, None, None).partitions[0].token for _ in range(3)}
    assert len(tokens) == 3  # contents in memory may change between two fits


def test_arrow_roles():
    table = pa.Table.from_pandas(keyed(np.arange(10)))
    found = arrow_table(table, None, None)
    assert (found.columns, found.customer, found.n_features) == (("a", "b", "c", "d"), "who", 4)
    assert found.partitions[0].load().keys.tolist() == list(range(10))
    with pytest.raises(InputError, match="customer ids are float; they must be integers or text"):
        arrow_table(table, None, "b")
    assert arrow_table(table, None, None, leave_out=("d", "e")).columns == ("a", "b", "c")
    marked = table.replace_schema_metadata({tables.CUSTOMER_METADATA: b"a"})
    with pytest.raises(InputError, match="customer ids are float"):
        arrow_table(marked, None, None)


@pytest.mark.parametrize(
    ("frame", "customer"),
    [
        (FRAME, None),
        (FRAME.iloc[::2], None),
        (keyed([5, 3, 4, 9, 8, 7, 2, 1, 0, 6]), "who"),
        (keyed(range(7, 27, 2)), "who"),
        (keyed(list("abcdefghij")), "who"),
        (keyed(np.arange(10) / 2), None),
        (keyed(pd.date_range("2020", periods=10)), None),
        (keyed(pd.MultiIndex.from_product([[1, 2], range(5)]), None), None),
        (keyed(pd.CategoricalIndex(list("ab") * 5)), None),
    ],
    ids=[
        "range",
        "every second",
        "integers",
        "named range",
        "text",
        "decimals",
        "days",
        "two levels",
        "categories",
    ],
)
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # inside Dask
def test_a_pandas_index_is_never_a_feature(frame, customer, tmp_path):
    frame.to_parquet(tmp_path / "one.parquet")
    arrow = arrow_table(pa.Table.from_pandas(frame), None, None)
    for table in (arrow, parquet_table(tmp_path / "one.parquet", None, None)):
        assert table.columns == ("a", "b", "c", "d")
        assert table.customer == customer
    if frame.index.nlevels == 1:
        table = dask_table(dd.from_pandas(frame, npartitions=2, sort=False), None, None)
        assert (table.columns, table.customer) == (("a", "b", "c", "d"), customer)
        folder = tmp_path / "by dask"
        dd.from_pandas(frame, npartitions=2, sort=False).to_parquet(folder)
        table = parquet_table(folder, None, None)
        assert (table.columns, table.customer) == (("a", "b", "c", "d"), customer)


def test_dask_arrays():
    rows = da.from_array(X, chunks=((3, 0, 1, 6), 2))
    table = dask_table(rows, None, None)
    assert (table.kind, table.n_features, table.single, table.columns) == ("dask", 4, True, None)
    assert [len(part.load().values) for part in table.partitions] == [3, 0, 1, 6]
    assert [part.where for part in table.partitions] == [f"partition {i}" for i in range(4)]
    assert np.concatenate([part.load().values for part in table.partitions]).tobytes() == X.tobytes()
    assert table.features.numblocks == (4, 1)
    other = dask_table(rows, None, None)
    assert {p.token for p in table.partitions}.isdisjoint(p.token for p in other.partitions)


def test_dask_weights_follow_the_rows():
    rows, w = da.from_array(X, chunks=(4, 4)), np.arange(10.0)
    for chunks in (4, 3, 10, ((1, 9),)):
        table = dask_table(rows, da.from_array(w, chunks=chunks), None)
        found = [part.load().weights.tolist() for part in table.partitions]
        assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    frame = dd.from_pandas(FRAME.assign(w=w), npartitions=3)
    for weights in (frame["w"], frame[["w"]], frame["w"].to_dask_array(lengths=True), frame["w"].values):
        table = dask_table(frame[["a", "b"]], weights, None)
        assert np.concatenate([part.load().weights for part in table.partitions]).tolist() == w.tolist()


def test_dask_frames():
    frame = dd.from_pandas(keyed(range(100, 110)), npartitions=3)
    table = dask_table(frame, None, None)
    assert (table.columns, table.customer, table.single) == (("a", "b", "c", "d"), "who", True)
    keys = np.concatenate([part.load().keys for part in table.partitions])
    assert keys.tolist() == list(range(100, 110))
    flat = frame.reset_index()
    table = dask_table(flat, None, "who")
    assert (table.columns, table.customer) == (("a", "b", "c", "d"), "who")
    assert list(table.features.columns) == ["a", "b", "c", "d"]
    assert np.concatenate([part.load().keys for part in table.partitions]).tolist() == keys.tolist()
    assert dask_table(frame, None, None, leave_out=["b", "x"]).columns == ("a", "c", "d")
    assert not dask_table(frame.assign(a=frame["a"].astype("int8")), None, None).single
    numbers = dask_table(dd.from_pandas(pd.DataFrame(X), npartitions=2), None, None)
    assert (numbers.columns, numbers.n_features) == (None, 4)
    assert numbers.partitions[0].load().values.tobytes() == X[:5].tobytes()


def test_a_named_index_that_counts_is_the_key_although_no_column_holds_it(tmp_path):
    frame = keyed(range(7, 27, 2))
    table = pa.Table.from_pandas(frame)
    assert table.column_names == ["a", "b", "c", "d"]
    for customer in (None, "who"):
        found = arrow_table(table, None, customer)
        assert found.customer == "who"
        assert found.partitions[0].load().keys.tolist() == list(range(7, 27, 2))
    assert arrow_table(table.slice(0, 4), None, None).customer is None  # the description no longer fits
    frame.to_parquet(tmp_path / "part.0.parquet", row_group_size=4)
    frame.iloc[:3].to_parquet(tmp_path / "part.1.parquet")
    found = parquet_table(tmp_path, None, None)
    keys = [part.load().keys.tolist() for part in found.partitions]
    assert keys == [[7, 9, 11, 13], [15, 17, 19, 21], [23, 25], [7, 9, 11]]
    assert len({part.token for part in found.partitions}) == 4
    FRAME.to_parquet(tmp_path / "part.2.parquet")
    with pytest.raises(SourceError, match="some files were written with a named index and some without"):
        parquet_table(tmp_path, None, None)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Twelve files of one row each, with others between them."""
    for number in range(12):
        (tmp_path / f"year={2000 + number // 6}").mkdir(exist_ok=True)
        FRAME.iloc[number % 10 : number % 10 + 1].to_parquet(
            tmp_path / f"year={2000 + number // 6}" / f"part.{number}.parquet", index=False
        )
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "rows.csv").write_text("a\n1\n")
    return tmp_path


def numbers(found):
    return [int(file.rsplit(".", 2)[1]) for file in found]


def test_a_folder_is_read_in_natural_order(folder):
    _, files = expand_paths(folder, {})
    assert numbers(files) == list(range(12))
    table = parquet_table(folder, None, None)
    assert [part.load().values[0, 0] for part in table.partitions] == [4.0 * (n % 10) for n in range(12)]


def test_globs_paths_and_urls(folder):
    assert numbers(expand_paths(f"{folder}/*/part.1*.parquet", {})[1]) == [1, 10, 11]
    assert numbers(expand_paths(f"file://{folder}/year=2001/*.parquet", {})[1]) == [6, 7, 8, 9, 10, 11]
    assert numbers(expand_paths(folder / "year=2000" / "part.3.parquet", {})[1]) == [3]
    assert len(expand_paths(f"{folder}/", {})[1]) == 12


def test_a_name_with_brackets_is_a_name(tmp_path):
    FRAME.to_parquet(tmp_path / "rows [1].parquet")
    assert parquet_table(tmp_path / "rows [1].parquet", None, None).n_features == 4


def test_natural_keys():
    names = ["b.1", "a.10", "a.2", "a.2.5", "a", "10", "9", "a.02"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "a.2", "a.02", "a.2.5", "a.10", "b.1"]


def test_other_file_systems():
    memory = fsspec.filesystem("memory")
    with memory.open("/bucket/part.0.parquet", "wb") as file:
        FRAME.to_parquet(file, index=False)
    table = parquet_table("memory://bucket/*.parquet", None, None)
    assert table.partitions[0].load().values.tobytes() == X.tobytes()
    assert table.partitions[0].where == "memory:///bucket/part.0.parquet, row group 0"


def test_nothing_there(tmp_path):
    for path in (tmp_path / "x.parquet", f"{tmp_path}/*.parquet", tmp_path):
        with pytest.raises(SourceError, match="no Parquet file there; check the path or the glob"):
            expand_paths(path, {})


def test_schemas_may_differ_in_order_and_metadata_only(tmp_path):
    FRAME.to_parquet(tmp_path / "part.0.parquet", index=False)
    FRAME[["d", "c", "b", "a"]].iloc[:3].to_parquet(tmp_path / "part.1.parquet")
    table = parquet_table(tmp_path, None, None)
    assert table.partitions[1].load().values.tobytes() == X[:3].tobytes()
    FRAME.astype({"b": "int32", "c": "float64"}).to_parquet(tmp_path / "part.2.parquet")
    with pytest.raises(
        SourceError,
        match=r"2\.parquet: schema differs from .*0\.parquet \(b: float in .*, int32 in .*; c: float in .*, double in",
    ):
        parquet_table(tmp_path, None, None)


def test_kinds_are_told_apart_without_imports():
    import polars as pl

    frame = pl.DataFrame({"a": [1]})
    assert tables.is_polars(frame)
    assert tables.is_polars(frame.lazy())
    assert not tables.is_polars(frame["a"])
    assert tables.is_arrow(pa.table({"a": [1]}))
    assert not tables.is_arrow(pa.array([1]))
    assert tables.is_dask(da.ones(3))
    assert not tables.is_dask(FRAME)
    assert tables.is_path("x")
    assert not tables.is_path(b"x")
