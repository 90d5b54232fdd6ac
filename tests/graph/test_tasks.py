"""Tasks are pure: any number of times, in any order, with a memo or without, they give the same full partials."""

from __future__ import annotations

import os
from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from gpuseg import KMeans
from gpuseg.cluster.preparing import prepare
from gpuseg.core.identity import row_numbers
from gpuseg.core.moments import Layout
from gpuseg.core.oversampling import Round
from gpuseg.core.seeding import LARGEST_DRAW
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.choose import choose_engine
from gpuseg.engines.cpu import pool
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import ContractError
from gpuseg.graph import quality_tasks, tasks
from gpuseg.graph.dask_tables import dask_table
from gpuseg.graph.executors import LocalExecutor
from gpuseg.graph.memo import MEMO
from gpuseg.graph.parquet_tables import parquet_table
from gpuseg.graph.partitions import HostTable, MemoryPartition, ParquetPartition, key_identities
from gpuseg.graph.tables import Table
from gpuseg.graph.tasks import Job
from tests import strategies

N = 200
ENGINE = choose_engine("cpu")
HELD, DROPPED = 1 << 40, 0


def rows(dtype="float32", seed=0):
    X = np.random.default_rng(seed).normal(size=(N, 3)) + np.random.default_rng(seed + 1).integers(
        0, 3, (N, 1)
    )
    return X.astype(dtype)


@pytest.fixture(params=["memory, C", "memory, feature-major", "file"])
def source(request, tmp_path):
    """How a partition comes by its rows."""

    def make(X, w=None, keys=None):
        if request.param == "file":
            frame = pd.DataFrame(X, columns=["a", "b", "c"])
            frame = frame if w is None else frame.assign(w=w)
            frame = frame if keys is None else frame.assign(who=keys)
            frame.to_parquet(tmp_path / "rows.parquet", index=False)
            [part] = parquet_table(
                tmp_path / "rows.parquet", None if w is None else "w", None if keys is None else "who"
            ).partitions
            return part
        order = "F" if "major" in request.param else "C"
        return MemoryPartition("rows", HostTable(np.asarray(X, order=order), w, keys))

    yield make
    MEMO.clear()


def prepared(part, dtype, memo_bytes=HELD):
    job = Job("run", ENGINE, memo_bytes)
    table = Table([part], 3, None, "memory", single=dtype == "float32")
    return prepare(LocalExecutor(table, ENGINE), job, single=table.single, n_clusters=1, columns=None).job


def centres_of(job, X, seed):
    return job.layout.block_values(X)[np.random.default_rng(seed).integers(0, N, 4)]


def sums_of(part, job, c):
    return tasks.assign_partition(part, job, [c])[0].sums


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_old_and_new_centres_mixed_and_repeated(source, dtype, weights):
    """A late or repeated task finds labels of other centres in the memo; its partial is full and the same."""
    X, w = rows(dtype), strategies.weight_array(weights, N, 1)
    part = source(X, w)
    job = prepared(part, dtype)
    plain = Job("another run", ENGINE, DROPPED, job.layout)
    centres = [centres_of(job, X, seed) for seed in range(4)]
    expected = [sums_of(part, plain, c) for c in centres]
    closing = [tasks.close_partition(part, plain, [c], want_labels=True)[0] for c in centres]
    for step in (0, 1, 1, 0, 2, 3, 3, 1, 0):
        assert strategies.same(sums_of(part, job, centres[step]), expected[step])
        if step % 2:
            for other in (step, (step + 1) % 4):
                [closed] = tasks.close_partition(part, job, [centres[other]], want_labels=True)
                assert strategies.same(closed.sums, closing[other].sums)
                assert closed.labels.tolist() == closing[other].labels.tolist()
                assert closed.moments is None
    direct = CpuEngine(1).assign(
        job.layout.block_values(X).T.copy(),
        Weights.of(w, job.layout.scales.mode),
        [centres[2]],
        [AssignState.fresh(N, 4)],
        job.layout.scales,
    )
    assert strategies.same(direct[0].sums, expected[2])


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_a_pass_that_adds_its_inertia(source, weights):
    """The same sums, and the inertia of the closing pass, whether or not the pass before added it."""
    X, w = rows(), strategies.weight_array(weights, N, 1)
    part = source(X, w)
    job = prepared(part, "float32")
    for step, inertia in enumerate([False, True, True, False, True]):
        c = centres_of(job, X, step % 3)
        [found] = tasks.assign_partition(part, job, [c], None, inertia)
        [plain] = tasks.assign_partition(part, Job("another run", ENGINE, DROPPED, job.layout), [c])
        alone = Job("third run", ENGINE, DROPPED, job.layout)
        [closed] = tasks.close_partition(part, alone, [c], want_labels=False)
        expected = replace(plain.sums, inertia=closed.sums.inertia) if inertia else plain.sums
        assert strategies.same(found.sums, expected)


