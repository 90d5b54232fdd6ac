"""What a fit tells while it runs, and that being looked at changes no bit of its answer."""

from __future__ import annotations

import itertools

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone

from gpuseg import KMeans
from gpuseg.graph.memo import ENVIRONMENT, MEMO
from tests.cluster.kinds import Answer, cut, rows_of, weights_of


def model(**parameters) -> KMeans:
    return KMeans(
        **{"n_clusters": 4, "random_state": 8, "init": rows_of("float32")[:4], "tol": 0, **parameters}
    )


class Diary:
    """A callback that writes down what it is told, and ends the fit after ``last`` iterations."""

    def __init__(self, last=None, answer=True) -> None:
        self.pages, self.last, self.answer = [], last, answer

    def __call__(self, iteration, inertia, n_moved, centers):
        self.pages.append((iteration, inertia, n_moved, centers.copy()))
        centers[:] = np.nan  # theirs to keep
        return self.answer if iteration == self.last else None


def computed(found):
    return np.asarray(found.compute() if hasattr(found, "compute") else found)


def in_chunks(X):
    return da.from_array(X, chunks=(tuple(map(len, cut(X))), 4))


@pytest.mark.parametrize("kind", ["array", "chunks"])
@pytest.mark.parametrize("weights", ["none", "integer", "real"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_pass_says_what_a_fit_that_ends_there_finds(dtype, weights, kind):
    """Centres, inertia and moved rows of pass i are those of the fit whose centres pass i assigns to."""
    X, w = rows_of(dtype), weights_of(weights)
    diary = Diary()
    given, its = (
        (X, w) if kind == "array" else (in_chunks(X), None if w is None else in_chunks(w[:, None])[:, 0])
    )
    fitted = model(callback=diary).fit(given, sample_weight=its)
    assert Answer.of(fitted, computed) == Answer.of(model().fit(X, sample_weight=w))
    assert [page[0] for page in diary.pages] == list(range(1, fitted.n_iter_ + 1))
    assert fitted.n_iter_ > 3
    starts = np.array([page[3] for page in diary.pages])
    assert starts.dtype == X.dtype
    assert starts[0] == pytest.approx(rows_of("float32")[:4], rel=1e-6)
    ends = [model(max_iter=number).fit(X, sample_weight=w) for number in range(1, fitted.n_iter_)]
    assert starts[1:].tobytes() == b"".join(end.cluster_centers_.tobytes() for end in ends)
    assert [page[1] for page in diary.pages[1:]] == [end.inertia_ for end in ends]
    changes = [int((a.labels_ != b.labels_).sum()) for a, b in itertools.pairwise(ends)]
    assert diary.pages[0][2] == len(X)
    assert [page[2] for page in diary.pages[2:]] == changes


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_ends_the_fit_as_max_iter_would(answer):
    X = rows_of("float64")
    ended = model(callback=Diary(last=3, answer=answer)).fit(X)
    assert Answer.of(ended) == Answer.of(model(max_iter=3).fit(X))
    assert ended.predict(X).tolist() == ended.labels_.tolist()


@pytest.mark.parametrize("answer", [False, 1, "stop", None])
def test_only_true_ends_the_fit(answer):
    X = rows_of("float32")
    assert Answer.of(model(callback=Diary(last=2, answer=answer)).fit(X)) == Answer.of(model().fit(X))


def test_without_a_memo_every_row_counts_as_moved(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "0")
    X = rows_of("float32")
    diary = Diary()
    fitted = model(callback=diary).fit(in_chunks(X))
    assert Answer.of(fitted, computed) == Answer.of(model().fit(X))
    assert {page[2] for page in diary.pages} == {len(X)}


def test_a_callback_that_fails_fails_the_fit_and_leaves_nothing():
    def fails(*page):
        raise LookupError("no disk")

    fresh = model(callback=fails)
    with pytest.raises(LookupError, match="no disk"):
        fresh.fit(rows_of("float32"))
    assert not hasattr(fresh, "cluster_centers_")
    assert not MEMO._entries


def test_a_line_a_pass(capsys):
    X = rows_of("float32")
    diary = Diary()
    fitted = model(callback=diary, verbose=1).fit(X)
    told = capsys.readouterr().out.splitlines()
    assert told[:-1] == [
        f"Iteration {iteration}, inertia {inertia}, {moved} rows moved."
        for iteration, inertia, moved, _ in diary.pages
    ]
    assert told[-1] == f"Converged at iteration {fitted.n_iter_}: the centres rest."
    assert Answer.of(fitted) == Answer.of(model().fit(X))


def test_the_last_line_says_why(capsys):
    X = rows_of("float32")

    def last(**parameters):
        fitted = model(verbose=True, **parameters).fit(X)
        return fitted.n_iter_, capsys.readouterr().out.splitlines()[-1]

    assert last(max_iter=2) == (2, "Stopped at iteration 2: max_iter.")
    assert last(callback=Diary(last=1)) == (1, "Stopped at iteration 1: by the callback.")
    number, said = last(tol=0.1)
    assert said.startswith(f"Converged at iteration {number}: shift 0.")
    tolerance = 0.1 * X.astype(np.float64).var(axis=0).mean()
    assert float(said.rpartition(" ")[2].rstrip(".")) == pytest.approx(tolerance)


def test_silence_is_the_default(capsys):
    model().fit(rows_of("float32"))
    model(verbose=0, callback=Diary()).fit(rows_of("float32"))
    assert capsys.readouterr().out == ""


def test_a_callback_is_a_parameter_like_others():
    def told(iteration, inertia, n_moved, centers):
        return iteration == 2

    assert clone(model(callback=told)).callback is told
    assert KMeans(2).set_params(callback=told).callback is told
