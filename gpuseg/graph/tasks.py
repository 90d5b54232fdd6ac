"""What is done to one partition (graph): pure functions that an executor runs anywhere, any number of times.

Every task takes a partition descriptor and a :class:`Job`, gets the block from the memo or makes it again, and returns
a small full partial state. ONE_ANSWER sections 3 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.blocks import empty_block, is_feature_major, is_row_major
from gpuseg.core.fingerprint import of_bytes
from gpuseg.core.identity import row_numbers
from gpuseg.core.lloyd import ClusterSums, Farthest
from gpuseg.core.moments import FeatureRange, Layout, Moments, Scales
from gpuseg.core.oversampling import Kept, Round
from gpuseg.core.seeding import Sample
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import AssignResult, AssignState, Block, LabelArray
from gpuseg.engines.choose import EngineChoice
from gpuseg.graph.memo import MEMO, Closest, Entry, default_memo_bytes
from gpuseg.graph.partitions import HostTable, MemoryPartition, Partition, key_identities

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

FEW = 4
"""Passes that turning the rows each time costs no more than a copy of them."""


@dataclass(frozen=True)
class Job:
    """What all tasks of one fit share.

    Parameters
    ----------
    run : str
        Name of the fit; remembered states of another fit are dropped.
    engine : EngineChoice
        Who computes.
    memo_bytes : int or None
        Bound of each process's memo; None: by its memory.
    layout : Layout or None
        Centring and scales, once they are known.
    turns : int
        Passes over all distances for which rows that lie row-major are turned on the way, some at a time, before they
        are copied feature-major; 0: they are copied when they are first read.
    """

    run: str
    engine: EngineChoice
    memo_bytes: int | None = None
    layout: Layout | None = None
    turns: int = 0

    def with_layout(self, layout: Layout) -> Job:
        """The same fit, its layout known."""
        return replace(self, layout=layout)

    @property
    def fit(self) -> str:
        """Name of the fit, also where its models go by one of their own: what precedes the first dash."""
        return self.run.partition("-")[0]

    def bound(self) -> int:
        """Bytes that the memo of this process may hold."""
        return default_memo_bytes() if self.memo_bytes is None else self.memo_bytes


def scan_partition(partition: Partition, job: Job) -> FeatureRange:
    """Read 1; where the values are float32 and have to be copied, their copy is remembered at once."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        table = _loaded(entry, partition)
        source = table.values
        engine = job.engine.build()
        if source.dtype != np.float32:
            return engine.scan(source, table.weights, None)
        if _as_it_lies(source, job, weighted=table.weights is not None):
            entry.block, entry.layout = source.T, ""
            return engine.scan(source, table.weights, None)
        block = empty_block(source.shape[1], source.shape[0])
        seen = engine.scan(source, table.weights, block)
        entry.block, entry.layout = block, ""
        return seen


def raw_moments_partition(partition: Partition, job: Job, scales: Scales) -> Moments:
    """Moments of the values as they came: what the centring is decided from."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        table = _loaded(entry, partition)
        weights = Weights.of(table.weights, scales.mode)
        return job.engine.build().moments(table.values, weights, scales)


def moments_partition(partition: Partition, job: Job) -> Moments:
    """Read 2, over the block that all later passes use."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        return job.engine.build().moments(block.T, weights, require_layout(job).scales)


def sample_partition(
    partition: Partition, first_row: int, job: Job, limit: int, seed: int, threshold: int
) -> Sample:
    """The partition's share of the seeding sample."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        identity = _identity(entry, partition, first_row)
        rows, draws = job.engine.build().sample_rows(identity, weights, seed, threshold)
        return Sample.drawn(limit, rows, draws, identity, block, weights)


def oversample_partition(
    partition: Partition, first_row: int, job: Job, batches: Sequence[Float32Array], drawing: Round
) -> Kept:
    """The partition's share of a round of k-means||.

    ``batches`` are the candidates (m, d) of all rounds so far: where distances are remembered only new ones count.
    """
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = feature_major_block(entry, partition, job)
        identity = _identity(entry, partition, first_row)
        known = entry.closest
        if known is None or known.run != job.run or known.n_batches > len(batches):
            known = entry.closest = Closest.fresh(job.run, block.shape[1])
        fresh = np.concatenate([np.empty((0, block.shape[0]), np.float32), *batches[known.n_batches :]])
        # A failure half-way leaves distances to some of the new candidates: looking at those again changes nothing.
        total, rows = job.engine.build().oversample(block, weights, known.distance, fresh, identity, drawing)
        known.n_batches = len(batches)
        return Kept.gathered(drawing, total, rows, known.distance, identity, block, weights)


def weigh_partition(partition: Partition, job: Job, candidates: Float32Array) -> WideSum | BinSum:
    """Weight of the partition's rows nearest to each candidate (m, d); ties go to the earlier one."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        entry.closest = None
        state = AssignState.fresh(block.shape[1], len(candidates))
        scales = require_layout(job).scales
        [result] = job.engine.build().assign(block, weights, [candidates], [state], scales)
        return result.sums.mass


