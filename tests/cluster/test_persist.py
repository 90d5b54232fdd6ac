"""What is held between passes and what is read again: the same answer, as many reads as planned, nothing silent."""

from __future__ import annotations

import logging
from collections import Counter

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pyarrow.parquet as pq
import pytest
from dask.delayed import delayed
from sklearn.base import clone

from gpuseg import KMeans, choose_k
from gpuseg.cluster import planning
from gpuseg.cluster.sweep import fit_together
from gpuseg.errors import InputError, MemoryPlanError
from gpuseg.graph import memo, partitions
from gpuseg.graph.memo import ENVIRONMENT, MEMO
from tests.cluster.kinds import Answer, frame_of, rows_of, weights_of
from tests.graph import counted_files

N, PART, MB = 240, 30, 1_000_000
INITS = ("k-means++", "k-means||", "array")


def model(init="k-means++", **parameters) -> KMeans:
    start = rows_of("float64", n=N)[:4] if init == "array" else init
    fixed = {"n_clusters": 4, "random_state": 5, "n_init": 1, "tol": 0, "max_iter": 5, "init_max_iter": 2}
    return KMeans(**{**fixed, "init": start, **parameters})


def computed(found):
    return np.asarray(found.compute() if hasattr(found, "compute") else found)


@pytest.fixture
def file(tmp_path):
    """A file of eight row groups, with weights."""

    def write(dtype):
        frame = frame_of(rows_of(dtype, n=N)).assign(weight=weights_of("real", n=N))
        frame.to_parquet(tmp_path / "rows.parquet", row_group_size=PART, index=False)
        return tmp_path / "rows.parquet"

    return write


@pytest.fixture
def loads(monkeypatch):
    """How often each row group is read."""
    counted: Counter[tuple[int, ...]] = Counter()
    before = partitions.ParquetPartition.load

    def load(self):
        counted[self.row_groups] += 1
        return before(self)

    monkeypatch.setattr(partitions.ParquetPartition, "load", load)
    return counted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", INITS)
def test_files_held_or_read_again_give_the_answer_of_rows_in_memory(file, loads, dtype, init):
    X, w = rows_of(dtype, n=N), weights_of("real", n=N)
    expected = Answer.of(model(init).fit(X, sample_weight=w))
    for persist in (True, False, "auto"):
        loads.clear()
        fitted = model(init, persist=persist).fit(file(dtype), sample_weight="weight")
        assert Answer.of(fitted) == expected
        assert fitted.persist_ is (persist is not False)
        once, each = fitted.memory_plan_.reads
        assert not fitted.n_relocated_, "a pass that relocates reads once more"
        assert set(loads.values()) == {once + each * fitted.n_iter_}, persist
        assert len(loads) == N // PART
    assert MEMO.n_bytes() == 0


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_what_does_not_fit_is_read_again_and_no_more(file, loads, monkeypatch, share):
    path = file("float32")
    held = model("array").plan(path, "weight").held
    monkeypatch.setenv(ENVIRONMENT, str(int(share * held)))
    fitted = model("array", max_iter=20).fit(path, sample_weight="weight")
    assert not fitted.persist_
    assert fitted.memory_plan_.held_share == pytest.approx(share, abs=0.01)
    once, each = fitted.memory_plan_.reads
    most = once + each * fitted.n_iter_
    # A plan is for the most that rows may take: weights that need eight bytes, bounds that pay.
    stay = sum(count <= once for count in loads.values())
    assert int(share * N / PART) <= stay < N // PART
    assert max(loads.values()) == most
    expected = model("array", max_iter=20).fit(rows_of("float32", n=N), sample_weight=weights_of("real", n=N))
    assert Answer.of(fitted) == Answer.of(expected)


def test_a_list_of_files_is_one_table_in_its_order(tmp_path):
    X = rows_of("float32", n=N)
    for name, rows in (("b", X[:100]), ("a", X[100:])):
        frame_of(rows).to_parquet(tmp_path / f"{name}.parquet", row_group_size=40, index=False)
    files = [tmp_path / "b.parquet", str(tmp_path / "a.parquet")]
    for persist in (True, False):
        fitted = model(persist=persist).fit(files)
        assert Answer.of(fitted) == Answer.of(model().fit(X))
        assert fitted.predict(files).tolist() == fitted.labels_.tolist()


