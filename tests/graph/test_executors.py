"""Executors: results in the order of the partitions, trees of merges, where tasks run, errors and clean-up."""

from __future__ import annotations

import itertools
import os
import sys
from functools import partial

import dask.array as da
import numpy as np
import pytest
from dask.delayed import delayed

from gpuseg.core.seeding import Sample
from gpuseg.core.weights import Weights
from gpuseg.engines.choose import EngineChoice
from gpuseg.errors import InputError
from gpuseg.graph import placing
from gpuseg.graph.batches import Report
from gpuseg.graph.client_executor import ClientExecutor, Done, merge_done, task_label
from gpuseg.graph.dask_tables import dask_table
from gpuseg.graph.executors import LocalExecutor, executor_for
from gpuseg.graph.memo import MEMO, forget_partitions
from gpuseg.graph.partitions import HostTable, MemoryPartition
from gpuseg.graph.placing import current_client
from gpuseg.graph.tables import Table, memory_table
from tests.graph import workers

X = np.arange(34, dtype=np.float32).reshape(17, 2)
CPU = EngineChoice("cpu", "asked for")
SIZES = (1, 0, 3, 2, 0, 1, 4, 1, 1, 1, 2, 1)  # more partitions than a node of the tree takes


def table():
    return dask_table(da.from_array(X, chunks=(SIZES, 2)), None, None)


def first_column(partition, *extra):
    return (*extra, *partition.load().values[:, 0].tolist())


def joined(a, b):
    """Associative and commutative, as merges are."""
    return tuple(sorted(a + b))


def pair_of(partition, name):
    return ((name, first_column(partition)),)


def pid_of(partition):
    return os.getpid()


def refuse_third(partition):
    if partition.load().values.tobytes() == X[1:4].tobytes():
        msg = "the third partition"
        raise InputError(msg)
    return 0


def remember(partition):
    with MEMO.entry(partition.token, 1 << 60) as entry:
        entry.block = np.zeros((1, 10), np.float32)


def memo_of_worker():
    return list(MEMO._entries)


@pytest.fixture
def client():
    with workers.client(1) as found:
        yield found


@pytest.fixture(params=["local", "client"])
def executor(request):
    if request.param == "local":
        made = LocalExecutor(table(), CPU)
        yield made
        made.close()
    else:
        with workers.client(1) as client:
            made = ClientExecutor(table(), client, CPU)
            yield made
            made.close()


def test_results_come_in_the_order_of_the_partitions(executor):
    borders = np.cumsum([0, *SIZES])
    expected = [tuple(X[a:b, 0].tolist()) for a, b in itertools.pairwise(borders)]
    assert executor.map(first_column) == expected
    own = [f"part {i}" for i in range(len(SIZES))]
    assert executor.map(first_column, "all", each=own) == [
        (name, "all", *rows) for name, rows in zip(own, expected, strict=True)
    ]
    # Each partition once, in the first pass and in those that know who holds what.
    assert executor.reduce(first_column, joined) == tuple(X[:, 0].tolist())
    assert set(executor.reduce(pair_of, joined, each=own)) == set(zip(own, expected, strict=True))
    assert executor.where == [f"partition {i}" for i in range(len(SIZES))]


def test_each_must_fit_the_partitions(executor):
    with pytest.raises(ValueError, match="2 arguments for 12 partitions"):
        executor.map(first_column, each=[1, 2])


def test_errors_come_as_they_are(executor):
    with pytest.raises(InputError, match="the third partition"):
        executor.map(refuse_third)
    with pytest.raises(InputError, match="the third partition"):
        executor.reduce(refuse_third, int.__add__)
    assert len(executor.map(first_column)) == len(SIZES)  # and nothing is broken


def test_a_node_of_the_tree_merges_results_and_keeps_reports():
    reports = [Report(f"address {i}", f"{i}", 1, "cpu", {i: 4}) for i in range(3)]
    parts = [Done((i,), (report,)) for i, report in enumerate(reports)]
    assert merge_done(parts, tuple.__add__) == Done((0, 1, 2), tuple(reports))
    assert merge_done(parts[:1], tuple.__add__) == parts[0]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 64, 65, 130])
def test_trees_of_any_size(client, count):
    rows = da.from_array(np.arange(count, dtype=np.float32)[:, None], chunks=(1, 1))
    executor = ClientExecutor(dask_table(rows, None, None), client, CPU)
    for _ in range(2):
        assert executor.reduce(first_column, joined) == tuple(range(count))
    executor.close()


def test_local_tasks_run_here_and_client_tasks_there(client):
    here = os.getpid()
    assert set(LocalExecutor(table(), CPU).map(pid_of)) == {here}
    executor = executor_for(table())
    assert isinstance(executor, ClientExecutor)
    assert executor.placement == "workers of the Dask client"
    assert set(executor.map(pid_of)) == set(client.run(os.getpid).values()) != {here}
    executor.close()


