"""Nearest centres and cluster sums on a device (room: engines): the verbs.

The same records, to the bit, as ``CpuEngine.assign``. Between passes :class:`AssignMemo` keeps labels and sums where
they are made; only the merged sums come down. Launches are those of :mod:`gpuseg.engines.device.assign_launch`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import AssignResult, AssignState, Block, label_dtype
from gpuseg.engines.checks import require_models, require_weights
from gpuseg.engines.device.assign_launch import LABEL_NAMES, Limbs, Pass
from gpuseg.engines.device.assign_plan import SIZES, WANT_DISTANCE, WANT_INERTIA, WANT_SUMS, AssignSizes
from gpuseg.engines.device.memo import AssignMemo
from gpuseg.engines.launch import Device, DeviceArray, require_no_error
from gpuseg.errors import ContractError


def assign(
    device: Device,
    block: Block,
    weights: Weights,
    centres: Sequence[npt.NDArray[np.float32]],
    states: Sequence[AssignState],
    scales: Scales,
    *,
    sums: bool = True,
    inertia: bool = False,
    distance: npt.NDArray[np.float32] | None = None,
) -> list[AssignResult]:
    """Nearest centre of every row of a host block for each model: :meth:`gpuseg.engines.base.Engine.assign`.

    Parameters
    ----------
    device : Device
        Where it is computed; block, labels and remembered sums are uploaded.
    block : float32 array, shape (d, n)
        Feature-major, C order.
    weights : Weights
        Of the n rows.
    centres : sequence of float32 arrays, shape (k, d)
        One a model.
    states : sequence of AssignState
        One a model; ``labels`` and ``sums`` are updated.
    scales : Scales
        Fixed-point exponents and weight arithmetic of the whole data set.
    sums : bool, default True
        Whether masses and totals are wanted; if not they are zeros and the states forget theirs.
    inertia : bool, default False
        Whether the inertia is wanted.
    distance : float32 array, shape (n,), optional
        Receives each row's chain d2; one model only.

    Returns
    -------
    list of AssignResult
        Equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If shapes do not fit each other, a value does not fit its scale or a weight is out of range.
    """
    d, n = block.shape
    _require_fit(block, weights, centres, states)
    x = device.to_device(block)
    w = device.to_device(weights.reals if weights.mode is WeightMode.REAL else weights.integers)
    far = None if distance is None else device.empty(n, np.float32)
    known = [state.sums for state in states]
    for state in states:
        # An exception half-way must not leave labels and sums that disagree.
        state.sums = None
    results: dict[int, AssignResult] = {}
    for width in LABEL_NAMES:
        chosen = [m for m, c in enumerate(centres) if np.dtype(label_dtype(len(c))).itemsize == width]
        if not chosen:
            continue
        last = [(len(centres[m]), states[m].labels, known[m]) for m in chosen]
        memo = AssignMemo.upload(device, d, weights.mode, last)
        found = assign_on_device(
            device, x, w, [centres[m] for m in chosen], memo, scales, sums=sums, inertia=inertia, distance=far
        )
        for row, m in zip(device.to_host(memo.labels), chosen, strict=True):
            states[m].labels[:] = row
        results.update(zip(chosen, found, strict=True))
    if distance is not None and far is not None:
        distance[:] = device.to_host(far)
    for m, state in enumerate(states):
        state.sums = results[m].sums if sums else None
    return [results[m] for m in range(len(states))]


def assign_on_device(
    device: Device,
    x: DeviceArray,
    w: DeviceArray,
    centres: Sequence[npt.NDArray[np.float32]],
    memo: AssignMemo,
    scales: Scales,
    *,
    models: Sequence[int] | None = None,
    sums: bool = True,
    inertia: bool = False,
    distance: DeviceArray | None = None,
    sizes: AssignSizes = SIZES,
) -> list[AssignResult]:
    """One pass over a block that is on the device already.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Feature-major.
    w : DeviceArray of int64 or float32, shape (n,)
        float32 where the memo's mode is REAL; of any length, and not read, where it is NONE.
    centres : sequence of float32 arrays, shape (k, d)
        On the host: one a model that takes part.
    memo : AssignMemo
        Labels and sums of the last pass; updated.
    scales : Scales
        Fixed-point exponents and weight arithmetic.
    models : sequence of int, optional
        Which models of the memo take part; all of them when None. The others stay as they are.
    sums, inertia : bool
        As :func:`assign` takes them.
    distance : DeviceArray of float32, shape (n,), optional
        Receives each row's chain d2; one model only.
    sizes : AssignSizes
        Of the launches.

    Returns
    -------
    list of AssignResult
        One a model that takes part, equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If a value does not fit its scale or a weight is out of range, or if several models share one ``distance``.

    Notes
    -----
    All models are fed by one read of x: rows in registers where their centres and sums fit shared memory beside each
    other, else in tiles in shared memory. Of sums that do not fit there as many entries as do are summed with it, the
    others by a second read. Only rows of more features than shared memory takes, and models by the hundred, are
    read again. Beside x, labels and memo the device holds 8 bytes (16 under INTEGER) an entry and block of the grid,
    and where there is a second read n labels a model. Waits for the stream once a download.
    """
    d = x.shape[0]
    chosen = range(len(memo.ks)) if models is None else models
    if distance is not None and len(chosen) != 1:
        raise ContractError(
            f"{len(chosen)} models cannot share one array of distances; ask for one at a time"
        )
    for m, c in zip(chosen, centres, strict=True):
        if c.shape != (memo.ks[m], d) or d != memo.d:
            raise ContractError(
                f"centres of shape {c.shape} do not fit a memo of {memo.ks[m]} clusters, {d} features"
            )
    if (memo.mode is WeightMode.REAL) != (scales.mode is WeightMode.REAL):
        raise ContractError(
            f"weights of mode {memo.mode.name} meet scales of mode {scales.mode.name}; decide it over all rows"
        )
    flags = WANT_SUMS * sums | WANT_INERTIA * inertia | WANT_DISTANCE * (distance is not None)
    call = Pass(device, x, w, memo, scales, flags, distance, sizes)
    by_model = dict(zip(chosen, centres, strict=True))
    batches = list(call.batches(chosen))
    extras: list[Limbs] = []
    for batch in batches:
        # Until the error word has been read nothing is known.
        known = [memo.known[m] for m in batch]
        for m in batch:
            memo.known[m] = False
        extras.append(call.run(batch, [by_model[m] for m in batch], known))
    require_no_error(device, call.error)
    for m in chosen:
        memo.known[m] = sums
    full = memo.download(device) if sums else None
    results: dict[int, AssignResult] = {}
    for batch, extra in zip(batches, extras, strict=True):
        results.update(_results(device, memo, scales, batch, extra, full, x.shape[1]))
    return [results[m] for m in chosen]


def _results(
    device: Device,
    memo: AssignMemo,
    scales: Scales,
    batch: Sequence[int],
    extras: Limbs,
    full: WideSum | None,
    n_rows: int,
) -> Iterator[tuple[int, AssignResult]]:
    """Records of a batch's models: a device computes every distance."""
    hi, lo = (device.to_host(part).reshape(len(batch), -1) for part in extras)
    extra = WideSum(hi, lo)
    for i, m in enumerate(batch):
        none = ClusterSums.zero(memo.ks[m], scales.exponent, memo.mode)
        bins = BinSum(extra[i, 1:]) if hi.shape[1] > 1 else none.inertia
        mass, total = (none.mass, none.total) if full is None else memo.sums_of(m, full)
        sums = ClusterSums(mass, total, bins, scales.exponent)
        yield m, AssignResult(sums, int(extra.lo[i, 0]), n_rows * memo.ks[m])


def _require_fit(
    block: Block,
    weights: Weights,
    centres: Sequence[npt.NDArray[np.float32]],
    states: Sequence[AssignState],
) -> None:
    """Refuse what a kernel, which checks no bounds, would read beyond its end or add in the wrong arithmetic."""
    d, n = block.shape
    require_weights(weights, weights.mode, n)  # the scales are held to the memo's mode
    require_models(centres, states, d, n)
    for c, state in zip(centres, states, strict=True):
        if state.sums is not None and n and int(state.labels.max()) >= len(c):
            raise ContractError(
                f"a state remembers label {int(state.labels.max())} of {len(c)} clusters; start from a fresh one"
            )
