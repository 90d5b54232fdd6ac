"""Planning the memory of a fit (cluster): from a table's metadata and the processes there are, before a row is read.

What ``persist`` decides is whether prepared rows stay in memory between passes; the answer is the same either way.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpuseg.cluster.parameters import n_rounds
from gpuseg.core.fit_plan import MemoryPlan, Place, TableSize, Work, said
from gpuseg.errors import MemoryPlanError
from gpuseg.graph.limits import available_memory, worker_limits, worker_memory_limit
from gpuseg.graph.memo import ENVIRONMENT, default_memo_bytes, memo_bytes, worker_share
from gpuseg.graph.partitions import columns_at_a_time
from gpuseg.graph.placing import current_client
from gpuseg.graph.tables import Table

if TYPE_CHECKING:
    from gpuseg.cluster.kmeans import KMeans

logger = logging.getLogger("gpuseg.cluster")

_EVERYTHING = 1 << 62
_ALLOCATORS = 64 << 20
"""Room that is left for what the allocators of Python and Arrow keep beside what is counted."""
_KEY_BYTES = 8
_TEXT_KEY_BYTES = 72
"""Of a key whose type only reading tells: an object and the reference to it."""
_WEIGHT_BYTES = 8


def plan_fit(models: Sequence[KMeans], table: Table, *, wants_labels: bool, weighted: bool) -> MemoryPlan:
    """The plan of fitting models to one table together; ``persist`` is that of the first.

    Parameters
    ----------
    models : sequence of KMeans
        At least one, their parameters checked.
    table : Table
        Opened, not read.
    wants_labels : bool
        Whether labels come back to this process.
    weighted : bool
        Whether rows have weights.
    """
    size = _size_of(table, weighted=weighted)
    work = Work(
        tuple(int(model.n_clusters) for model in models),
        any(isinstance(model.init, str) and model.init == "k-means++" for model in models),
        max(int(n_rounds(model.init_max_iter)) if _oversamples(model) else 0 for model in models),
        max(int(model.max_iter) for model in models),
        wants_labels,
    )
    place = _place_of(table)
    return _decided(
        MemoryPlan(size, work, place, persist=True, room=_EVERYTHING, reason=""), models[0].persist
    )


def plan_rows(n_rows: int | None, n_features: int, clusters: tuple[int, ...]) -> MemoryPlan:
    """The plan of fits with default parameters to rows of float64 that will be in memory.

    Parameters
    ----------
    n_rows : int or None
        Rows; None where nobody knows yet.
    n_features : int
        Columns.
    clusters : tuple of int
        k of each model that is fitted at once.
    """
    size = TableSize("memory", n_rows, n_rows, 1, n_features, single=False)
    # Rows in memory are not read again, however many iterations there are.
    work = Work(clusters, samples=True, rounds=0, max_iter=0, labels=True)
    place = Place(0, 1, available_memory(), _EVERYTHING)
    return _decided(MemoryPlan(size, work, place, persist=True, room=_EVERYTHING, reason=""), "auto")


def bound_of(plan: MemoryPlan) -> int | None:
    """Bytes that the memo of each process may hold under a plan; None: each decides by its own memory."""
    bound = memo_bytes()
    if plan.place.workers and 0 < plan.room < _EVERYTHING:
        return bound
    return plan.room if bound is None else min(bound, plan.room)


def require_plan(plan: MemoryPlan) -> None:
    """Refuse a plan that cannot fit, before anything is allocated.

    Raises
    ------
    MemoryPlanError
        Names what is needed, what there is, and the remedy.
    """
    if plan.fits:
        return
    where = "each worker" if plan.place.workers else "this process"
    needed = plan.worker_peak if plan.place.workers else plan.peak
    largest, size = plan.largest()
    msg = (
        f"the fit needs {said(needed)} in {where} beside its input ({_SHARES[largest]} {said(size)}) and "
        f"{said(plan.place.available)} are available; {_remedy(plan, largest)}"
    )
    raise MemoryPlanError(msg)


def say_plan(plan: MemoryPlan) -> None:
    """Log what was decided, once a fit."""
    if plan.table.kind != "memory":
        logger.info("persist=%s; peak %s", plan.reason, said(plan.peak))


_SHARES = {
    "rows": "rows held between passes",
    "tile": "the largest partition while it is read",
    "sample": "the sample that seeds are picked from",
    "labels": "labels",
}


def _remedy(plan: MemoryPlan, largest: str) -> str:
    if plan.table.kind == "memory":
        return "pass feature-major float32 (Fortran order) or a Parquet path"
    return {
        "rows": "use persist='auto' or give more memory",
        "tile": "rechunk X into smaller partitions"
        if plan.table.kind == "dask"
        else "write the files with fewer rows a row group (row_group_size)",
        "sample": "use init='k-means||', which gathers no sample",
        "labels": "give a Dask dataframe of the files, whose labels stay lazy",
    }[largest]


def _oversamples(model: KMeans) -> bool:
    return isinstance(model.init, str) and model.init != "k-means++"


def _size_of(table: Table, *, weighted: bool) -> TableSize:
    """What the partitions say of themselves."""
    rows = [part.n_rows for part in table.partitions]
    counted = [n for n in rows if n is not None]
    known = len(counted) == len(rows)
    host = table.partitions[0].load() if table.kind == "memory" else None
    keys = _TEXT_KEY_BYTES if table.text_keys else _KEY_BYTES
    return TableSize(
        kind=table.kind,
        n_rows=sum(counted) if known else None,
        tile_rows=max(counted) if known else None,
        n_tiles=len(rows),
        n_features=table.n_features,
        single=table.single,
        # The keys of a table in memory are the caller's.
        beside=_WEIGHT_BYTES * weighted + keys * (host is None and table.partitions[0].has_keys),
        at_a_time=columns_at_a_time(),
        is_block=host is not None and table.single and bool(host.values.T.flags.c_contiguous),
    )


def _place_of(table: Table) -> Place:
    """The processes that the tasks of a table go to; ``room`` is what they would hold of their own accord."""
    client: Any = None if table.kind == "memory" else current_client()
    bound = memo_bytes()
    workers = [] if client is None else worker_limits(client)
    if not workers:
        limits = [available_memory(), worker_memory_limit() or _EVERYTHING]
        return Place(0, 1, min(limits), default_memo_bytes() if bound is None else bound)
    holds_source = table.kind == "dask"
    # A collection's rows stay on the workers beside the memo, and take no less than what it holds.
    shares = [worker_share(limit) * (1 + holds_source) if bound is None else bound for limit, _ in workers]
    least, threads = min(limit for limit, _ in workers), max(count for _, count in workers)
    return Place(len(workers), threads, least, sum(shares), holds_source)


def _decided(plan: MemoryPlan, persist: bool | str) -> MemoryPlan:
    """The plan with what is held, and why."""
    needed, kind = plan.needed, plan.table.kind
    if kind == "memory":
        return replace(plan, reason="rows in memory stay there")
    if persist == "auto":
        return _fitted(plan, needed)
    if not persist:
        return _nothing_held(plan, "False: nothing is held, every pass reads again")
    limit = memo_bytes()
    if limit is not None and needed is not None and needed > limit * max(1, plan.place.workers):
        msg = (
            f"persist=True holds {said(needed)} and {ENVIRONMENT}={limit} allows less; "
            f"raise it, or use persist='auto'"
        )
        raise MemoryPlanError(msg)
    return replace(plan, reason="True: every prepared row is held")


def _fitted(plan: MemoryPlan, needed: int | None) -> MemoryPlan:
    """Hold all rows where they fit with room, else as many as do."""
    spare = _nothing_held(plan, "")
    beside = spare.worker_peak if plan.place.workers else spare.peak
    limit = (plan.place.available - beside - _ALLOCATORS) * max(1, plan.place.workers)
    room = max(0, min(plan.place.room, limit))
    if needed is None:
        return replace(plan, persist=False, room=room, reason="auto: rows are not counted; what fits is held")
    if needed <= room:
        why = f"auto: every row is held, which takes up to {said(needed)}; there is room for {said(room)}"
        return replace(plan, room=room, reason=why)
    what = f"auto: the rows need {said(needed)} and there is room for {said(room)}"
    if plan.place.holds_source:
        # Rows that are made anew for every pass are made whether their block is held or not.
        return _nothing_held(plan, f"{what}; every pass makes them again")
    return replace(plan, persist=False, room=room, reason=f"{what}; every pass reads again what is not held")


def _nothing_held(plan: MemoryPlan, reason: str) -> MemoryPlan:
    return replace(plan, persist=False, room=0, reason=reason, place=replace(plan.place, holds_source=False))