def test_what_moved_is_counted_against_what_is_remembered(source):
    """Where nothing is, every row has moved."""
    X = rows()
    part = source(X)
    job = prepared(part, "float32")
    forgetful = Job("another run", ENGINE, DROPPED, job.layout)
    before, after = (centres_of(job, X, seed) for seed in range(2))
    old, new = tasks.close_partition(part, forgetful, [before, after], want_labels=True)
    n_moved = int((old.labels != new.labels).sum())
    assert 0 < n_moved < N
    for j, expected in (
        (forgetful, [N, N, N]),
        (Job("third run", ENGINE, HELD, job.layout), [N, n_moved, 0]),
    ):
        assert [tasks.assign_partition(part, j, [c])[0].moved for c in (before, after, after)] == expected


def test_closing_without_labels_sends_none(source):
    part = source(rows())
    job = prepared(part, "float32")
    [closed] = tasks.close_partition(part, job, [centres_of(job, rows(), 0)], want_labels=False)
    assert closed.labels is None
    [other] = tasks.close_partition(part, job, [centres_of(job, rows(), 0)], want_labels=True)
    assert strategies.same(closed.sums, other.sums)


def test_several_models_at_once_are_each_model_alone(source):
    X = rows()
    part = source(X)
    job = prepared(part, "float32")
    centres = [centres_of(job, X, seed)[: seed + 1] for seed in range(4)]
    jobs = [Job(f"run {i}", ENGINE, DROPPED, job.layout) for i in range(4)]
    alone = [sums_of(part, j, c) for j, c in zip(jobs, centres, strict=True)]
    for _ in range(2):
        together = tasks.assign_partition(part, job, centres)
        assert all(strategies.same(a, b.sums) for a, b in zip(alone, together, strict=True))
    # Models that rest drop out; what is remembered of the others stays theirs.
    for numbers in ([1, 3], [3, 0]):
        some = tasks.assign_partition(part, job, [centres[m] for m in numbers], numbers)
        assert all(strategies.same(alone[m], found.sums) for m, found in zip(numbers, some, strict=True))
    closed = tasks.close_partition(part, job, centres, want_labels=True, want_moments=True)
    for c, one in zip(centres, closed, strict=True):
        [expected] = tasks.close_partition(part, jobs[0], [c], want_labels=True)
        assert strategies.same(one.sums, expected.sums)
        assert one.labels.tolist() == expected.labels.tolist()
        wanted = quality_tasks.label_moments_partition(part, one.labels, job, len(c))
        assert all(strategies.same(a, b) for a, b in zip(one.moments, wanted, strict=True))


@pytest.mark.parametrize("memo_bytes", [HELD, DROPPED])
def test_silhouettes_of_models_are_those_of_their_labels(source, memo_bytes):
    """At rest, or with centres that are not the means of their clusters; one has a cluster without rows."""
    X = rows()
    part = source(X)
    job = prepared(part, "float32", memo_bytes)
    centres = [centres_of(job, X, seed)[: seed + 2] for seed in range(3)]
    centres[2] = np.concatenate([centres[2], np.full((1, 3), 1e4, np.float32)])
    closed = tasks.close_partition(part, job, centres, want_labels=True, want_moments=True)
    shapes = [ClusterShape.of(one.moments, c) for one, c in zip(closed, centres, strict=True)]
    centres[1] = shapes[1].centres  # the means of the clusters, though other rows may be nearest to them now
    labels = [one.labels for one in closed]
    alone = Job("alone", ENGINE, DROPPED, job.layout)
    labels[1] = tasks.close_partition(part, alone, [centres[1]], want_labels=True)[0].labels
    found = quality_tasks.model_silhouettes_partition(part, job, centres, shapes)
    for one, shape, total in zip(labels, shapes, found, strict=True):
        _, expected = quality_tasks.square_silhouettes_partition(part, one, job, shape)
        assert total == expected
    merged = quality_tasks.merge_totals(found, found)
    assert [total.to_ints()[0] for total in merged] == [2 * total.to_ints()[0] for total in found]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("memo_bytes", [HELD, DROPPED])