def assign_partition(
    partition: Partition,
    job: Job,
    centres: Sequence[Float32Array],
    numbers: Sequence[int] | None = None,
    inertia: bool = False,
) -> list[AssignResult]:
    """Full sums of the partition for each model's centres; labels and sums may be remembered, never sent.

    ``numbers`` names the models where they are not all of the fit's: those that have come to rest drop out. What moved
    is counted against the labels that are remembered here: every row of a partition whose memo was lost.
    """
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = _block_for_pass(entry, partition, job)
        known = entry.states_of(job.run)
        chosen = range(len(centres)) if numbers is None else numbers
        states = [_state(known, m, block.shape[1], len(c)) for m, c in zip(chosen, centres, strict=True)]
        scales = require_layout(job).scales
        engine = job.engine.build()
        rows = _rows_as_given(partition, block, job)
        done = engine.assign(
            block, weights, centres, states, scales, inertia=inertia, labels=False, rows=rows
        )
        every = block.shape[1] * sum(len(c) for c in centres)
        entry.turned += sum(result.computed for result in done) / max(1, every)
        return done


def count_partition(
    partition: Partition, job: Job, centres: Sequence[Float32Array], models: Sequence[int]
) -> list[Int64Array]:
    """Rows of positive weight nearest to each centre (k, d) of each model; ``models`` are the numbers they have."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        known = entry.states_of(job.run)
        states = [_state(known, m, block.shape[1], len(c)) for m, c in zip(models, centres, strict=True)]
        job.engine.build().assign(block, weights, centres, states, require_layout(job).scales)
        positive = weights.positive()
        rows = slice(None) if positive is None else positive
        return [
            np.bincount(state.labels[rows], minlength=len(c))
            for state, c in zip(states, centres, strict=True)
        ]


def merge_counts(a: list[Int64Array], b: list[Int64Array]) -> list[Int64Array]:
    """Add the counts of each model."""
    return [x + y for x, y in zip(a, b, strict=True)]


@dataclass(frozen=True)
class Closed:
    """A partition's closing pass of one model.

    Parameters
    ----------
    sums : ClusterSums
        With the inertia.
    labels : ndarray of uint8, uint16 or int32, shape (n,), or None
        Where they were wanted, as narrow as they travel best.
    moments : list of Moments or None
        Of each cluster's rows, unweighted, where they were wanted.
    """

    sums: ClusterSums
    labels: LabelArray | None = None
    moments: list[Moments] | None = None


def close_partition(
    partition: Partition,
    job: Job,
    centres: Sequence[Float32Array],
    want_labels: bool,
    want_moments: bool = False,
) -> list[Closed]:
    """The closing pass of all models: sums and inertia of the partition and what else is wanted."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        known, engine = entry.states_of(job.run), job.engine.build()
        states = [_state(known, m, block.shape[1], len(c)) for m, c in enumerate(centres)]
        scales = require_layout(job).scales
        rows = _rows_as_given(partition, block, job)
        results = engine.assign(block, weights, centres, states, scales, inertia=True, rows=rows)
        moments: list[list[Moments]] | list[None] = [None] * len(centres)
        if want_moments:
            labels, ks = [state.labels for state in states], [len(c) for c in centres]
            moments = engine.label_moments(block, labels, ks, scales)
        return [
            # Nothing writes to these labels again: it is the last pass of the fit, and another has states of its own.
            Closed(result.sums, state.labels if want_labels else None, found)
            for result, state, found in zip(results, states, moments, strict=True)
        ]


def farthest_partition(
    partition: Partition,
    first_row: int,
    job: Job,
    centres: Float32Array,
    limit: int,
    number: int | None = None,
) -> Farthest:
    """The partition's rows with positive weight that are farthest from their centre.

    ``number`` is the model that was assigned to these centres last, whose labels may be remembered here.
    """
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        n_rows, k = block.shape[1], len(centres)
        distance = np.empty(n_rows, np.float32)
        state = AssignState.fresh(n_rows, k)
        if number is not None:
            state = _state(entry.states_of(job.run), number, n_rows, k)
        scales, rows = require_layout(job).scales, _rows_as_given(partition, block, job)
        job.engine.build().assign(block, weights, [centres], [state], scales, distance=distance, rows=rows)
        identity = _identity(entry, partition, first_row)
        return farthest_rows(block, weights, distance, identity, limit)


def farthest_rows(
    block: Block,
    weights: Weights,
    distance: Float32Array,
    identity: npt.NDArray[np.uint64],
    limit: int,
) -> Farthest:
    """The ``limit`` farthest distinct rows of a block, rows of weight 0 left out."""
    positive = weights.positive()
    if positive is None:
        return Farthest.of(limit, distance, identity, block.T)
    rows = np.flatnonzero(positive)
    return Farthest.of(limit, distance[rows], identity[rows], block.T[rows])


