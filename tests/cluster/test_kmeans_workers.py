"""One answer on worker processes: any number of them, one killed in the middle, the memo on and off, inside a task."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
from dask.delayed import delayed

from gpuseg import KMeans
from gpuseg.cluster import lloyd
from gpuseg.errors import InputError, NotFiniteError, SourceError
from gpuseg.graph.memo import ENVIRONMENT
from tests.cluster.kinds import Answer, cut, frame_of, rows_of, weights_of
from tests.graph import counted_files

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

WORKERS = "workers of the Dask client"
THREADS = "threads of this process"


def model(**parameters) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 2, "n_init": 1, "tol": 0, "max_iter": 6, **parameters})


def computed(found):
    return np.asarray(found.compute() if hasattr(found, "compute") else found)


def memo_of_worker():
    from gpuseg.graph.memo import MEMO

    return len(MEMO._entries), MEMO.n_bytes()


def tables(X, w, folder):
    """The kinds that go to workers, with their weights."""
    frame = frame_of(X).assign(weight=w)
    frame.to_parquet(folder / "rows.parquet", row_group_size=30, index=False)
    sizes = tuple(len(part) for part in cut(X))
    parts = [delayed(part) for part in cut(frame)]
    whole = dd.from_delayed(parts, meta=frame.iloc[:0])
    return {
        "array": (da.from_array(X, chunks=(sizes, 4)), da.from_array(w, chunks=(sizes,))),
        "frame": (whole[list(frame.columns[:-1])], whole["weight"]),
        "file": (folder / "rows.parquet", "weight"),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_worker_processes_give_the_answer_of_one_array(processes, tmp_path, dtype):
    X, w = rows_of(dtype), weights_of("real")
    expected = Answer.of(model().fit(X, sample_weight=w))
    for kind, (rows, weights) in tables(X, w, tmp_path).items():
        fitted = model().fit(rows, sample_weight=weights)
        assert fitted.placement_ == WORKERS
        assert Answer.of(fitted, computed) == expected, kind
        assert fitted.score(rows, sample_weight=weights) == -fitted.inertia_
    assert set(processes.run(memo_of_worker).values()) == {(0, 0)}


def test_passes_on_worker_processes_are_told_of_here(processes, tmp_path):
    X, w = rows_of("float64"), weights_of("real")
    here, there = [], []
    expected = Answer.of(model(callback=lambda *page: here.append(page)).fit(X, sample_weight=w))
    rows, weights = tables(X, w, tmp_path)["array"]
    fitted = model(callback=lambda *page: there.append(page)).fit(rows, sample_weight=weights)
    assert Answer.of(fitted, computed) == expected
    assert [(page[:2], page[3].tobytes()) for page in there] == [(p[:2], p[3].tobytes()) for p in here]
    # What moved is a figure for progress: another worker than before counts all of its rows.
    assert there[0][2] == here[0][2] == len(X)
    assert all(a[2] >= b[2] for a, b in zip(there, here, strict=True))


@pytest.mark.parametrize("n_bytes", [None, 0])
def test_rounds_of_oversampling_on_worker_processes(processes, monkeypatch, tmp_path, n_bytes):
    X, w = rows_of("float32"), weights_of("real")
    expected = Answer.of(model(init="k-means||").fit(X, sample_weight=w))
    if n_bytes is not None:
        monkeypatch.setenv(ENVIRONMENT, str(n_bytes))
    for kind, (rows, weights) in tables(X, w, tmp_path).items():
        fitted = model(init="k-means||").fit(rows, sample_weight=weights)
        assert Answer.of(fitted, computed) == expected, kind
    assert set(processes.run(memo_of_worker).values()) == {(0, 0)}


@pytest.mark.parametrize("n_bytes", [0, 500])
def test_without_a_memo(three, monkeypatch, n_bytes, tmp_path):
    """The bound of this process is that of the workers."""
    monkeypatch.setenv(ENVIRONMENT, str(n_bytes))
    X, w = rows_of("float64"), weights_of("integer")
    expected = Answer.of(model().fit(X, sample_weight=w))
    rows, weights = tables(X, w, tmp_path)["file"]
    assert Answer.of(model().fit(rows, sample_weight=weights)) == expected


def test_rows_in_memory_stay_here(three):
    X = rows_of("float32")
    assert model().fit(X).placement_ == THREADS
    assert model().fit(frame_of(X)).placement_ == THREADS


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def load(folder: str, number: int, rows):
    """One partition of a Dask collection; the notes say how often each was loaded, and where."""
    with open(f"{folder}/loaded", "a") as file:  # noqa: PTH123 (runs on a worker)
        file.write(f"{number} {os.getpid()}\n")
    return rows


def loads(folder) -> list[tuple[int, int]]:
    return [tuple(map(int, line.split())) for line in (folder / "loaded").read_text().splitlines()]


@pytest.fixture
def counted_array(tmp_path):
    X = rows_of("float32")
    parts = [
        da.from_delayed(delayed(load, pure=False)(str(tmp_path), number, rows), rows.shape, rows.dtype)
        for number, rows in enumerate(np.split(X, [12, 24, 36, 48, 60, 72]))
    ]
    return X, da.concatenate(parts)


def test_a_worker_killed_between_two_passes(three, counted_array, tmp_path, monkeypatch):
    """Nothing but its partitions is loaded again (not even those of which another worker had a copy)."""
    X, rows = counted_array
    killed = []

    def step_and_kill(state, *sums_and_spare):
        if state.iteration == 2:
            killed.append(loads(tmp_path)[0][1])
            kill(killed[0])
        return before(state, *sums_and_spare)

    before = lloyd.step
    monkeypatch.setattr(lloyd, "step", step_and_kill)
    fitted = model().fit(rows)
    assert len(killed) == 1
    assert fitted.n_iter_ > 3
    ran = loads(tmp_path)
    first = ran[:7]
    lost = {number for number, pid in first if pid == killed[0]}
    times = Counter(number for number, _ in ran)
    assert lost
    assert sorted(times) == list(range(7))
    assert all(times[number] == 1 for number in times if number not in lost)
    assert max(times.values()) <= 3
    assert killed[0] not in three.run(os.getpid).values()
    monkeypatch.setattr(lloyd, "step", before)
    assert Answer.of(fitted, lambda found: found.compute(scheduler="sync")) == Answer.of(model().fit(X))


def test_each_file_is_read_once_by_one_worker(three, tmp_path):
    """Later passes go where the first one was: the footer is opened here, the rows there."""
    notes, data = tmp_path / "notes", tmp_path / "data"
    notes.mkdir()
    data.mkdir()
    X = rows_of("float64")
    for number, rows in enumerate(np.array_split(X, 6)):
        frame_of(rows).to_parquet(data / f"part.{number}.parquet", index=False)
    counted_files.register(str(notes))
    three.run(counted_files.register, str(notes))
    fitted = model().fit(f"counted://{data}/part.*.parquet")
    assert Answer.of(fitted) == Answer.of(model().fit(X))
    assert counted_files.openings(notes) == {f"part.{number}.parquet": 2 for number in range(6)}


def test_a_worker_killed_in_the_middle_of_a_task(three, tmp_path, monkeypatch):
    """A pass over files, no memo: the worker that has opened a file in a pass is killed before it has read it."""
    monkeypatch.setenv(ENVIRONMENT, "0")
    notes, data = tmp_path / "notes", tmp_path / "data"
    notes.mkdir()
    data.mkdir()
    X = rows_of("float32")
    for number, rows in enumerate(np.split(X, [30, 60])):
        frame_of(rows).to_parquet(data / f"part.{number}.parquet", index=False)
    counted_files.register(str(notes))
    three.run(counted_files.register, str(notes))
    path = f"counted://{data}/part.*.parquet"
    undisturbed = model().fit(path)
    expected = counted_files.openings(notes)
    assert Answer.of(undisturbed) == Answer.of(model().fit(X))
    # The barrier is in the middle of Lloyd's algorithm: past the openings that come before its first pass.
    (notes / "opened").unlink()
    before_lloyd = expected["part.1.parquet"] - undisturbed.n_iter_ - 1
    counted_files.hold(notes, "part.1.parquet", before_lloyd + 2)
    killed = []

    def watch():
        counted_files.wait_for(notes / "held")
        killed.append(int((notes / "held").read_text()))
        kill(killed[0])
        (notes / "release").write_text("now")

    watcher = threading.Thread(target=watch)
    watcher.start()
    fitted = model().fit(path)
    watcher.join(60)
    assert killed
    assert Answer.of(fitted) == Answer.of(undisturbed)
    found = counted_files.openings(notes)
    assert found["part.1.parquet"] >= expected["part.1.parquet"] + 1
    # What the dead worker had finished in that pass is done again, and nothing else.
    assert all(expected[name] <= found[name] <= expected[name] + 3 for name in expected)


def fit_inside(rows):
    fitted = model().fit(rows)
    return fitted.placement_, Answer.of(fitted, computed)


def fit_collection_inside(rows):
    return fit_inside(da.from_array(rows, chunks=(20, 4)))


def test_a_fit_inside_a_task_uses_threads_of_its_process(processes):
    """No task waits for another task."""
    X = rows_of("float32")
    expected = THREADS, Answer.of(model().fit(X))
    futures = [
        processes.submit(task, X, pure=False)
        for task in (fit_inside, fit_collection_inside)
        for _ in range(2)
    ]
    assert processes.gather(futures) == [expected] * 4


def test_models_go_to_workers_and_back(three):
    X = rows_of("float64")
    fitted = model().fit(X)
    labels = three.submit(fitted.predict, X).result(timeout=60)
    assert labels.tobytes() == fitted.labels_.tobytes()
    again = three.submit(model().fit, X).result(timeout=60)
    assert Answer.of(again) == Answer.of(fitted)


# Errors cross the border of processes --------------------------------------------------------------------------------


def test_bad_values_on_a_worker(three):
    X = rows_of("float32")
    X[40, 2] = np.nan
    X[41, 2] = np.inf
    with pytest.raises(NotFiniteError, match=r"2 values in feature 2 \(2\).*\(partition 2\)"):
        model().fit(da.from_array(X, chunks=(20, 4)))
    assert set(three.run(memo_of_worker).values()) == {(0, 0)}


def test_a_partition_that_cannot_be_read_on_a_worker(three):
    rows = da.from_array(rows_of("float32"), chunks=(20, 4)).map_blocks(refuse_some, dtype=np.float32)
    with pytest.raises(InputError, match=r"partition 1.*float64 although X announces float32"):
        model().fit(rows)


def refuse_some(rows, block_info=None):
    return rows.astype(np.float64) if block_info[0]["chunk-location"][0] == 1 else rows


def test_a_file_cut_after_it_was_opened(three, tmp_path):
    """The footer was whole when the table was opened."""
    frame_of(rows_of("float32")).to_parquet(tmp_path / "rows.parquet")
    from gpuseg.engines.choose import choose_engine
    from gpuseg.graph import executors, parquet_tables, tasks
    from gpuseg.graph.tasks import Job

    table = parquet_tables.parquet_table(tmp_path / "rows.parquet", None, None)
    with (tmp_path / "rows.parquet").open("r+b") as file:
        file.truncate(600)
    executor = executors.executor_for(table)
    with pytest.raises(SourceError, match=r"rows\.parquet: the file has changed while it was used"):
        executor.map(tasks.scan_partition, Job("run", choose_engine("cpu")))
    executor.close()
