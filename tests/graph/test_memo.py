"""The memo: within its bound, least recently used first, one task an entry, nothing kept of another fit."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.choose import EngineChoice
from gpuseg.engines.cpu.bounds import Bounds
from gpuseg.errors import InputError
from gpuseg.graph import memo
from gpuseg.graph.memo import ENVIRONMENT, MEMO, Entry, Memo, default_memo_bytes, memo_bytes
from gpuseg.graph.partitions import HostTable
from gpuseg.graph.tasks import Job

UNBOUNDED = 1 << 60


def fill(store, token, n_bytes, bound=UNBOUNDED):
    with store.entry(token, bound) as entry:
        entry.block = np.zeros((1, n_bytes // 4), np.float32)


def test_an_entry_is_kept_and_given_back():
    store = Memo()
    fill(store, "a", 400)
    with store.entry("a", UNBOUNDED) as entry:
        assert entry.block.nbytes == 400
    with store.entry("b", UNBOUNDED) as entry:
        assert entry.block is None


@pytest.mark.parametrize("bound", [0, 1, 399, 400, 1000, 1200, 10_000])
def test_the_bound_holds_after_every_task(bound):
    store = Memo()
    for token in "abcabdaecb":
        fill(store, token, 400, bound)
        assert store.n_bytes() <= bound
    assert len(store._entries) == min(bound // 400, 5)


def test_the_least_recently_used_go_first():
    store = Memo()
    for token in "abc":
        fill(store, token, 400)
    with store.entry("a", UNBOUNDED):
        pass
    fill(store, "d", 400, 1200)
    assert list(store._entries) == ["c", "a", "d"]


def test_an_entry_too_large_for_the_bound_is_not_kept():
    store = Memo()
    fill(store, "a", 400)
    fill(store, "huge", 4000, 1000)
    assert list(store._entries) == []


def test_an_entry_counts_all_that_it_holds():
    rows = np.zeros((10, 3))
    entry = Entry()
    assert entry.n_bytes() == 0
    entry.table = HostTable(rows, np.ones(10))
    assert entry.n_bytes() == 240 + 80
    entry.block = np.zeros((3, 10), np.float32)
    assert entry.n_bytes() == 320 + 120
    entry.table = None
    entry.weights = Weights.of(np.ones(10), WeightMode.INTEGER)
    assert entry.n_bytes() == 120 + 80
    entry.weights = Weights.of(np.ones(10), WeightMode.REAL)
    assert entry.n_bytes() == 120 + 40
    entry.keys = np.arange(10)
    assert entry.n_bytes() == 160 + 80
    entry.keys = np.array(["a"] * 10, dtype=object)
    assert entry.n_bytes() > 160 + 80
    entry.keys = None
    entry.states_of("run")[0] = AssignState.fresh(10, 300)
    assert entry.n_bytes() == 160 + 20


def test_a_block_that_is_the_table_counts_once():
    rows = np.zeros((3, 10), np.float32)
    assert Entry(table=HostTable(rows.T), block=rows).n_bytes() == 120


def test_states_belong_to_one_fit():
    entry = Entry()
    first = entry.states_of("a")
    first[0] = AssignState.fresh(5, 2)
    assert entry.states_of("a") is first
    assert entry.states_of("b") == {}
    assert entry.states_of("a") == {}


def test_forget():
    store = Memo()
    for token in "abc":
        fill(store, token, 400)
    store.forget(["a", "c", "never there"])
    assert list(store._entries) == ["b"]
    store.clear()
    assert store.n_bytes() == 0


def test_an_error_in_a_task_leaves_the_lock_free():
    store = Memo()
    with pytest.raises(ZeroDivisionError), store.entry("a", UNBOUNDED):
        _ = 1 / 0
    done = threading.Event()

    def work():
        with store.entry("a", UNBOUNDED):
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert done.is_set()


def test_two_tasks_of_one_partition_take_turns_and_others_go_on():
    store = Memo()
    inside, other = threading.Event(), threading.Event()
    seen = []

    def second():
        inside.wait(20)
        with store.entry("b", UNBOUNDED):
            other.set()  # another partition is not held up
        with store.entry("a", UNBOUNDED) as entry:
            seen.append(entry.layout)

    thread = threading.Thread(target=second)
    thread.start()
    with store.entry("a", UNBOUNDED) as entry:
        inside.set()
        assert other.wait(20)
        assert not seen
        entry.layout = "done"
    thread.join(20)
    assert seen == ["done"]


def test_forgetting_and_evicting_while_a_task_runs():
    """A task keeps its entry to the end; afterwards nothing of it is there."""
    store = Memo()
    with store.entry("a", UNBOUNDED) as entry:
        entry.block = np.zeros((1, 100), np.float32)
        fill(store, "b", 400, 0)
        store.forget(["a"])
        assert entry.block.nbytes == 400
    assert store.n_bytes() == 0
    assert not store._entries


def test_counting_does_not_trip_over_a_task_that_adds_a_state():
    """Another thread may do so at any moment; here it does at the worst."""
    entry = Entry()

    class Meddling:
        @property
        def host_bytes(self):
            entry.states[len(entry.states)] = AssignState.fresh(10, 3)
            return 4

    entry.states[0] = Meddling()
    assert entry.n_bytes() == 4
    assert len(entry.states) == 2


def test_what_an_engine_keeps_beside_the_labels_is_counted():
    entry = Entry()
    entry.states[0] = AssignState.fresh(10, 3)
    without = entry.n_bytes()
    entry.states[0].kept = Bounds.fresh(10, np.zeros((3, 2), np.float32))
    assert entry.n_bytes() == without + 10 * 4 + 3 * 8 + 3 * 2 * 4


def test_threads_that_fill_while_others_count():
    """Many tasks at once leave a memo within its bound."""
    store, stop, errors = Memo(), threading.Event(), []

    def work(token):
        try:
            number = 0
            while not stop.is_set():
                with store.entry(token, 3000) as entry:
                    states = entry.states_of(f"run {number // 50}")
                    states[number % 50] = AssignState.fresh(10, 3)
                number += 1
        except Exception as error:  # noqa: BLE001 (shown below)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(token,)) for token in "aabc"]
    for thread in threads:
        thread.start()
    for _ in range(3000):
        store.n_bytes()
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert store.n_bytes() <= 3000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_process_starts_with_an_empty_memo_and_free_locks():
    fill(MEMO, "of the parent", 400)
    with MEMO._lock, MEMO._entries["of the parent"].lock:
        child = os.fork()
        if child == 0:
            free = MEMO._lock.acquire(timeout=5)
            os._exit(0 if free and not MEMO._entries else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "of the parent" in MEMO._entries
    MEMO.forget(["of the parent"])


# The bound -----------------------------------------------------------------------------------------------------------


def test_the_bound_from_the_environment(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert memo_bytes() is None
    for text, value in (("0", 0), (" 12 ", 12), ("1000000000000", 10**12)):
        monkeypatch.setenv(ENVIRONMENT, text)
        assert memo_bytes() == value
    monkeypatch.setenv(ENVIRONMENT, "2 GB")
    with pytest.raises(InputError, match="GPUSEG_MEMO_BYTES='2 GB' is not a number of bytes"):
        memo_bytes()


def test_the_bound_by_the_memory_there_is(monkeypatch):
    monkeypatch.setattr(memo, "memory_limit", lambda: 1000)
    monkeypatch.setattr(memo, "worker_memory_limit", lambda: None)
    assert default_memo_bytes() == 500
    monkeypatch.setattr(memo, "worker_memory_limit", lambda: 100)
    assert default_memo_bytes() == 30


@pytest.mark.parametrize(("bound", "read_again"), [(0, 6), (400, 5), (1200, 3), (2399, 1), (2400, 0)])
def test_a_table_that_does_not_fit_is_held_as_far_as_it_does(bound, read_again):
    """A pass reads again what has no room, and no more: the least recently used are those that it needs next."""
    store, read = Memo(), []
    for _ in range(4):
        read.clear()
        for token in "abcdef":
            with store.entry(token, bound, "fit") as entry:
                if entry.block is None:
                    read.append(token)
                    entry.block = np.zeros((1, 100), np.float32)
    assert len(read) == read_again
    assert store.n_bytes() == min(bound // 400, 6) * 400


def test_what_another_fit_left_behind_goes_first():
    store = Memo()
    for token in "abc":
        with store.entry(token, UNBOUNDED, "earlier") as entry:
            entry.block = np.zeros((1, 100), np.float32)
    for token in "de":
        with store.entry(token, 1200, "now") as entry:
            entry.block = np.zeros((1, 100), np.float32)
    assert list(store._entries) == ["c", "d", "e"]


def test_parts_of_a_fit_are_one_user():
    job = Job("fit", EngineChoice("cpu", "asked for"))
    assert replace(job, run="fit-sized").fit == replace(job, run="fit-0-3").fit == job.fit == "fit"
