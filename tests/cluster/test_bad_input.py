"""Bad input: one clear error that names what, where, how many, and the remedy; nothing half done afterwards."""

from __future__ import annotations

import dask.array as da
import dask.bag
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from dask.delayed import delayed

from gpuseg import KMeans
from gpuseg.errors import (
    InputError,
    NotFiniteError,
    RangeError,
    SourceError,
    TooFewRowsError,
)
from gpuseg.graph.memo import ENVIRONMENT, MEMO
from tests.cluster.kinds import frame_of, rows_of

X = rows_of("float32", n=40)
FRAME = frame_of(X)


def changed(row=None, column=None, value=None, dtype="float64"):
    """A frame with one value, or several rows of it, replaced."""
    frame = FRAME.astype(dtype)
    frame.loc[row, column] = value
    return frame


def with_column(name, values):
    return FRAME.assign(**{name: values})


def files(folder, *tables, name="part.{}.parquet"):
    """One Parquet file a table."""
    for number, table in enumerate(tables):
        pq.write_table(pa.Table.from_pandas(table), folder / name.format(number), row_group_size=25)
    return str(folder)


def cut_in_half(folder, name="part.0.parquet"):
    size = (folder / name).stat().st_size
    with (folder / name).open("r+b") as file:
        file.truncate(size // 2)
    return str(folder)


def footer_without_pages(folder):
    """The footer is whole, the values are zeros."""
    files(folder, FRAME)
    with (folder / "part.0.parquet").open("r+b") as file:
        file.seek(4)
        file.write(b"\0" * 300)
    return str(folder)


def groups_of_none(folder, schema):
    """A file without a row group."""
    pq.ParquetWriter(folder / "empty.parquet", schema).close()
    return folder / "empty.parquet"


def nan_partition():
    parts = [FRAME.iloc[:10], FRAME.iloc[10:].assign(visits=np.float32("nan"), share=np.float32("inf"))]
    return dd.from_delayed([delayed(part) for part in parts], meta=FRAME.iloc[:0])


# What is passed to fit, the error, and what its message must say.
TABLES = {
    # rows
    "no rows, numpy": (lambda f: X[:0], ValueError, r"0 sample\(s\)"),
    "no rows, Dask array": (lambda f: da.from_array(X[:0], chunks=5), TooFewRowsError, "X has no rows"),
    "no rows, Dask frame": (lambda f: dd.from_pandas(FRAME[:0]), TooFewRowsError, "X has no rows"),
    "no rows, Arrow": (lambda f: pa.Table.from_pandas(FRAME[:0]), TooFewRowsError, "X has no rows"),
    "no rows, polars": (lambda f: pl.from_pandas(FRAME[:0]), TooFewRowsError, "X has no rows"),
    "no rows, Parquet": (lambda f: files(f, FRAME[:0]), TooFewRowsError, "X has no rows"),
    "no row groups": (
        lambda f: groups_of_none(f, pa.Table.from_pandas(FRAME).schema), TooFewRowsError, "X has no rows",
    ),
    "one row": (lambda f: X[:1], TooFewRowsError, "n_samples=1 should be >= n_clusters=3; lower n_clusters"),
    "one row, Dask": (lambda f: da.from_array(X[:1]), TooFewRowsError, "n_samples=1 should be >= n_clusters=3"),
    "fewer rows than clusters": (lambda f: FRAME[:2], TooFewRowsError, "n_samples=2 should be >= n_clusters=3"),
    # columns
    "no columns, numpy": (lambda f: X[:, :0], ValueError, r"0 feature\(s\)"),
    "no columns, Dask": (lambda f: dd.from_pandas(FRAME[[]]), InputError, "X has no feature columns"),
    "no columns, Arrow": (lambda f: pa.table({}), InputError, "X has no feature columns"),
    "repeated column, pandas": (
        lambda f: FRAME.set_axis(list("abca"), axis=1), InputError, r"repeated column names 'a' \(2 times\)",
    ),
    "repeated column, Dask": (
        lambda f: dd.from_pandas(FRAME.set_axis(list("abca"), axis=1)), InputError, r"column names 'a' \(2 times\)",
    ),
    "repeated column, Arrow": (
        lambda f: pa.table([[1.0], [2.0]], names=["a", "a"]), InputError, r"the Arrow table: repeated .* 'a' \(2",
    ),
    "text column, pandas": (
        lambda f: with_column("town", "x"), InputError, "column 'town' is str, not numeric.*; encode it or leave",
    ),
    "text column, Dask": (
        lambda f: dd.from_pandas(with_column("town", "x")), InputError, "partition 0: column 'town' is str.*not num",
    ),
    "text column, Arrow": (
        lambda f: pa.Table.from_pandas(with_column("town", "x")), InputError, "column 'town' is .*string, not numeric",
    ),
    "text column, Parquet": (
        lambda f: files(f, with_column("town", "x")), InputError, r"part.0.parquet: column 'town' is .*string, not",
    ),
    "objects, pandas": (
        lambda f: with_column("what", [object()] * 40), InputError, "column 'what' is object, not numeric",
    ),
    "categories, pandas": (
        lambda f: with_column("group", pd.Categorical(["a", "b"] * 20)), InputError, "column 'group' is category",
    ),
    "times, pandas": (
        lambda f: with_column("day", pd.Timestamp("2020-01-01")), InputError, "column 'day' is datetime64.*unit you",
    ),
    "times, numpy": (lambda f: np.full((9, 2), "2020", "M8[s]"), InputError, "values are datetime64"),
    "times, Arrow": (
        lambda f: pa.Table.from_pandas(with_column("day", pd.Timestamp("2020-01-01"))), InputError, "column 'day' is t",
    ),
    # shapes and types
    "1-D, numpy": (lambda f: X[:, 0], ValueError, "Expected 2D array, got 1D array"),
    "1-D, Dask": (lambda f: da.from_array(X[:, 0]), InputError, "two-dimensional Dask array, got 1 dimensions"),
    "3-D, numpy": (lambda f: X[None], ValueError, "dim 3"),
    "3-D, Dask": (lambda f: da.from_array(X[None]), InputError, "two-dimensional Dask array, got 3 dimensions"),
    "unknown columns": (
        lambda f: da.from_delayed(delayed(X), (np.nan, np.nan), X.dtype), InputError,
        r"the number of columns of X is not known; call X\.compute_chunk_sizes\(\)",
    ),
    "paths and numbers": (lambda f: ["a.parquet", 3], InputError, "X is a list of paths and other things; give"),
    "list without the files": (lambda f: [f, f / "a.parquet"], SourceError, "no Parquet file there; check the path"),
    "a file twice": (lambda f: [files(f, FRAME), f], SourceError, "2 times in the list of files; name each file once"),
    "complex, numpy": (lambda f: X.astype(complex), ValueError, "Complex data not supported"),
    "complex, Dask": (lambda f: da.from_array(X.astype(complex)), InputError, "complex128, not numeric"),
    "objects, Dask": (lambda f: da.from_array(X.astype(object), chunks=20), InputError, "array of object, not numeric"),
    "sparse": (lambda f: sp.csr_matrix(X), TypeError, "dense data is required"),
    "sparse array": (lambda f: sp.csr_array(X), TypeError, "dense data is required"),
    "sparse chunks": (
        lambda f: da.from_array(X, chunks=(20, 4)).map_blocks(sp.csr_matrix), InputError, "partition 0 is sparse",
    ),
    "Dask bag": (lambda f: dask.bag.from_sequence([1, 2]), InputError, "Bag, which has no rows and columns"),
    "Dask series": (lambda f: dd.from_pandas(FRAME["visits"]), InputError, "Series, which has no rows and columns"),
    "Dask delayed": (lambda f: delayed(X), InputError, "Delayed.*, which has no rows and columns"),
    "polars lazy": (lambda f: pl.from_pandas(FRAME).lazy(), InputError, r"LazyFrame, .*; call \.collect\(\)"),
    "wrong meta": (
        lambda f: da.from_array(X, chunks=(20, 4)).map_blocks(np.float64, dtype=np.float32), InputError,
        r"partition 0 holds float64 although X announces float32; correct its meta or use X\.astype",
    ),
    # values
    "NaN, numpy": (
        lambda f: changed([3, 5], "basket", np.nan).to_numpy(), NotFiniteError,
        r"NaN or infinity: 2 values in feature 1 \(2\)",
    ),
    "NaN and infinity, pandas": (
        lambda f: changed([3, 5], "basket", np.nan).assign(share=np.inf), NotFiniteError,
        r"42 values in basket \(2\), share \(40\); impute them or drop",
    ),
    "null, Arrow": (
        lambda f: pa.table({"a": [1.0, None, 3.0], "b": [None, None, 1]}), NotFiniteError,
        r"3 values in a \(1\), b \(2\)",
    ),
    "null, polars": (lambda f: pl.DataFrame({"a": [1, None, 3]}), NotFiniteError, r"1 values in a \(1\)"),
    "NA, pandas": (
        lambda f: FRAME.astype("Float32").mask(FRAME["visits"].rank() < 4), NotFiniteError,
        r"12 values in visits \(3\), basket \(3\)",
    ),
    "NaN in one partition": (
        lambda f: nan_partition(), NotFiniteError, r"60 values in visits \(30\), share \(30\).*\(partition 1\)$",
    ),
    "NaN in one row group": (
        lambda f: files(f, FRAME, changed(30, "recency", np.nan, "float32")), NotFiniteError,
        r"1 values in recency \(1\).*part\.1\.parquet, row group 1\)$",
    ),
    "NaN in many files": (
        lambda f: files(f, *[changed(3, "recency", np.nan, "float32")] * 7), NotFiniteError,
        r"7 values in recency.*part\.0\.parquet, row group 0; .*part\.3\.parquet, row group 0 and 3 more\)$",
    ),
    "beyond range, float32": (
        lambda f: X * np.float32(2.0**60), RangeError, r"feature \d reaches .* beyond 2\*\*50; divide it by a constant",
    ),
    "beyond range, float64": (lambda f: changed(3, "share", 1e16), RangeError, r"share reaches 9\.\d+e\+15 in m"),
    "beyond range, far": (lambda f: changed(3, "share", 1e300), RangeError, r"share reaches 1e\+300 in magnitude"),
    "beyond range, Parquet": (
        lambda f: files(f, FRAME.astype(float), changed(30, "share", -1e16)), RangeError,
        r"share reaches .*part\.1\.parquet, row group 1\)$",
    ),
    # files
    "missing path": (lambda f: f / "nothing.parquet", SourceError, r"nothing\.parquet: no Parquet file there"),
    "empty glob": (lambda f: f"{f}/*.parquet", SourceError, r"\*\.parquet: no Parquet file there; check the path"),
    "empty folder": (lambda f: f, SourceError, "no Parquet file there"),
    "not Parquet": (
        lambda f: [FRAME.to_csv(f / "rows.csv"), f / "rows.csv"][1], SourceError,
        r"rows\.csv: cannot be read as Parquet",
    ),
    "cut in half": (
        lambda f: [files(f, FRAME, FRAME), cut_in_half(f, "part.1.parquet")][1], SourceError,
        r"part\.1\.parquet: cannot be read as Parquet .*; write the file again",
    ),
    "damaged pages": (footer_without_pages, SourceError, r"part\.0\.parquet: cannot be read as Parquet"),
    "other type": (
        lambda f: files(f, FRAME, FRAME.astype({"share": "float64"})), SourceError,
        r"1\.parquet: schema differs from .*0\.parquet \(share: float in .*0\.parquet, double in .*1\.parquet\); write",
    ),
    "missing column": (
        lambda f: files(f, FRAME, FRAME.drop(columns="share")), SourceError,
        r"share: float in .*0\.parquet, missing in .*1\.parquet",
    ),
    "further column": (
        lambda f: files(f, FRAME, with_column("more", 1.0)), SourceError,
        r"more: missing in .*0\.parquet, double in .*1\.parquet",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_tables(case, tmp_path):
    make, error, message = TABLES[case]
    fresh = KMeans(3, random_state=0)
    parameters = vars(fresh).copy()
    with pytest.raises(error, match=message):
        fresh.fit(make(tmp_path))
    assert vars(fresh) == parameters
    assert not MEMO._entries


WEIGHTS = {
    "negative": (
        [1.0] * 38 + [-1.0, -2.0],
        InputError,
        "sample_weight has 2 negative, NaN or infinite values",
    ),
    "NaN": ([1.0] * 39 + [np.nan], InputError, "sample_weight has 1 negative, NaN or infinite"),
    "infinite": ([1.0] * 39 + [np.inf], InputError, "sample_weight has 1 negative, NaN or infinite"),
    "too few": (
        [1.0] * 39,
        InputError,
        r"sample_weight has shape \(39,\) for 40 rows; give one weight a row",
    ),
    "a column of them": (np.ones((40, 1)), InputError, r"shape \(40, 1\) for 40 rows"),
    "text": (["a"] * 40, InputError, "sample_weight is not numeric"),
    "complex": (np.ones(40) * 1j, InputError, "sample_weight is not numeric"),
    "a column's name": ("share", InputError, "sample_weight is not numeric"),
    "all zero": (np.zeros(40), InputError, "no positive value, every weight is zero"),
    "beyond float32": (
        np.full(40, 1e39),
        RangeError,
        r"sample_weight reaches 1e\+39, beyond float32; divide",
    ),
    "heavy on far rows": (
        np.full(40, 1e37),
        RangeError,
        r"weights up to 1e\+37 times squared distances up to .*2\*\*127",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(case):
    weights, error, message = WEIGHTS[case]
    fresh = KMeans(3, random_state=0)
    for table in (X, FRAME, pa.Table.from_pandas(FRAME)):
        with pytest.raises(error, match=message):
            fresh.fit(table, sample_weight=weights)
    fitted = KMeans(3, random_state=0).fit(X)
    with pytest.raises(error, match=message):
        fitted.score(X, sample_weight=weights)
    assert not MEMO._entries


def chunked(values, size=20):
    return da.from_array(np.asarray(values, dtype=float), chunks=size)


DASK_WEIGHTS = {
    "not lazy": (chunked(X), np.ones(40), "must be a Dask array or series with the same chunks as X"),
    "other length": (chunked(X), chunked(np.ones(39)), "sample_weight has 39 values for 40 rows"),
    "negative": (
        chunked(X), chunked([1.0] * 39 + [-1]), r"1 negative, NaN or infinite values; .* \(partition 1\)$"
    ),
    "other partitions": (
        dd.from_pandas(FRAME, npartitions=3), dd.from_pandas(FRAME["visits"].abs(), npartitions=2),
        "X has 3 partitions but sample_weight has 2; give them the same chunks",
    ),
    "other borders": (
        dd.from_pandas(FRAME, npartitions=2), dd.from_delayed(
            [delayed(FRAME["visits"].abs().iloc[a:b]) for a, b in ((0, 10), (10, 40))], meta=FRAME["visits"].iloc[:0]
        ),
        "partition 0 has 20 rows but 10 sample weights; give them the same chunks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DASK_WEIGHTS)
def test_dask_weights(case):
    rows, weights, message = DASK_WEIGHTS[case]
    with pytest.raises(InputError, match=message):
        KMeans(3, random_state=0).fit(rows, sample_weight=weights)
    assert not MEMO._entries


def test_weights_of_files_are_columns(tmp_path):
    folder = files(tmp_path, FRAME, with_column("visits", -1.0).astype("float32"))
    with pytest.raises(InputError, match="sample_weight of files must be the name of a column"):
        KMeans(3).fit(folder, sample_weight=np.ones(80))
    with pytest.raises(
        InputError, match=r"sample_weight column 'w' is not there; columns are visits, basket"
    ):
        KMeans(3).fit(folder, sample_weight="w")
    with pytest.raises(
        InputError, match=r"negative.*part\.1\.parquet, row group 0; .*part\.1\.parquet, row group 1"
    ):
        KMeans(3).fit(folder, sample_weight="visits")


CUSTOMERS = {
    "missing, pandas": (FRAME, "customer='id' is neither a column nor the index of X; columns are visits, b"),
    "missing, Dask": (dd.from_pandas(FRAME), "customer='id' is neither a column nor the index of X"),
    "missing, Arrow": (pa.Table.from_pandas(FRAME), "the Arrow table: customer column 'id' is not there"),
    "decimal, pandas": (with_column("id", 0.5), r"40 customer ids are neither integers nor text, the first is .*0\.5"),
    "decimal, Dask": (dd.from_pandas(with_column("id", 0.5)), "40 customer ids are neither integers nor text"),
    "decimal, Arrow": (pa.Table.from_pandas(with_column("id", 0.5)), "customer ids are double; they must be integers"),
    "null, pandas": (
        with_column("id", [None, "a"] * 20), "20 customer ids are neither integers nor text, the first is n"
    ),
    "null, Arrow": (
        pa.Table.from_pandas(with_column("id", [None, "a"] * 20)), "20 customer ids are null; drop or fill those rows"
    ),
    "too large": (
        with_column("id", np.arange(40, dtype=np.uint64) + 2**63), "does not fit 64-bit signed integers; store the ids"
    ),
    "too large, objects": (
        with_column("id", pd.Series([2**70] * 40, dtype=object)), f"customer id {2**70} does not fit 64-bit"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CUSTOMERS)
def test_customers(case):
    table, message = CUSTOMERS[case]
    with pytest.raises(InputError, match=message):
        KMeans(3, random_state=0).fit(table, customer="id")
    assert not MEMO._entries


PARAMETERS = {
    "n_clusters=0": "n_clusters=0 must be a whole number >= 1",
    "n_clusters=2.0": "n_clusters=2.0 must be a whole number",
    "n_clusters=True": "n_clusters=True must be a whole number",
    "n_clusters=None": "n_clusters=None must be a whole number",
    "n_init=0": "n_init=0 must be 'auto' or a whole number >= 1",
    "n_init='some'": "n_init='some' must be 'auto' or a whole number",
    "n_init=1.5": "n_init=1.5 must be 'auto'",
    "n_init=np.ones(2)": "must be 'auto' or a whole number",
    "max_iter=0": "max_iter=0 must be a whole number >= 1",
    "max_iter=1.5": "max_iter=1.5 must be a whole number",
    "tol=-1": "tol=-1 must be a finite number >= 0",
    "tol=np.nan": "tol=nan must be a finite number",
    "tol=np.inf": "tol=inf must be a finite number",
    "tol='a'": "tol='a' must be a finite number",
    "tol=1j": "tol=1j must be a finite number",
    "random_state=-1": r"random_state=-1 must be in 0 \.\. 2\*\*64 - 1",
    "random_state=2**64": "must be in 0",
    "random_state='a'": "random_state='a' cannot be used; give an int, a RandomState, a Generator or None",
    "random_state=True": "random_state=True cannot be used",
    "random_state=1.0": "random_state=1.0 cannot be used",
    "init='random'": "init='random' is not known; use 'k-means\\+\\+', 'k-means\\|\\|' or an array of 3 centres",
    "init='k-means|'": "is not known; use 'k-means",
    "oversampling_factor=0": "oversampling_factor=0 must be a number above 0, at most 2",
    "oversampling_factor=np.nan": "oversampling_factor=nan must be a number above 0",
    "oversampling_factor=2.0**21": "must be a number above 0, at most 2",
    "oversampling_factor='2'": "oversampling_factor='2' must be a number",
    "init_max_iter=0": "init_max_iter=0 must be a whole number from 1 to 1000",
    "init_max_iter=1001": "init_max_iter=1001 must be a whole number from 1 to 1000",
    "init_max_iter=2.0": "init_max_iter=2.0 must be a whole number",
    "init=len": "is not known; use 'k-means",
    "init=X[:2]": r"initial centers \(2, 4\) does not match n_clusters=3 and the 4 features of X",
    "init=X[:3, :3]": r"initial centers \(3, 3\) does not match",
    "init=X[0]": r"initial centers \(4,\) does not match",
    "init=X[:3] * np.nan": "init has 12 NaN or infinite values; give finite centres",
    "init=X[:3] * 1j": "init is not an array of numbers",
    "init=[['a'] * 4] * 3": "init is not an array of numbers .*; give n_clusters x features",
    "init=[[1], [1, 2], [1]]": "init is not an array of numbers",
    "init=X[:3].astype(float) * 2.0**60": r"beyond 2\*\*50",
    "engine='gpu'": "engine='gpu' is not known; use one of 'auto', 'cpu', 'cuda'",
    "n_jobs=0": "n_jobs=0 has no meaning",
    "verbose=-1": "verbose=-1 must be True, False or a whole number >= 0",
    "verbose='yes'": "verbose='yes' must be True, False or a whole number",
    "callback='print'": r"callback='print' must be a function of \(iteration, inertia, n_moved, centers\), or None",
    "algorithm='hamerly'": "algorithm='hamerly' is not known; use one of 'lloyd', 'elkan', 'auto', 'full'",
    "algorithm=None": "algorithm=None is not known",
    "copy_x='no'": "copy_x='no' must be True or False",
    "precompute_distances=1": "precompute_distances=1 must be 'auto', True or False",
    "n_jobs=1.5": "n_jobs=1.5 must be a whole number",
    "n_jobs='2'": "n_jobs='2' must be a whole number",
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters(case):
    given = eval(f"dict({case})", {"np": np, "X": X})
    fresh = KMeans(**{"n_clusters": 3, "random_state": 0, **given})
    with pytest.raises(InputError, match=PARAMETERS[case]):
        fresh.fit(X)
    assert not hasattr(fresh, "n_features_in_")
    assert not MEMO._entries


def test_parameters_are_refused_before_data_is_read():
    def refuse():
        raise AssertionError("read")

    rows = da.from_delayed(delayed(refuse)(), (40, 4), np.float32)
    for parameters in (
        {"n_clusters": 0},
        {"tol": -1},
        {"engine": "gpu"},
        {"random_state": -1},
        {"n_init": 0},
    ):
        with pytest.raises(InputError):
            KMeans(**parameters).fit(rows)


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "", "1e9"])
def test_a_bound_of_the_memo_that_is_no_number(monkeypatch, value):
    monkeypatch.setenv(ENVIRONMENT, value)
    fresh = KMeans(3, random_state=0)
    with pytest.raises(
        InputError, match=f"GPUSEG_MEMO_BYTES='{value}' is not a number of bytes; set a whole"
    ):
        fresh.fit(X)
    assert not hasattr(fresh, "n_features_in_")


def test_a_start_far_away_and_heavy_weights_pass_the_range_together():
    w = np.full(40, 2.0**30 + 0.5)
    KMeans(3, init=X[:3]).fit(X, sample_weight=w)
    with pytest.raises(RangeError, match=r"pass 2\*\*127"):
        KMeans(3, init=X[:3] * np.float32(2.0**46)).fit(X, sample_weight=w)


# Predictions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_predictions_refuse_what_a_fit_refuses(method, tmp_path):
    fitted = KMeans(3, random_state=0).fit(FRAME)
    use = getattr(fitted, method)
    before = vars(fitted).copy()

    def lazily(found):
        return found.compute() if hasattr(found, "compute") else found

    nan = changed(3, "basket", np.nan)
    lazy = dd.from_pandas(nan, npartitions=3)
    for table in (nan, pa.Table.from_pandas(nan), pl.from_pandas(nan), lazy, files(tmp_path, nan)):
        with pytest.raises(NotFiniteError, match=r"1 values in basket \(1\)"):
            lazily(use(table))
    far = changed(3, "basket", 2.0**51)
    for table in (far, dd.from_pandas(far, npartitions=3)):
        with pytest.raises(RangeError, match=r"basket reaches 2\.25.*e\+15 in magnitude, beyond 2\*\*50"):
            lazily(use(table))
    with pytest.raises(TypeError, match="dense data is required"):
        getattr(KMeans(3, random_state=0).fit(X), method)(sp.csr_matrix(X))
    with pytest.raises(SourceError, match="no Parquet file there"):
        use(tmp_path / "nothing.parquet")
    assert vars(fitted) == before
    assert not MEMO._entries


def test_predictions_for_no_rows_are_empty():
    fitted = KMeans(3, random_state=0).fit(X)
    rows = da.from_array(X[:0], chunks=5)
    assert fitted.predict(rows).compute().shape == (0,)
    assert fitted.transform(rows).compute().shape == (0, 3)
    named = KMeans(3, random_state=0).fit(FRAME)
    frame = dd.from_pandas(FRAME.iloc[:0], npartitions=1)
    assert named.predict(frame).compute().size == 0
    assert named.transform(frame).compute().shape == (0, 3)
    assert named.predict(pa.Table.from_pandas(FRAME.iloc[:0])).shape == (0,)