def merge_models(a: list[AssignResult], b: list[AssignResult]) -> list[AssignResult]:
    """Merge the pass of each model."""
    return [x.merge(y) for x, y in zip(a, b, strict=True)]


def require_layout(job: Job) -> Layout:
    """The layout of a job whose table has been read."""
    assert job.layout is not None, "the layout is decided before the block is made"
    return job.layout


def _state(known: dict[int, AssignState], model: int, n_rows: int, k: int) -> AssignState:
    """The remembered state of a model, or a fresh one in its place."""
    state = known.get(model)
    if state is None or state.labels.size != n_rows:
        state = known[model] = AssignState.fresh(n_rows, k)
    return state


def prepared_block(entry: Entry, partition: Partition, job: Job) -> tuple[Block, Weights]:
    """Block and weights of a partition: remembered, or made again with the same bits; rows may be as they lie."""
    layout = require_layout(job)
    wanted = layout_digest(layout)
    mode = layout.scales.mode
    weights = entry.weights if entry.weights is not None and entry.weights.mode is mode else None
    if weights is not None and entry.block is not None and entry.layout == wanted:
        return entry.block, weights
    # A block that was not centred holds float32 values as they came, so another can be made of it.
    block = entry.block if entry.layout == "" else None
    source = None if block is None else block.T
    if source is None or weights is None:
        table = _loaded(entry, partition)
        weights = Weights.of(table.weights, mode)
        source = table.values if source is None else source
        # What block and weights replace is let go; the keys of rows that were loaded are still needed.
        entry.table = None
        entry.keys = None if isinstance(partition, MemoryPartition) else table.keys
    if wanted == "" and _as_it_lies(source, job, weighted=mode is not WeightMode.NONE):
        block = source.T
    else:
        block = empty_block(source.shape[1], source.shape[0])
        job.engine.build().centre(source, layout, block)
    entry.block, entry.weights, entry.layout = block, weights, wanted
    entry.states_of("")
    return block, weights


def _as_it_lies(values: npt.NDArray[np.floating[Any]], job: Job, *, weighted: bool) -> bool:
    """Whether rows are worked on as they lie in memory; sums of weights go over each feature by itself."""
    if values.dtype == np.float32 and is_feature_major(values):
        return True
    return job.turns > 0 and not weighted and job.engine.build().takes(values)


def _block_for_pass(entry: Entry, partition: Partition, job: Job) -> tuple[Block, Weights]:
    """As ``prepared_block``; rows that have been turned often enough are copied."""
    return (feature_major_block if entry.turned >= job.turns else prepared_block)(entry, partition, job)


def feature_major_block(entry: Entry, partition: Partition, job: Job) -> tuple[Block, Weights]:
    """As ``prepared_block``; what lies row-major is copied, and remembered so, for verbs that go over it many times."""
    block, weights = prepared_block(entry, partition, job)
    if is_row_major(block):
        copy = empty_block(*block.shape)
        job.engine.build().scan(block.T, None, copy)
        entry.block = block = copy
    return block, weights


def _loaded(entry: Entry, partition: Partition) -> HostTable:
    """The rows as they came: in memory anyway, remembered until their block is made, or read again."""
    if isinstance(partition, MemoryPartition):
        return partition.load()
    if entry.table is None:
        entry.table = partition.load()
    return entry.table


def _identity(entry: Entry, partition: Partition, first_row: int) -> npt.NDArray[np.uint64]:
    """Identity of each row of a partition whose block is in the entry."""
    if not partition.has_keys:
        assert entry.block is not None, "identities are asked for beside a block"
        return row_numbers(first_row, entry.block.shape[1])
    keys = partition.load().keys if entry.keys is None else entry.keys
    assert keys is not None, "a partition with keys loads them"
    if not isinstance(partition, MemoryPartition):
        entry.keys = keys
    return key_identities(keys)


def _rows_as_given(partition: Partition, block: Block, job: Job) -> Float32Array | None:
    """The caller's own row-major array, where the block is a plain copy of it."""
    if not isinstance(partition, MemoryPartition) or layout_digest(require_layout(job)) != "":
        return None
    values = partition.load().values
    given = (
        values.dtype == np.float32 and values.flags.c_contiguous and not np.may_share_memory(values, block)
    )
    return values if given else None


def layout_digest(layout: Layout) -> str:
    """Name of what a layout does to the values; "" where it leaves float32 values as they are."""
    return of_bytes(layout.centre.tobytes()) if bool(layout.centred.any()) else ""


def block_of(values: npt.NDArray[np.floating[Any]], layout: Layout, engine: EngineChoice) -> Block:
    """A block of rows that are in memory, for predictions; nothing is remembered."""
    chosen = engine.build()
    if not layout.centred.any() and chosen.takes(values):
        return values.T
    block = empty_block(values.shape[1], values.shape[0])
    chosen.centre(values, layout, block)
    return block