def test_every_task_twice(source, dtype, memo_bytes):
    X, w = rows(dtype), strategies.weight_array("real", N, 1)
    part = source(X, w)
    blank = Job("run", ENGINE, memo_bytes)
    job = prepared(part, dtype, memo_bytes)
    c = centres_of(job, X, 0)
    calls = {
        "scan": lambda: tasks.scan_partition(part, blank),
        "raw": lambda: tasks.raw_moments_partition(part, blank, job.layout.scales),
        "moments": lambda: tasks.moments_partition(part, job),
        "sample": lambda: tasks.sample_partition(part, 40, job, 10, 3, LARGEST_DRAW),
        "farthest": lambda: tasks.farthest_partition(part, 40, job, c, 5),
        "round 0": lambda: tasks.oversample_partition(part, 40, job, [c[:1]], Round(3, 0, 5.0)),
        "round 2": lambda: tasks.oversample_partition(
            part, 40, job, [c[:1], c[1:3], c[3:]], Round(3, 2, 5.0)
        ),
        "masses": lambda: tasks.weigh_partition(part, job, c),
    }
    first = {name: call() for name, call in calls.items()}
    for name in [
        "round 2",
        "round 0",
        "round 2",
        "moments",
        "masses",
        "round 2",
        "raw",
        "sample",
        "scan",
        "farthest",
        "scan",
        "moments",
        "sample",
        "raw",
        "farthest",
    ]:
        assert strategies.same(calls[name](), first[name]), name
    assert first["sample"].identity.min() >= 40
    assert first["round 2"].identity.min() >= 40


def test_row_numbers_and_keys_are_the_identities(source):
    X = rows()
    keys = np.arange(1000, 1000 + N)
    part = source(X, None, keys)
    job = prepared(part, "float32")
    c = centres_of(job, X, 0)
    who = key_identities(keys)
    for memo_bytes in (HELD, DROPPED):
        kept = Job("run", ENGINE, memo_bytes, job.layout)
        sample = tasks.sample_partition(part, 77, kept, N, 3, LARGEST_DRAW)
        assert sorted(sample.identity.tolist()) == sorted(who.tolist())
        far = tasks.farthest_partition(part, 77, kept, c, 3)
        assert set(far.identity.tolist()) < set(who.tolist())
    plain = MemoryPartition("plain", HostTable(X))
    sample = tasks.sample_partition(plain, 77, prepared(plain, "float32"), N, 3, LARGEST_DRAW)
    assert sorted(sample.identity.tolist()) == row_numbers(77, N).tolist()


def test_distances_to_candidates_are_remembered(source, monkeypatch):
    """New candidates only are looked at, another fit looks at all; once they have been weighed nothing is kept."""
    X, seen = rows(), []
    part = source(X)
    job = prepared(part, "float32")
    c = centres_of(job, X, 0)

    def spy(self, block, weights, closest, candidates, identity, drawing):
        seen.append(len(candidates))
        return looked(self, block, weights, closest, candidates, identity, drawing)

    looked = CpuEngine.oversample
    monkeypatch.setattr(CpuEngine, "oversample", spy)
    before = MEMO.n_bytes()
    for batches in ([c[:1]], [c[:1], c[1:3]], [c[:1], c[1:3]], [c[:1], c[1:3], c[3:]], [c[:1]]):
        tasks.oversample_partition(part, 0, job, batches, Round(1, 0, 2.0))
    assert seen == [1, 2, 0, 1, 1]
    assert MEMO.n_bytes() == before + 4 * N
    tasks.oversample_partition(
        part, 0, Job("other", ENGINE, HELD, job.layout), [c[:1], c[1:]], Round(1, 0, 2.0)
    )
    assert seen[-1] == 4
    tasks.weigh_partition(part, job, c)
    assert MEMO.n_bytes() == before


def test_a_round_that_failed_half_way_is_made_again(source, monkeypatch):
    X = rows()
    part = source(X)
    job = prepared(part, "float32")
    c, drawing = centres_of(job, X, 0), Round(1, 0, 9.0)
    expected = tasks.oversample_partition(
        part, 0, Job("b", ENGINE, DROPPED, job.layout), [c[:1], c[1:]], drawing
    )
    tasks.oversample_partition(part, 0, job, [c[:1]], drawing)
    whole = CpuEngine.oversample

    def half(self, block, weights, closest, candidates, identity, drawing):
        whole(self, block, weights, closest, candidates[:1], identity, drawing)
        raise MemoryError

    monkeypatch.setattr(CpuEngine, "oversample", half)
    with pytest.raises(MemoryError):
        tasks.oversample_partition(part, 0, job, [c[:1], c[1:]], drawing)
    monkeypatch.setattr(CpuEngine, "oversample", whole)
    assert strategies.same(tasks.oversample_partition(part, 0, job, [c[:1], c[1:]], drawing), expected)


