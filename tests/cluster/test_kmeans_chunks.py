"""Chunks, threads and the memo change no bit of an answer."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.delayed import delayed
from hypothesis import given
from hypothesis import strategies as st

from gpuseg import KMeans
from gpuseg.cluster.seeding import gather_sample
from gpuseg.engines.cpu import pool
from gpuseg.graph import memo
from gpuseg.graph.memo import ENVIRONMENT, MEMO
from tests.cluster.kinds import Answer, frame_of, rows_of, weights_of

N = 83


@pytest.fixture(scope="module", autouse=True)
def _small_splits():
    """Threads share even these few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_MIN_ROWS", 16)
        yield


def model(**parameters) -> KMeans:
    return KMeans(
        **{"n_clusters": 5, "random_state": 11, "n_init": 1, "tol": 0, "max_iter": 12, **parameters}
    )


@functools.cache
def reference(dtype: str, weights: str, limit: int) -> Answer:
    with sampled(limit):
        return Answer.of(model(n_jobs=1).fit(rows_of(dtype), sample_weight=weights_of(weights)))


@contextlib.contextmanager
def sampled(limit: int):
    """Fits gather at most ``limit`` rows for seeding, and try seedings out on about half of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpuseg.core.seeding.DRAFT_ROWS", limit // 2)
        patch.setattr("gpuseg.core.seeding.DRAFT_ROWS_A_CLUSTER", 1)
        patch.setattr("gpuseg.cluster.sharing.gather_sample", functools.partial(gather_sample, limit=limit))
        yield


sizes_of = st.lists(st.integers(0, N), max_size=8).map(
    lambda cuts: tuple(np.diff([0, *sorted(cuts), N]).tolist())
)


@given(
    sizes=sizes_of,
    dtype=st.sampled_from(["float32", "float64"]),
    weights=st.sampled_from(["none", "integer", "real"]),
    limit=st.sampled_from([1 << 18, 30]),
    n_jobs=st.sampled_from([1, 2, 5]),
    n_bytes=st.sampled_from([None, 0, 1, 300, 1500, 4000]),
    known=st.booleans(),
)
def test_any_chunking_threads_and_memo(sizes, dtype, weights, limit, n_jobs, n_bytes, known):
    X, w = rows_of(dtype), weights_of(weights)
    if known:
        rows = da.from_array(X, chunks=(sizes, 3))
        given_weights = None if w is None else da.from_array(w, chunks=(sizes[::-1],))
    else:
        rows = _unknown(X, sizes)
        given_weights = None if w is None else _unknown(w, sizes)
    with pytest.MonkeyPatch.context() as patch, sampled(limit):
        if n_bytes is not None:
            patch.setenv(ENVIRONMENT, str(n_bytes))
        fitted = model(n_jobs=n_jobs).fit(rows, sample_weight=given_weights)
    assert Answer.of(fitted, lambda found: found.compute(scheduler="sync")) == reference(
        dtype, weights, limit
    )
    assert MEMO.n_bytes() == 0


def _unknown(values, sizes):
    borders = np.cumsum([0, *sizes])
    parts = [
        da.from_delayed(delayed(values[a:b]), (np.nan, *values.shape[1:]), values.dtype)
        for a, b in itertools.pairwise(borders)
    ]
    return da.concatenate(parts, axis=0, allow_unknown_chunksizes=True)


@pytest.mark.parametrize("n_jobs", [None, -1, -2, 1, 2, 5, 64])
@pytest.mark.parametrize("weights", ["none", "real"])
def test_threads(n_jobs, weights):
    X, w = rows_of("float32"), weights_of(weights)
    assert Answer.of(model(n_jobs=n_jobs).fit(X, sample_weight=w)) == reference("float32", weights, 1 << 18)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 31, 33])
def test_more_threads_than_rows(n):
    X = rows_of("float32", n=n)
    parameters = {"n_clusters": min(n, 3)}
    expected = Answer.of(model(**parameters, n_jobs=1).fit(X))
    assert Answer.of(model(**parameters, n_jobs=50).fit(X)) == expected
    chunked = model(**parameters, n_jobs=50).fit(da.from_array(X, chunks=(1, 4)))
    assert Answer.of(chunked, lambda found: found.compute()) == expected


def test_rows_enough_for_real_threads():
    """Borders of tiles, ranges and blocks as they are outside the tests."""
    X = rows_of("float32", n=30_001, d=3)
    w = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_MIN_ROWS", 4096)
        answers = [
            Answer.of(model(n_jobs=n, max_iter=5).fit(rows, sample_weight=w))
            for n in (1, 2, 5)
            for rows in (X, np.asfortranarray(X))
        ]
        chunked = model(max_iter=5).fit(da.from_array(X, chunks=(7000, 3)), sample_weight=da.from_array(w))
    assert set(answers) == {Answer.of(chunked, lambda found: found.compute())}


@pytest.mark.parametrize("n_bytes", [0, 400, 900])
def test_eviction_happens_in_the_middle_of_a_fit(monkeypatch, n_bytes):
    """The bound is below what all partitions need and (unless 0) above what one needs."""
    monkeypatch.setenv(ENVIRONMENT, str(n_bytes))
    held, evicted = [], []
    before = memo.Memo._evict

    def counting(self, max_bytes, *used):
        there = set(self._entries)
        before(self, max_bytes, *used)
        evicted.append(len(there - set(self._entries)))
        held.append(self.n_bytes())

    monkeypatch.setattr(memo.Memo, "_evict", counting)
    fitted = model().fit(da.from_array(rows_of("float32"), chunks=(20, 4)))
    answer = Answer.of(fitted, lambda found: found.compute())
    assert answer == reference("float32", "none", 1 << 18)
    assert max(held) <= n_bytes
    assert sum(evicted) > 10
    assert n_bytes == 0 or max(held) > 0


def test_partitions_with_types_of_their_own():
    """Empty partitions of a frame are often of type object, whole ones integers where others have decimals."""
    frame = frame_of(np.rint(rows_of("float64")))
    parts = [
        frame.iloc[:0].astype(object),
        frame.iloc[:30].astype("int64"),
        frame.iloc[30:31],
        frame.iloc[31:31].astype("string"),
        frame.iloc[31:].astype("float32"),
    ]
    rows = dd.from_delayed([delayed(part) for part in parts], meta=frame.iloc[:0], verify_meta=False)
    fitted = model().fit(rows)
    assert Answer.of(fitted, lambda found: found.compute().to_numpy()) == Answer.of(model().fit(frame))
    distances = fitted.transform(rows).compute()
    assert distances.to_numpy().tobytes() == fitted.transform(frame).tobytes()


def test_fits_at_the_same_time_do_not_meet():
    """Threads of one process share pool and memo."""
    X = {dtype: rows_of(dtype) for dtype in ("float32", "float64")}
    found, errors = {}, []

    def work(number):
        try:
            dtype = ("float32", "float64")[number % 2]
            rows = X[dtype] if number < 4 else da.from_array(X[dtype], chunks=(9, 4))
            fitted = model(n_jobs=2).fit(rows)
            found[number] = dtype, Answer.of(fitted, np.asarray)
        except Exception as error:  # noqa: BLE001 (shown below)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert all(answer == reference(dtype, "none", 1 << 18) for dtype, answer in found.values())
    assert len(found) == 8


def test_fits_of_one_file_at_the_same_time(tmp_path):
    """One file is one token: the entries are shared, the states are not."""
    frame = frame_of(rows_of("float32"))
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=20)
    expected = {k: Answer.of(model(n_clusters=k).fit(frame)) for k in (3, 4, 5)}
    found = {}

    def work(number):
        k = 3 + number % 3
        found[number] = k, Answer.of(model(n_clusters=k).fit(tmp_path / "rows.parquet"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6
    assert all(answer == expected[k] for k, answer in found.values())


def test_labels_of_a_frame_keep_its_index():
    frame = frame_of(rows_of("float32"), [f"h{i:02}" for i in range(N)])
    fitted = model().fit(dd.from_pandas(frame, npartitions=4))
    labels = fitted.labels_.compute()
    assert isinstance(labels, pd.Series)
    assert labels.index.equals(frame.index)
    assert fitted.transform(dd.from_pandas(frame, npartitions=3)).compute().index.equals(frame.index)
