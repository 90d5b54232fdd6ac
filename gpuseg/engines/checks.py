"""What every engine refuses before a kernel, which checks no bounds, is given it (room: engines)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.overindex import N_REASONS, CategoryCounts, TraitTerms
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import AssignState, Block, ClusteredRows, LabelArray
from gpuseg.errors import ContractError


def require_weights(weights: Weights, mode: WeightMode, n_rows: int) -> None:
    """Refuse what a kernel, which checks no bounds, would read beyond its end or add in the wrong arithmetic."""
    held = {WeightMode.INTEGER: weights.integers.size, WeightMode.REAL: weights.reals.size}.get(
        weights.mode, n_rows
    )
    if held != n_rows:
        msg = f"{held} weights do not fit a block of {n_rows} rows; give one weight a row"
        raise ContractError(msg)
    if (weights.mode is WeightMode.REAL) != (mode is WeightMode.REAL):
        modes = f"weights of mode {weights.mode.name} do not fit scales of mode {mode.name}"
        msg = f"{modes}; take both from one WeightRange"
        raise ContractError(msg)


def require_models(
    centres: Sequence[npt.NDArray[np.float32]], states: Sequence[AssignState], d: int, n_rows: int
) -> None:
    """Refuse centres of other features and label buffers of other rows, for the same reason."""
    for c, state in zip(centres, states, strict=True):
        if c.ndim != 2 or c.shape[1] != d or not len(c) or state.labels.shape != (n_rows,):
            msg = (
                f"centres of shape {c.shape} and {state.labels.size} labels do not fit a block of {n_rows} rows "
                f"and {d} features; make both for this block"
            )
            raise ContractError(msg)


LABEL_TYPES: tuple[np.dtype[Any], ...] = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int32))
"""Types of labels that kernels read and write."""


def require_rows(rows: npt.NDArray[np.float32] | None, d: int, n_rows: int) -> None:
    """Refuse a row-major copy of a block that is of another shape, type or layout: its values would be taken amiss."""
    if rows is None or (rows.shape == (n_rows, d) and rows.dtype == np.float32 and rows.flags.c_contiguous):
        return
    msg = (
        f"rows of shape {rows.shape} and type {rows.dtype} are no copy of a block of {n_rows} rows and {d} features; "
        f"give them as float32 in C order, or not at all"
    )
    raise ContractError(msg)


def require_labels(labels: LabelArray, n_rows: int) -> None:
    """Refuse labels that a kernel would read beyond their end or in another type.

    Parameters
    ----------
    labels : ndarray
        Given.
    n_rows : int
        Rows that they are for.

    Raises
    ------
    ContractError
        If there is not one a row, or they are neither uint8, uint16 nor int32.
    """
    if labels.shape != (n_rows,) or labels.dtype not in LABEL_TYPES:
        msg = (
            f"labels of shape {labels.shape} and type {labels.dtype} do not fit {n_rows} rows; give each row a uint8, "
            f"uint16 or int32"
        )
        raise ContractError(msg)


def require_labelled(labels: Sequence[LabelArray], ks: Sequence[int], mode: WeightMode, n_rows: int) -> None:
    """Refuse labels or scales that moments of clusters cannot be taken with.

    Raises
    ------
    ContractError
        If labels do not fit, there is not one array of them a model, or scales are those of real weights.
    """
    if len(labels) != len(ks):
        msg = f"{len(labels)} arrays of labels do not fit {len(ks)} models; give one a model"
        raise ContractError(msg)
    if mode is WeightMode.REAL:
        msg = "moments of clusters count rows; scales of mode REAL are for real weights"
        raise ContractError(msg)
    for given in labels:
        require_labels(given, n_rows)


def require_shapes(
    labels: Sequence[LabelArray],
    shapes: Sequence[ClusterShape],
    out: Sequence[npt.NDArray[np.float64]] | None,
    block: tuple[int, ...],
    *,
    labelling: bool,
) -> None:
    """Refuse labels, shapes of clusters and results that do not belong to one block and to each other.

    Parameters
    ----------
    labels, shapes, out : sequence
        As :meth:`gpuseg.engines.base.Engine.square_silhouettes` takes them.
    block : tuple of int
        Shape (d, n).
    labelling : bool
        Whether labels are written.

    Raises
    ------
    ContractError
        If they do not fit, labels to be written are too narrow, or one cluster holds all rows.
    """
    d, n = block
    if len(labels) != len(shapes) or (out is not None and len(out) != len(shapes)):
        found = f"{len(labels)} arrays of labels, {len(shapes)} shapes"
        values = "" if out is None else f" and {len(out)} results"
        raise ContractError(f"{found}{values} do not fit each other; give one of each a model")
    for m, (given, shape) in enumerate(zip(labels, shapes, strict=True)):
        require_labels(given, n)
        k = len(shape.centres)
        size = (n,) if out is None else out[m].shape
        wanted = (k, d), (k,), (k,), (n,)
        if (shape.centres.shape, shape.spread.shape, shape.counts.shape, size) != wanted:
            facts = f"centres {shape.centres.shape}, spread {shape.spread.shape}, counts {shape.counts.shape}"
            raise ContractError(
                f"{facts} and out {size} do not fit a block {block}; they are (k, d), (k,), (k,) and (n,)"
            )
        if labelling and np.iinfo(given.dtype).max < k - 1:
            raise ContractError(
                f"{given.dtype} does not hold the labels of {k} clusters; use label_dtype({k})"
            )
        if np.count_nonzero(shape.counts) == 1 and shape.counts.max() > 1:
            raise ContractError("only one cluster has rows; a silhouette compares it with another")


def require_compared(rows: Block, others: ClusteredRows, out: npt.NDArray[np.int64]) -> None:
    """Refuse rows, others and sums that do not belong together.

    Parameters
    ----------
    rows, others, out : ndarray and ClusteredRows
        As :meth:`gpuseg.engines.base.Engine.silhouette_sums` takes them.

    Raises
    ------
    ContractError
        If shapes do not fit, or the starts of clusters do not ascend within the others.
    """
    d, m = others.block.shape
    if rows.shape[0] != d or out.shape != (rows.shape[1], others.k):
        shapes = f"rows {rows.shape}, others {others.block.shape}, {others.k} clusters and out {out.shape}"
        raise ContractError(f"{shapes} do not fit; they are (d, n), (d, m), k and (n, k)")
    bounds = np.concatenate([[0], others.starts, [m]])
    if others.k < 0 or bool(np.any(np.diff(bounds) < 0)):
        raise ContractError(
            f"the starts of clusters must ascend within 0 .. {m}; order the others by cluster"
        )


def require_identities(identity: npt.NDArray[np.uint64], n_rows: int) -> None:
    """Refuse identities of other rows, for the same reason."""
    if identity.size != n_rows:
        raise ContractError(f"{identity.size} identities do not fit a block of {n_rows} rows; give one a row")


def require_round(
    block: npt.NDArray[np.float32],
    weights: Weights,
    closest: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.float32],
    identity: npt.NDArray[np.uint64],
) -> None:
    """Refuse buffers of a round of k-means|| that do not belong together, for the same reason."""
    d, n = block.shape
    require_weights(weights, weights.mode, n)
    require_identities(identity, n)
    if candidates.ndim != 2 or candidates.shape[1] != d or closest.shape != (n,):
        raise ContractError(
            f"candidates of shape {candidates.shape} and {closest.size} distances do not fit a block of {n} rows and "
            f"{d} features; make both for this block"
        )


def require_scored(
    counts: CategoryCounts,
    terms: TraitTerms,
    scores: npt.NDArray[np.float64],
    evidence: npt.NDArray[np.float64],
    reasons: npt.NDArray[np.int16] | None,
) -> None:
    """Refuse buffers that a kernel would write beyond, or that are no memory of their own."""
    n, n_traits, categories = counts.n_rows, terms.n_traits, terms.floor.size
    if counts.n_categories != categories:
        msg = f"counts of {counts.n_categories} categories do not fit a reference of {categories}; give those it has"
        raise ContractError(msg)
    if categories > np.iinfo(np.int16).max:
        raise ContractError(f"{categories:,} categories have no numbers in int16; give at most 32,767")
    wanted: list[tuple[str, npt.NDArray[Any] | None, tuple[int, ...], Any]] = [
        ("scores", scores, (n_traits, n), np.float64),
        ("evidence", evidence, (n,), np.float64),
        ("reasons", reasons, (n_traits, N_REASONS, n), np.int16),
    ]
    for name, buffer, shape, dtype in wanted:
        if buffer is None:
            continue
        if buffer.shape != shape or buffer.dtype != dtype or not buffer.flags.c_contiguous:
            got = f"{name} of shape {buffer.shape} and type {buffer.dtype}"
            raise ContractError(f"{got} does not fit; it is {np.dtype(dtype)} {shape} in C order")
