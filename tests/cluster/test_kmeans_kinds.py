"""The same rows give the same bits from every kind of table: one matrix of kinds and behaviours."""

from __future__ import annotations

import functools

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg import KMeans
from gpuseg.cluster.seeding import gather_sample
from gpuseg.errors import InputError
from gpuseg.graph.memo import ENVIRONMENT
from tests.cluster.kinds import KINDS, NAMES, Answer, cut, frame_of, rows_of, weights_of

FLOATS = ["float32", "float64"]


def model(**parameters) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 3, "n_init": 2, **parameters})


@functools.cache
def reference(dtype: str, weights: str, source: str, parameters: tuple) -> tuple[KMeans, Answer]:
    """A fit of the C-ordered array; ``source`` is the type that the rows were rounded to first."""
    X = rows_of(source).astype(dtype)
    fitted = model(**dict(parameters)).fit(X, sample_weight=weights_of(weights))
    return fitted, Answer.of(fitted)


def fitted_equally(made, dtype, weights, **parameters):
    mine = model(**parameters).fit(made.X, sample_weight=made.sample_weight)
    theirs, answer = reference(str(made.dtype), weights, dtype, tuple(parameters.items()))
    assert Answer.of(mine, made.gather) == answer
    assert mine.cluster_centers_.dtype == theirs.cluster_centers_.dtype
    assert mine.n_features_in_ == 4
    return mine, theirs


def plain(make, dtype):
    fitted_equally(make("none"), dtype, "none")


def integer_weights(make, dtype):
    fitted_equally(make("integer"), dtype, "integer")


def real_weights(make, dtype):
    fitted_equally(make("real"), dtype, "real")


def to_the_fixed_point(make, dtype):
    mine, _ = fitted_equally(make("none"), dtype, "none", tol=0, n_init=1)
    assert mine.n_iter_ > 2