def test_a_plan_reads_no_row_and_leaves_the_estimator(file, loads, monkeypatch):
    path = file("float64")
    fresh = model()
    before = vars(fresh).copy()
    plan = fresh.plan(path, "weight")
    assert not loads
    assert vars(fresh) == before
    assert (plan.table.n_rows, plan.table.tile_rows, plan.table.n_tiles) == (N, PART, N // PART)
    kept = fresh.fit(path, sample_weight="weight").memory_plan_
    assert (plan.table, plan.work, plan.peak, plan.persist) == (
        kept.table,
        kept.work,
        kept.peak,
        kept.persist,
    )
    rows = da.from_delayed(delayed(refuse)(), (N, 3), np.float32)
    assert fresh.plan(rows).table.n_rows == N
    with pytest.raises(InputError, match="n_clusters=0"):
        model(n_clusters=0).plan(path)


def refuse():
    raise AssertionError("a plan computes nothing")


def test_the_decision_is_logged_once_a_fit(file, caplog):
    path = file("float32")
    with caplog.at_level(logging.INFO, "gpuseg.cluster"):
        model().fit(path, sample_weight="weight")
        choose_k(path, [2, 3], random_state=0)
        model().fit(rows_of("float32", n=N))
    said = [record.getMessage() for record in caplog.records if "persist=" in record.getMessage()]
    assert [message.split(":")[0] for message in said] == ["persist=auto", "persist=auto"]
    assert "every row is held" in said[0]


def test_models_of_one_read_are_planned_together(file):
    path = file("float32")
    models = [KMeans(k, random_state=0, persist=False) for k in (2, 3)]
    fit_together(models, path, lambda *_: None)
    assert models[0].memory_plan_.work.clusters == (2, 3)
    assert not models[1].persist_


@pytest.mark.parametrize("value", ["yes", None, 1, 0.5])
def test_other_values_are_refused(value):
    with pytest.raises(InputError, match=r"persist=.* must be 'auto', True or False"):
        model(persist=value).fit(rows_of("float32", n=N))


def test_persist_is_a_parameter_like_the_others():
    assert clone(model(persist=False)).get_params()["persist"] is False
    assert model(persist=np.False_).fit(rows_of("float32", n=N)).persist_  # rows in memory stay there


def test_what_cannot_fit_is_refused_with_a_remedy(file, monkeypatch):
    path = file("float32")
    monkeypatch.setattr(planning, "available_memory", lambda: 4000)
    with pytest.raises(
        MemoryPlanError, match=r"needs .* KiB in this process .*the sample.* use init='k-means\|\|'"
    ):
        model().fit(path)
    with pytest.raises(
        MemoryPlanError, match=r"3.9 KiB are available; write the files with fewer rows a row group"
    ):
        model("k-means||", persist=False).fit(path)
    with pytest.raises(
        MemoryPlanError, match=r"rows held between passes .* use persist='auto' or give more memory"
    ):
        model("array", persist=True).fit(path)
    one_row = file_of_rows(path, 1)
    with pytest.raises(
        MemoryPlanError, match=r"\(labels 1.2 KiB\).* Dask dataframe of the files, whose labels stay"
    ):
        model("array", persist=False).fit(one_row, sample_weight="weight")
    with pytest.raises(MemoryPlanError, match="rechunk X into smaller partitions"):
        model("array", persist=False).fit(da.from_array(rows_of("float32", n=N)[:, :3], chunks=(240, 3)))
    with pytest.raises(MemoryPlanError, match="feature-major float32"):
        model("array").fit(rows_of("float32", n=N))
    monkeypatch.undo()
    monkeypatch.setenv(ENVIRONMENT, "100")
    with pytest.raises(
        MemoryPlanError, match=r"persist=True holds .* and GPUSEG_MEMO_BYTES=100 allows less; raise it"
    ):
        model(persist=True).plan(path)


def file_of_rows(path, n):
    found = path.with_name("groups.parquet")
    pq.write_table(pq.read_table(path), found, row_group_size=n)
    return found


def marked(rows, folder, number):
    """Rows that leave a note each time they are made."""
    counted_files.register(str(folder))
    counted_files.note(f"rows-{number}")
    return rows


def collections(X, folder):
    """A Dask array and frame whose partitions count how often they are made."""
    parts = [delayed(marked)(rows, str(folder), i) for i, rows in enumerate(np.array_split(X, 4))]
    arrays = [da.from_delayed(part, (len(X) // 4, X.shape[1]), X.dtype) for part in parts]
    frames = [delayed(frame_of)(part) for part in parts]
    return da.concatenate(arrays), dd.from_delayed(frames, meta=frame_of(X[:0]))


@pytest.mark.cluster
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "init"), [("array", "k-means++"), ("frame", "k-means||"), ("array", "array")]
)
def test_collections_on_workers_are_held_or_made_again(processes, tmp_path, init, kind):
    X = rows_of("float64", n=N)
    expected = Answer.of(model(init).fit(X))
    rows = collections(X, tmp_path)[["array", "frame"].index(kind)]
    for persist in (True, False):
        (tmp_path / "opened").unlink(missing_ok=True)
        fitted = model(init, persist=persist).fit(rows)
        once, each = fitted.memory_plan_.reads
        made = counted_files.openings(tmp_path)
        assert fitted.persist_ is persist
        assert made == {f"rows-{i}": once + each * fitted.n_iter_ for i in range(4)}
        assert Answer.of(fitted, computed) == expected
        assert fitted.memory_plan_.place.workers == len(processes.scheduler_info(n_workers=-1)["workers"])


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_files_on_workers_are_held_or_read_again(three, file, monkeypatch):
    X, path = rows_of("float32", n=N), file("float32")
    expected = Answer.of(model().fit(X, sample_weight=weights_of("real", n=N)))
    for persist in (True, False, "auto"):
        assert Answer.of(model(persist=persist).fit(path, sample_weight="weight")) == expected
    monkeypatch.setattr(
        planning, "worker_limits", lambda client: [(300 * MB, 1), (200 * MB, 1), (200 * MB, 1)]
    )
    monkeypatch.setattr(memo, "_WORKER_SHARE", 5e-6)
    plan = model().plan(path, "weight")
    assert not plan.persist
    assert plan.room == 1500 + 1000 + 1000
    assert plan.place.available == 200 * MB
    collected = model().plan(da.from_array(X, chunks=(60, 4)))
    assert (collected.persist, collected.room, collected.holds_source) == (False, 0, False)
    assert "every pass makes them again" in collected.reason
