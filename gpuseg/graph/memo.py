"""A worker's memo (graph): blocks, labels and sums it may keep between tasks, within a bound.

Nothing here is ever part of an answer: an entry that was evicted, or never made, costs time and changes no bit. Entries
are keyed by partition token; a task holds an entry's lock while it uses it. ONE_ANSWER section 6.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignState, Block
from gpuseg.errors import InputError
from gpuseg.graph.limits import memory_limit, worker_memory_limit
from gpuseg.graph.partitions import HostTable

_SHARE = 0.5
_WORKER_SHARE = 0.3
_TEXT_KEY_BYTES = 64
"""What a key that is a Python object is taken to hold."""

ENVIRONMENT = "GPUSEG_MEMO_BYTES"
"""Environment variable that bounds the memo of every process a fit uses; 0 switches it off."""


@dataclass
class Closest:
    """How far each row of a partition is from its closest candidate.

    Parameters
    ----------
    run : str
        The fit.
    n_batches : int
        Batches of candidates that have been looked at; a fit's batches only ever get more.
    distance : ndarray of float32, shape (n,)
        Chain d2; infinity before the first batch.
    """

    run: str
    n_batches: int
    distance: npt.NDArray[np.float32]

    @classmethod
    def fresh(cls, run: str, n_rows: int) -> Closest:
        """No candidate yet."""
        return cls(run, 0, np.full(n_rows, np.inf, np.float32))


@dataclass
class Entry:
    """What is remembered of one partition.

    Parameters
    ----------
    table : HostTable or None
        The rows as they were loaded, until their block and weights are made; never of rows that are in memory anyway.
    keys : ndarray, shape (n,), or None
        Customer keys of rows that were loaded.
    user : str
        The fit that used it last.
    block : ndarray of float32, shape (d, n), or None
        Feature-major values.
    layout : str
        Digest of the layout the block was made with; "" for values as they came.
    weights : Weights or None
        The partition's weights in the arithmetic of the data set.
    run : str
        The fit that the states belong to.
    states : dict
        Model number to what the engine keeps of it.
    turned : float
        Distances that the fit's passes computed, in passes over all of them: rows are copied from some number on.
    closest : Closest or None
        Distances to the candidates of a k-means|| seeding.
    lock : RLock
        Held by the task that uses the entry.
    """

    table: HostTable | None = None
    keys: npt.NDArray[Any] | None = None
    user: str = ""
    block: Block | None = None
    layout: str = ""
    weights: Weights | None = None
    run: str = ""
    states: dict[int, AssignState] = field(default_factory=dict)
    turned: float = 0.0
    closest: Closest | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def n_bytes(self) -> int:
        """Bytes held; may be asked for by one thread while another uses the entry."""
        table, block, weights, keys = self.table, self.block, self.weights, self.keys
        closest = self.closest
        total = 0 if block is None else block.nbytes
        if table is not None:
            shared = block is not None and np.may_share_memory(block, table.values)
            total += 0 if shared else table.values.nbytes
            total += 0 if table.weights is None else table.weights.nbytes
        if weights is not None:
            total += weights.integers.nbytes + weights.reals.nbytes
        if keys is not None:
            total += keys.size * _TEXT_KEY_BYTES if keys.dtype.kind == "O" else keys.nbytes
        if closest is not None:
            total += closest.distance.nbytes
        return total + sum(state.host_bytes for state in list(self.states.values()))

    def states_of(self, run: str) -> dict[int, AssignState]:
        """States of one fit; another fit's are dropped."""
        if self.run != run:
            self.run, self.states, self.turned = run, {}, 0.0
        return self.states


class Memo:
    """Entries within a number of bytes: what other fits left behind goes first, then what has just been used.

    Every pass of a fit goes over its partitions in the same order, so the one just used is needed last: of a table
    that does not fit, those that were held first stay, and only the others are read again. Keeping the most recent
    ones would evict each partition shortly before its turn, and read all of them again.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, locks included: what a child process does after a fork."""
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def entry(self, token: str, max_bytes: int, user: str = "") -> Iterator[Entry]:
        """The entry of a partition, locked; afterwards entries are evicted until ``max_bytes`` hold.

        ``user`` names the fit: of its own entries the most recent go first; without a name the oldest of all do.
        """
        with self._lock:
            entry = self._entries.get(token) or Entry()
            self._entries[token] = entry
            self._entries.move_to_end(token)
            entry.user = user
        with entry.lock:
            yield entry
        self._evict(max_bytes, token, user)

    def forget(self, tokens: Iterable[str]) -> None:
        """Drop the entries of some partitions."""
        with self._lock:
            for token in tokens:
                self._entries.pop(token, None)

    def bytes_of(self, token: str) -> int:
        """Bytes held by the entry of a partition; 0 without one."""
        with self._lock:
            entry = self._entries.get(token)
        return 0 if entry is None else entry.n_bytes()

    def n_bytes(self) -> int:
        """Bytes held by all entries."""
        with self._lock:
            return sum(entry.n_bytes() for entry in self._entries.values())

    def _evict(self, max_bytes: int, used: str, user: str) -> None:
        with self._lock:
            held = sum(entry.n_bytes() for entry in self._entries.values())
            if held <= max_bytes:
                return
            own = {token: entry for token, entry in self._entries.items() if user and entry.user == user}
            others = [token for token in self._entries if token not in own]
            # Another thread may be using a later one than ``used``.
            last = [used] if used in own else []
            for token in [*others, *last, *(t for t in reversed(own) if t != used)]:
                if held <= max_bytes:
                    break
                held -= self._entries.pop(token).n_bytes()


MEMO = Memo()
"""The memo of this process."""

if hasattr(os, "register_at_fork"):
    # Another thread may hold a lock at the moment of the fork, and nobody in the child would ever release it.
    os.register_at_fork(after_in_child=MEMO.clear)


def forget_partitions(tokens: Iterable[str]) -> None:
    """Drop entries of this process's memo; a module-level function so that workers can be asked to."""
    MEMO.forget(tokens)


def memo_bytes() -> int | None:
    """The bound from the environment; None where each process is to decide by its own memory.

    Raises
    ------
    InputError
        If the variable is not a whole number >= 0.
    """
    text = os.environ.get(ENVIRONMENT)
    if text is None:
        return None
    if not text.strip().isdecimal():
        msg = f"{ENVIRONMENT}={text!r} is not a number of bytes; set a whole number >= 0 or unset it"
        raise InputError(msg)
    return int(text)


def default_memo_bytes() -> int:
    """Half of the memory this process may use; less inside a Dask worker, which holds partitions as well."""
    limit = worker_memory_limit()
    return worker_share(limit) if limit else int(memory_limit() * _SHARE)


def worker_share(limit: int) -> int:
    """What the memo of a Dask worker with that memory limit may hold."""
    return int(limit * _WORKER_SHARE)