def sample_start(make, dtype):
    limited = functools.partial(gather_sample, limit=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpuseg.cluster.sharing.gather_sample", limited)
        mine = model().fit(make("none").X)
        made = make("none")
        theirs = model().fit(rows_of(dtype).astype(made.dtype))
    assert Answer.of(mine, made.gather) == Answer.of(theirs)
    assert Answer.of(theirs) != reference(str(made.dtype), "none", dtype, ())[1]


def without_a_memo(make, dtype):
    for n_bytes in ("0", "700"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENVIRONMENT, n_bytes)
            fitted_equally(make("real"), dtype, "real")


def predictions(make, dtype):
    made = make("real")
    mine, theirs = fitted_equally(made, dtype, "real")
    X = rows_of(dtype).astype(made.dtype)
    labels = mine.predict(made.X)
    assert type(labels) is type(mine.labels_)
    assert made.gather(labels).tobytes() == theirs.labels_.tobytes() == theirs.predict(X).tobytes()
    assert made.gather(mine.transform(made.X)).tobytes() == theirs.transform(X).tobytes()
    assert mine.score(made.X, sample_weight=made.sample_weight) == -theirs.inertia_
    assert mine.score(made.X) == theirs.score(X)


def fit_and_predict(make, dtype):
    made = make("integer")
    _, answer = reference(str(made.dtype), "integer", dtype, ())
    assert made.gather(model().fit_predict(made.X, None, made.sample_weight)).tobytes() == answer.labels
    again = model()
    distances = made.gather(again.fit_transform(made.X, None, made.sample_weight))
    assert distances.tobytes() == made.gather(again.transform(made.X)).tobytes()


BEHAVIOURS = {
    check.__name__: check
    for check in (
        plain, integer_weights, real_weights, to_the_fixed_point, sample_start, without_a_memo, predictions,
        fit_and_predict,
    )
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_behaves_as_the_array(kind, behaviour, dtype, tmp_path):
    def make(weights):
        return KINDS[kind](rows_of(dtype), weights_of(weights), tmp_path)

    BEHAVIOURS[behaviour](make, dtype)


def test_no_cell_of_the_matrix_is_missing(request):
    """Every kind that the documentation names, every behaviour, both types: collected, and none skipped."""
    documented = {
        "numpy": 6, "list": 1, "pandas": 1, "polars": 1, "Arrow": 2, "Dask array": 2, "Dask dataframe": 1, "Parquet": 3,
    }  # fmt: skip
    for family, count in documented.items():
        assert sum(kind.startswith(family) for kind in KINDS) == count
    assert sum(documented.values()) == len(KINDS)
    assert list(BEHAVIOURS) == [
        "plain",
        "integer_weights",
        "real_weights",
        "to_the_fixed_point",
        "sample_start",
        "without_a_memo",
        "predictions",
        "fit_and_predict",
    ]
    cells = {
        (item.callspec.params["kind"], item.callspec.params["behaviour"], item.callspec.params["dtype"])
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_every_kind_behaves_as_the_array"
        and not any(mark.name in {"skip", "skipif", "xfail"} for mark in item.iter_markers())
    }
    chosen = request.config.option.keyword or any("::" in str(a) for a in request.config.args)
    if not chosen:
        assert len(cells) == len(KINDS) * len(BEHAVIOURS) * len(FLOATS)


# Frames with other columns than floats of one size -----------------------------------------------------------------

MIXTURES = {
    "float32 and int8": {"a": "float32", "b": "int8"},
    "float32 and bool": {"a": "float32", "b": "bool"},
    "float32 and float16": {"a": "float32", "b": "float16"},
    "float32 and float64": {"a": "float32", "b": "float64"},
    "int32": {"a": "int32", "b": "int32"},
    "uint8 and int64": {"a": "uint8", "b": "int64"},
}


def frame_kinds(frame, folder):
    """The same frame as every kind that has columns."""
    frame.to_parquet(folder / "frame.parquet")
    kinds = {
        "pandas": frame,
        "Arrow": pa.Table.from_pandas(frame),
        "Dask": dd.from_pandas(frame, npartitions=3, sort=False),
        "Parquet": folder / "frame.parquet",
    }
    if frame.index.name is None:  # polars has no index
        kinds["polars"] = pl.from_pandas(frame)
    return kinds


@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixed_columns_go_as_float64_in_every_kind(mixture, tmp_path):
    X = np.rint(3 * rows_of("float64")[:, :2])
    X -= X.min()  # whole and positive: every type holds the values
    frame = pd.DataFrame(X, columns=["a", "b"]).astype(MIXTURES[mixture])
    expected = Answer.of(model().fit(frame.to_numpy(np.float64)))
    for kind, table in frame_kinds(frame, tmp_path).items():
        fitted = model().fit(table)
        assert Answer.of(fitted) == expected, kind
        assert fitted.cluster_centers_.dtype == np.float64
        assert fitted.feature_names_in_.tolist() == ["a", "b"]


@pytest.mark.parametrize("values", [np.int16, np.uint64, np.bool_, np.float16, np.longdouble])
def test_other_numbers_go_as_float64(values):
    X = (rows_of("float64") > 1).astype(values)
    X[:, 1] = np.arange(len(X)) % 2
    expected = Answer.of(model().fit(X.astype(np.float64)))
    assert Answer.of(model().fit(X)) == expected
    assert Answer.of(model().fit(da.from_array(X, chunks=(20, 4)))) == expected


# Customer keys ------------------------------------------------------------------------------------------------------

KEYS = {
    "text": [f"household-{i * 37 % 83}" for i in range(83)],
    "integers": [int(i * 37 % 83) - 40 for i in range(83)],
    "a range": range(1000, 1166, 2),
}


@pytest.mark.parametrize("keys", KEYS)
def test_a_named_index_is_the_customer_key_in_every_kind(keys, tmp_path):
    frame = frame_of(rows_of("float32"), KEYS[keys])
    expected = Answer.of(model().fit(frame))
    assert expected != Answer.of(model().fit(frame.reset_index(drop=True)))
    for kind, table in frame_kinds(frame, tmp_path).items():
        fitted = model().fit(table)
        assert fitted.feature_names_in_.tolist() == NAMES, kind
        assert Answer.of(fitted) == expected, kind


@pytest.mark.parametrize("keys", KEYS)
def test_a_customer_column_is_the_key_and_no_feature(keys, tmp_path):
    indexed = frame_of(rows_of("float32"), KEYS[keys])
    expected = Answer.of(model().fit(indexed))
    frame = indexed.reset_index()
    for kind, table in frame_kinds(frame, tmp_path).items():
        fitted = model().fit(table, customer="household")
        assert fitted.feature_names_in_.tolist() == NAMES, kind
        assert Answer.of(fitted) == expected, kind
        assert np.asarray(fitted.predict(table)).tobytes() == expected.labels, kind
        assert np.asarray(fitted.predict(frame[NAMES])).tobytes() == expected.labels, kind
    marked = pa.Table.from_pandas(frame, preserve_index=False)
    marked = marked.replace_schema_metadata({b"gpuseg.customer": b"household"})
    assert Answer.of(model().fit(marked)) == expected
    pq.write_table(marked, tmp_path / "marked.parquet")
    assert Answer.of(model().fit(tmp_path / "marked.parquet")) == expected


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_with_keys_row_order_does_not_matter(weights):
    frame = frame_of(rows_of("float64"), KEYS["text"])
    w = weights_of(weights)
    first = model().fit(frame, sample_weight=w)
    labels = pd.Series(first.labels_, index=frame.index)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(frame))
        again = model().fit(frame.iloc[order], sample_weight=None if w is None else w[order])
        assert again.cluster_centers_.tobytes() == first.cluster_centers_.tobytes()
        assert again.inertia_ == first.inertia_
        assert again.labels_.tolist() == labels.iloc[order].tolist()


def test_weights_stay_with_their_rows_beside_a_customer_column():
    """A shuffle by customer would part them."""
    frame = frame_of(rows_of("float32"), KEYS["integers"]).reset_index()
    w = weights_of("integer")
    expected = Answer.of(model().fit(frame, sample_weight=w, customer="household"))
    rows = dd.from_pandas(frame, npartitions=4, sort=False)
    weights = dd.from_pandas(frame.assign(w=w), npartitions=4, sort=False)["w"]
    assert Answer.of(model().fit(rows, sample_weight=weights, customer="household")) == expected


def test_one_and_the_text_one_are_two_customers():
    """By both types the fit differs from that of text alone, and row order does not matter in either."""
    X = rows_of("float32", n=24)
    keys = [number if number % 2 else str(number) for number in range(24)]
    mixed, text = frame_of(X, keys), frame_of(X, [str(key) for key in keys])
    a, b = model(n_clusters=3).fit(mixed), model(n_clusters=3).fit(text)
    assert Answer.of(a) != Answer.of(b)
    for frame, fitted in ((mixed, a), (text, b)):
        again = model(n_clusters=3).fit(frame.iloc[::-1])
        assert again.labels_[::-1].tolist() == fitted.labels_.tolist()


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2020-01-01", periods=83, name="day"),
        pd.Index(np.arange(83) / 4, name="quarter"),
        pd.CategoricalIndex(list("ab") * 41 + ["a"], name="group"),
        pd.RangeIndex(83),
    ],
    ids=["days", "floats", "categories", "no name"],
)
def test_an_index_that_is_no_key_leaves_row_numbers(index, tmp_path):
    frame = frame_of(rows_of("float32"))
    expected = Answer.of(model().fit(frame))
    frame.index = index
    for kind, table in frame_kinds(frame, tmp_path).items():
        assert Answer.of(model().fit(table)) == expected, kind


def test_an_array_has_no_customer_column():
    with pytest.raises(InputError, match="customer='household' names a column, but X has none"):
        model().fit(rows_of("float32"), customer="household")
    with pytest.raises(InputError, match="but a Dask array has none"):
        model().fit(da.from_array(rows_of("float32"), chunks=20), customer="household")


# Columns ------------------------------------------------------------------------------------------------------------


def test_columns_with_numbers_for_names():
    frame = pd.DataFrame(rows_of("float32"))
    expected = Answer.of(model().fit(frame))
    fitted = model().fit(dd.from_pandas(frame, npartitions=3))
    assert Answer.of(fitted) == expected
    assert not hasattr(fitted, "feature_names_in_")


def test_the_parts_helper_has_empty_and_single_rows():
    assert [len(part) for part in cut(np.arange(83))] == [0, 1, 30, 0, 33, 19]