def test_closing_forgets_and_lets_go(client):
    executor = executor_for(table())
    executor.map(remember)
    assert len(client.run(memo_of_worker).popitem()[1]) == len(SIZES)
    executor.close()
    assert client.run(memo_of_worker).popitem()[1] == []
    assert not any("gpuseg" in str(key) for key in client.futures)
    local = LocalExecutor(table(), CPU)
    local.map(remember)
    assert MEMO.n_bytes() > 0
    local.close()
    assert not MEMO._entries


def test_results_are_let_go_after_each_pass(client):
    executor = executor_for(table())
    executor.map(first_column)
    executor.reduce(first_column, joined)
    client.run(os.getpid)  # what was let go before this has been let go
    held = {str(key) for key in client.futures if str(key).startswith("gpuseg")}
    assert held == {part.key for part in executor._partitions}
    executor.close()


class StandIn:
    """A client whose first task has failed while the others go on."""

    def __init__(self):
        self.cancelled, self.asked = [], []

    def compute(self, graphs, **options):
        return [f"rows {i}" for i in range(len(graphs))]

    def map(self, function, *arguments, key, **options):
        return [Pending(name, number == 0) for number, name in enumerate(key)]

    def gather(self, futures):
        msg = "the first partition"
        raise InputError(msg)

    def cancel(self, futures):
        self.cancelled += [future.key for future in futures]

    def run(self, function, *arguments, **options):
        self.asked.append(function)


class Pending:
    def __init__(self, key, finished):
        self.key, self.finished = key, finished

    def done(self):
        return self.finished


def test_after_an_error_the_rest_is_called_off():
    """The traceback holds the futures of the other partitions; closing cancels them all the same."""
    client = StandIn()
    executor = ClientExecutor(table(), client, CPU)
    with pytest.raises(InputError, match="the first partition"):
        executor.map(first_column)
    executor.close()
    assert [int(key.rsplit("-", 1)[1]) for key in client.cancelled] == list(range(1, len(SIZES)))
    assert client.asked == [forget_partitions]


def test_closing_never_hides_an_error(client, monkeypatch):
    def broken(*args, **options):
        msg = "the cluster is gone"
        raise RuntimeError(msg)

    executor = executor_for(table())
    monkeypatch.setattr(client, "run", broken)
    executor.close()


def test_a_failure_is_tried_again(client, tmp_path):
    """A task that fails twice and then works costs time and nothing else."""
    executor = executor_for(table())
    found = executor.reduce(partial_named(fail_twice, str(tmp_path)), int.__add__)
    assert found == len(SIZES)
    executor.close()


def partial_named(function, *arguments):
    made = partial(function, *arguments)
    made.__name__ = function.__name__
    return made


def fail_twice(folder, partition):
    marks = [f"{folder}/{partition.token}-{number}" for number in range(2)]
    for mark in marks:
        if not os.path.exists(mark):  # noqa: PTH110 (runs on a worker)
            open(mark, "x").close()  # noqa: PTH123
            msg = "flaky"
            raise OSError(msg)
    return 1


# What a pass costs --------------------------------------------------------------------------------------------------


class Counted:
    """A client that notes each task it is asked for."""

    def __init__(self, client):
        self.client, self.passes = client, []

    def __getattr__(self, name):
        return getattr(self.client, name)

    def map(self, function, *columns, key, **options):
        self.passes.append((function.__name__, key))
        return self.client.map(function, *columns, key=key, **options)


def test_a_pass_over_small_partitions_costs_a_task_a_worker():
    """From the first pass on, which finds who holds what; batches are merged where they are."""
    with workers.client(3) as client:
        counted = Counted(client)
        executor = ClientExecutor(table(), counted, CPU)
        holders = executor.map(pid_of)
        for _ in range(2):
            assert executor.reduce(first_column, joined) == tuple(X[:, 0].tolist())
            assert executor.map(pid_of) == holders
        executor.close()
    first, *later = [keys for function, keys in counted.passes if function == "run_batch"]
    assert len(first) == len(SIZES)
    assert [len(keys) for keys in later] == [len(set(holders))] * 4
    assert all(function == "run_batch" for function, _ in counted.passes)


def test_more_tasks_than_a_node_takes_merge_on_workers(client):
    rows = da.from_array(np.arange(9, dtype=np.float32)[:, None], chunks=(1, 1))
    counted = Counted(client)
    executor = ClientExecutor(dask_table(rows, None, None), counted, CPU)
    assert executor.reduce(first_column, joined) == tuple(range(9))
    assert [(function, len(keys)) for function, keys in counted.passes] == [
        ("run_batch", 9),
        ("merge_done", 2),
    ]
    executor.close()