def test_the_farthest_rows_leave_out_weight_zero(source):
    X = rows()
    X[7] = 1e6
    w = np.ones(N)
    w[7] = 0.0
    part = source(X, w)
    job = prepared(part, "float32")
    far = tasks.farthest_partition(part, 0, job, np.zeros((2, 3), np.float32), 5)
    assert 7 not in far.identity.tolist()
    assert (np.diff(far.distance) <= 0).all()


@pytest.mark.parametrize("name", ["other", "run"])
def test_another_layout_over_one_token(source, name):
    """Two fits of one file share its entry; what one centred the other does not use."""
    X = rows("float64")
    part = source(X)
    job = prepared(part, "float64")
    shifted = Layout(job.layout.centre + 1.0, job.layout.centred, job.layout.scales, job.layout.max_abs)
    other = Job(name, ENGINE, HELD, shifted)
    c = centres_of(job, X, 0)
    expected = []
    for j in (job, other):
        alone = Job("alone", ENGINE, DROPPED, j.layout)
        expected.append(sums_of(part, alone, c))
    assert not strategies.same(*expected)
    for number in (0, 1, 1, 0, 1):
        j = (job, other)[number]
        assert strategies.same(sums_of(part, j, c), expected[number])
        assert tasks.scan_partition(part, Job(j.run, ENGINE, HELD)).maximum.tolist() == X.max(axis=0).tolist()


def test_a_file_is_read_once_where_the_memo_holds(tmp_path, monkeypatch):
    """Keys and weights included; without the memo it is read at every task."""
    loaded = []
    load = ParquetPartition.load
    monkeypatch.setattr(ParquetPartition, "load", lambda self: [loaded.append(self), load(self)][1])
    frame = pd.DataFrame(rows("float64"), columns=["a", "b", "c"]).assign(
        w=2.5, who=[f"h{i}" for i in range(N)]
    )
    for dtype in ("float64", "float32"):
        frame.astype({"a": dtype, "b": dtype, "c": dtype}).to_parquet(
            tmp_path / f"{dtype}.parquet", index=False
        )
        [part] = parquet_table(tmp_path / f"{dtype}.parquet", "w", "who").partitions
        for memo_bytes, expected in ((HELD, 1), (DROPPED, 6)):
            loaded.clear()
            job = prepared(part, dtype, memo_bytes)
            c = np.zeros((2, 3), np.float32)
            tasks.sample_partition(part, 0, job, 10, 3, LARGEST_DRAW)
            tasks.assign_partition(part, job, [c])
            tasks.farthest_partition(part, 0, job, c, 5)
            tasks.close_partition(part, job, [c], want_labels=True)
            assert len(loaded) >= expected if memo_bytes == DROPPED else len(loaded) == expected
            MEMO.clear()


def test_what_has_been_replaced_is_let_go():
    """The rows as they came are not kept beside their block."""
    X = rows("float64")

    [part] = dask_table(da.from_array(X, chunks=(N, 3)), None, None).partitions
    job = prepared(part, "float64")
    entry = MEMO._entries[part.token]
    assert entry.table is None
    assert entry.block.nbytes == N * 3 * 4
    tasks.assign_partition(part, job, [np.zeros((2, 3), np.float32)])
    assert MEMO.n_bytes() == N * 3 * 4 + N
    MEMO.clear()


def test_rows_that_are_feature_major_already_are_not_copied():
    X = np.asfortranarray(rows("float32"))
    part = MemoryPartition("rows", HostTable(X))
    prepared(part, "float32")
    assert np.shares_memory(MEMO._entries["rows"].block, X)
    MEMO.clear()


def test_weights_in_one_partition_only_are_refused():
    parts = [MemoryPartition("a", HostTable(rows())), MemoryPartition("b", HostTable(rows(), np.ones(N)))]
    table = Table(parts, 3, None, "memory", single=True)
    with pytest.raises(ContractError, match="one partition has weights and another has none"):
        prepare(LocalExecutor(table, ENGINE), Job("run", ENGINE), single=True, n_clusters=1, columns=None)
    MEMO.clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_process_has_a_pool_of_its_own(monkeypatch):
    monkeypatch.setattr(pool, "_MIN_ROWS", 16)
    X = rows()
    fitted = KMeans(3, random_state=0, n_init=1, n_jobs=2).fit(X)  # the parent's pool is running
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        again = KMeans(3, random_state=0, n_init=1, n_jobs=2).fit(X)
        os.write(write, np.float64(again.inertia_).tobytes())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        inertia = np.frombuffer(pipe.read(), np.float64)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert inertia.tolist() == [fitted.inertia_]
