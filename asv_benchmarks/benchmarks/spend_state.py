"""Spend states of more records than memory holds: each class asks one question, and a child process is measured.

Alone: ``python asv_benchmarks/benchmarks/spend_state.py RECORDS CUSTOMERS PARTITIONS`` prints what one child found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

_DAY = 86_400_000_000
_START = 1_640_995_200_000_000
_YEARS = 2


class SpendStates:
    """How much memory do the records of 200 lines a customer take out of core, and what does one percent more cost?"""

    params = ([(10_000_000, 50_000, 10)],)
    param_names = ("shape",)
    number = 1
    rounds = 1
    timeout = 1200

    def setup(self, shape: tuple[int, int, int]) -> None:
        """One child makes the state, updates it and finishes it."""
        command = [sys.executable, __file__, *map(str, shape)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        self.found: dict[str, float] = json.loads(done.stdout)
        assert self.found["records"] == shape[0]
        assert self.found["same"] == 1

    def track_peak_bytes(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002 (asv's signature)
        """Peak resident memory of the whole child process, the partition at hand included."""
        return self.found["peak_bytes"]

    def track_seconds(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Seconds from checked partitions to the state; making up the records is not counted."""
        return self.found["seconds"]

    def track_update_share(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Seconds of an update with one percent new records over those of the full run; the median of three."""
        return self.found["update_seconds"] / self.found["seconds"]

    def track_evidence_seconds(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Seconds to finish the evidence of all customers."""
        return self.found["evidence_seconds"]


def _lines(first: int, n: int, total: int, customers: int, codes: tuple[str, ...]) -> pa.Table:
    """Checked records ``first`` to ``first + n`` of ``total``, ordered by time as a shop's days are."""
    rng = np.random.default_rng((0, first))
    when = _START + (first + np.arange(n)) * (_YEARS * 365 * _DAY // total)
    kind = np.minimum(rng.integers(0, len(codes), n), rng.integers(0, len(codes), n)).astype(np.int32)
    return pa.table(
        {
            "customer": rng.integers(0, customers, n),
            "time": pa.array(when, pa.timestamp("us", "UTC")),
            "amount": (2_000 * rng.standard_exponential(n)).astype(np.int64) + 1,
            "category": pa.DictionaryArray.from_arrays(kind, pa.array(codes)),
        }
    )


class _Clock:
    """Seconds spent in making up records, which are no part of the work."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def loading(self, make: Callable[[], pa.Table]) -> Any:
        from gpuseg.customers.reading.audit import Audit
        from gpuseg.customers.reading.reader import Checked

        began = time.perf_counter()
        table = make()
        self.seconds += time.perf_counter() - began
        return Checked(table, Audit(n_rows=len(table)))


def _measured(records: int, customers: int, n_partitions: int) -> dict[str, float]:
    """The full run, three updates, the evidence, and the most memory that all of it took."""
    import gpuseg
    from gpuseg.core.decay import Decay
    from gpuseg.customers.reading.records import Partition
    from gpuseg.personality.category_map import CategoryMap
    from gpuseg.personality.spend_records import spend_state
    from gpuseg.personality.spend_state import merge_spend

    every = CategoryMap.mcc()
    codes = tuple({m.category: value for value, m in every.meanings.items()}.values())
    clock = _Clock()
    roles = {"customer": "customer", "time": "time", "amount": "amount", "category": "category"}
    small = _lines(0, 9, records, customers, codes)
    like = gpuseg.read_transactions(small, **roles, time_zone="UTC", minor_units=0)

    def state_of(bounds: list[int]) -> Any:
        makes = [
            partial(_lines, start, stop - start, records, customers, codes)
            for start, stop in pairwise(bounds)
        ]
        parts = tuple(Partition(partial(clock.loading, make)) for make in makes)
        return spend_state(replace(like, partitions=parts), every, Decay(180 * _DAY), engine="cpu")

    state_of([0, 9])  # compiles
    bounds = [records * part // n_partitions for part in range(n_partitions + 1)]
    state, seconds = _timed(clock, lambda: state_of(bounds))
    more = max(1, records // 100)
    updated, first = _timed(clock, lambda: state.merge(state_of([records, records + more])))
    updates = [
        first,
        *(_timed(clock, lambda: state.merge(state_of([records, records + more])))[1] for _ in "ab"),
    ]
    in_order = merge_spend([state_of([records, records + more]), state])
    same = updated == in_order
    del updated, in_order
    finished, finishing = _timed(clock, lambda: sum(part.n_customers for part in state.evidence_parts()))
    return {
        "records": int(state.count("records").sum()),
        "customers": state.n_customers,
        "cells": len(state.cells),
        "state_bytes": state.nbytes,
        "same": int(same and finished == state.n_customers),
        "seconds": seconds,
        "making_up_seconds": clock.seconds,
        "update_seconds": sorted(updates)[1],
        "evidence_seconds": finishing,
        "peak_bytes": _peak(),
    }


def _timed(clock: _Clock, work: Callable[[], Any]) -> tuple[Any, float]:
    made_up, began = clock.seconds, time.perf_counter()
    found = work()
    return found, time.perf_counter() - began - (clock.seconds - made_up)


def _peak() -> int:
    """Most resident bytes of this process; ``getrusage`` would tell those of the parent before the start as well."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    print(json.dumps(_measured(*map(int, sys.argv[1:]))))