def test_large_arguments_of_two_executors_do_not_meet(client):
    """Dask gives large keyword arguments a key that is their name: two fits at a time would share it."""
    ours, others = executor_for(table()), executor_for(table())
    found = []
    for executor, value in ((ours, 1.0), (others, 2.0)):
        found.append(executor._submit(large_sum, None, (np.full(20_000, value),), None))
    totals = [{total for part in client.gather(futures) for total in part.result} for futures in found]
    assert totals == [{20_000.0}, {40_000.0}]
    ours.close()
    others.close()


def large_sum(partition, values):
    return float(values.sum())


def raw_moments_partition(partition):
    return 0


def test_names_on_the_dashboard(client):
    from distributed.utils import key_split

    counted = Counted(client)
    executor = ClientExecutor(table(), counted, CPU)
    executor.reduce(raw_moments_partition, int.__add__)
    [(_, keys), (_, merges)] = counted.passes
    assert {key_split(key) for key in keys} == {"gpuseg-raw-moments"}
    assert {key_split(key) for key in merges} == {"gpuseg-merge"}
    assert {key_split(part.key) for part in executor._partitions} == {"gpuseg-load"}
    assert task_label(partial_named(first_column)) == "first-column"
    executor.close()


def test_who_computed(client):
    executor = executor_for(table(), "cpu")
    assert executor.ran() == "cpu (asked for)"  # nobody yet
    executor.map(first_column)
    [name] = [worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    assert executor.ran() == f"cpu (asked for) on workers {name}"
    executor.close()
    assert LocalExecutor(table(), CPU).ran() == "cpu (asked for)"


# Where ---------------------------------------------------------------------------------------------------------------


def test_without_a_client_tasks_stay_here():
    assert current_client() is None
    assert isinstance(executor_for(table()), LocalExecutor)


def test_distributed_is_not_imported_to_look_for_a_client(monkeypatch):
    monkeypatch.delitem(sys.modules, "distributed")
    assert current_client() is None
    assert "distributed" not in sys.modules


def test_a_client_is_found_and_forgotten():
    with workers.client(1) as client:
        assert current_client() is client
        assert isinstance(executor_for(table()), ClientExecutor)
        assert isinstance(executor_for(memory_table(X, None, None, None)), LocalExecutor)
    assert current_client() is None


def test_inside_a_task_there_is_no_client(client):
    assert client.submit(client_is_none, pure=False).result(timeout=60)


def client_is_none():
    import distributed

    distributed.get_client()  # there is one, but to wait for it here could wait for ever
    return placing.current_client() is None


def test_an_asynchronous_client_is_left_alone(client):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client), "asynchronous", property(lambda self: True))
        assert current_client() is None
    assert current_client() is client


def test_a_persisted_collection(client):
    rows = da.from_array(X, chunks=(SIZES, 2)).persist()
    executor = executor_for(dask_table(rows, None, None))
    assert executor.reduce(first_column, joined) == tuple(X[:, 0].tolist())
    executor.close()


def test_partitions_of_a_collection_are_computed_once(client, tmp_path):
    parts = [da.from_delayed(delayed(note)(str(tmp_path), i), (2, 2), np.float32) for i in range(3)]
    executor = executor_for(dask_table(da.concatenate(parts), None, None))
    for _ in range(3):
        executor.map(first_column)
    executor.close()
    assert sorted((tmp_path / "notes").read_text().split()) == ["0", "1", "2"]


def note(folder, number):
    with open(f"{folder}/notes", "a") as file:  # noqa: PTH123 (runs on a worker)
        file.write(f"{number}\n")
    return np.full((2, 2), number, np.float32)


def test_merges_are_associative_over_any_partitioning():
    """A tree of samples equals one sample of all rows."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(2, 300)).astype(np.float32)
    whole = Sample.of(20, 7, np.arange(300, dtype=np.uint64), block, Weights.ones()).finish()
    for cuts in ([], [1], [0, 0, 150], [10, 20, 30, 250, 299]):
        borders = [0, *cuts, 300]
        parts = [
            MemoryPartition(f"{i}", HostTable(block[:, a:b].T))
            for i, (a, b) in enumerate(itertools.pairwise(borders))
        ]
        executor = LocalExecutor(Table(parts, 2, None, "memory", single=True), CPU)
        found = executor.reduce(sample_of, Sample.merge, each=borders[:-1]).finish()
        assert found.identity.tolist() == whole.identity.tolist()
        assert found.rows.tobytes() == whole.rows.tobytes()


def sample_of(partition, first_row):
    rows = partition.load()
    return Sample.of(20, 7, rows.identity(first_row), np.ascontiguousarray(rows.values.T), Weights.ones())
