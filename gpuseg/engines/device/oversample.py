"""Rounds of k-means|| on a device (room: engines): host side of ``kernels/oversample.cu``.

The same distances, sums and rows, to the bit, as ``CpuEngine.oversample``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.oversampling import Round
from gpuseg.core.philox import Stage
from gpuseg.core.seeding import likely_rows
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import Block
from gpuseg.engines.checks import require_round
from gpuseg.engines.device.distance import plan_tile
from gpuseg.engines.device.inputs import upload, upload_weights
from gpuseg.engines.device.moments import merge_partials
from gpuseg.engines.launch import (
    Device,
    DeviceArray,
    Module,
    ceil_div,
    kernel_source,
    plan_rows,
    require_no_error,
)

_COLUMN_BYTES = 12 * N_BINS


@dataclass(frozen=True)
class RoundSizes:
    """Sizes of the launches (``kernels/oversample.cu``); they change no bit of an answer. Tests shrink them.

    Parameters
    ----------
    threads : int, optional
        Threads of a block that measures distances; by default as many as its tile of rows allows.
    rows, points : int, default 2 and 8
        Rows of a thread, and candidates whose chains it carries on at once (``ROWS``, ``POINTS`` of pairs.cuh).
    features : int, optional
        Features that are staged at once; by default all, where shared memory holds them.
    bin_threads : int, default 64
        Threads of a block that adds distances: each takes 384 shared bytes.
    keep_threads : int, default 256
        Threads of a block that keeps rows.
    capacity : int, optional
        Rows that there is room for at first; by default about as many as the round wants.
    """

    threads: int | None = None
    rows: int = 2
    points: int = 8
    features: int | None = None
    bin_threads: int = 64
    keep_threads: int = 256
    capacity: int | None = None


SIZES = RoundSizes()


def oversample(
    device: Device,
    block: Block,
    weights: Weights,
    closest: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.float32],
    identity: npt.NDArray[np.uint64],
    drawing: Round,
) -> tuple[BinSum, npt.NDArray[np.int64]]:
    """One round over a host block.

    Parameters
    ----------
    device : Device
        Where it is computed; the block is uploaded whole.
    block : float32 array, shape (d, n)
        Feature-major.
    weights : Weights
        Of the n rows.
    closest : ndarray of float32, shape (n,)
        Squared distance of each row to the closest candidate so far, infinity without one; updated.
    candidates : ndarray of float32, shape (k, d)
        New candidates.
    identity : ndarray of uint64, shape (n,)
        Who each row is.
    drawing : Round
        What all rows of the round share.

    Returns
    -------
    BinSum, ndarray of int64 of shape (m,)
        Exact sum of the weighted distances, and the numbers, ascending, of the rows that are kept.

    Raises
    ------
    ContractError
        If the buffers are of different rows, or a weighted distance is not finite.
    """
    require_round(block, weights, closest, candidates, identity)
    near = upload(device, closest, np.float32, "closest")
    found = oversample_on_device(
        device,
        upload(device, block, np.float32, "block"),
        upload_weights(device, weights),
        weights.mode,
        near,
        upload(device, candidates.T, np.float32, "candidates"),
        upload(device, identity, np.uint64, "identity"),
        drawing,
    )
    closest[:] = device.to_host(near)
    return found


def oversample_on_device(
    device: Device,
    x: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    closest: DeviceArray,
    candidates: DeviceArray,
    identity: DeviceArray,
    drawing: Round,
    *,
    sizes: RoundSizes = SIZES,
) -> tuple[BinSum, npt.NDArray[np.int64]]:
    """One round over a block that is on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Feature-major.
    w : DeviceArray of int64 or float32, shape (n,)
        float32 where ``mode`` is REAL; of any length, and not read, where it is NONE.
    mode : WeightMode
        Arithmetic of ``w``.
    closest : DeviceArray of float32, shape (n,)
        Distances so far; updated.
    candidates : DeviceArray of float32, shape (d, k)
        New candidates, feature-major.
    identity : DeviceArray of uint64, shape (n,)
        Who each row is.
    drawing : Round
        What all rows of the round share.
    sizes : RoundSizes
        Of the launches.

    Returns
    -------
    BinSum, ndarray of int64 of shape (m,)
        As :func:`oversample` has them.

    Raises
    ------
    ContractError
        If a weighted distance is not finite.
    """
    drawing.draws(np.empty(0, np.uint64))  # refuses a seed or a number that is none
    module = _module(device, sizes)
    if candidates.shape[1]:
        _shorten(device, module, x, closest, candidates, sizes)
    total = _sum(device, module, w, mode, closest, sizes)
    sum_of_all = float(total.to_float64())
    n = identity.shape[0]
    room = likely_rows(n, drawing.wanted) if sizes.capacity is None else sizes.capacity
    rows, found = _keep(device, module, w, mode, closest, identity, drawing, sum_of_all, room, sizes)
    if found > room:
        rows, _ = _keep(device, module, w, mode, closest, identity, drawing, sum_of_all, found, sizes)
    return total, np.sort(rows)


def _shorten(
    device: Device,
    module: Module,
    x: DeviceArray,
    closest: DeviceArray,
    candidates: DeviceArray,
    sizes: RoundSizes,
) -> None:
    """Distances to the closest candidate, the new ones included."""
    (d, n), k = x.shape, candidates.shape[1]
    tile = plan_tile(
        d, device.props, rows=sizes.rows, points=sizes.points, columns=sizes.points, threads=sizes.threads,
        features=sizes.features,
    )  # fmt: skip
    geometry = plan_rows(ceil_div(n, tile.rows), device.props, threads=tile.threads)
    arguments = (x, np.int64(n), candidates, np.int32(k), np.int32(d), np.int32(tile.features), closest)
    module["nearer_rows"](geometry.grid, geometry.block, arguments, shared=tile.nbytes)


def _sum(
    device: Device, module: Module, w: DeviceArray, mode: WeightMode, closest: DeviceArray, sizes: RoundSizes
) -> BinSum:
    """Exact sum of the weighted distances."""
    [n] = closest.shape
    geometry = plan_rows(n, device.props, threads=sizes.bin_threads)
    hi = device.empty((N_BINS, geometry.grid[0]), np.int64)
    lo = device.empty((N_BINS, geometry.grid[0]), np.uint64)
    error = device.zeros(1, np.uint32)
    module[f"distance_bins<{mode.name}>"](
        geometry.grid, geometry.block, (closest, w, np.int64(n), hi, lo, error),
        shared=_COLUMN_BYTES * geometry.threads,
    )  # fmt: skip
    require_no_error(device, error)
    return BinSum(merge_partials(device, hi, lo))


def _keep(
    device: Device,
    module: Module,
    w: DeviceArray,
    mode: WeightMode,
    closest: DeviceArray,
    identity: DeviceArray,
    drawing: Round,
    total: float,
    room: int,
    sizes: RoundSizes,
) -> tuple[npt.NDArray[np.int64], int]:
    """Numbers of up to ``room`` rows that are kept, in any order, and how many there are."""
    [n] = closest.shape
    geometry = plan_rows(n, device.props, threads=sizes.keep_threads)
    rows, count = device.empty(room, np.int64), device.zeros(1, np.uint64)
    key = np.uint64(drawing.seed), np.uint32(Stage.OVERSAMPLE), np.uint32(drawing.number)
    share = np.float64(drawing.wanted), np.float64(total)
    arguments = (closest, w, identity, np.int64(n), *key, *share, np.int64(room), rows, count)
    module[f"keep_rows<{mode.name}>"](geometry.grid, geometry.block, arguments)
    found = int(device.to_host(count)[0])
    return (device.to_host(rows)[:found] if found <= room else np.empty(0, np.int64)), found


def _module(device: Device, sizes: RoundSizes) -> Module:
    names = [f"{name}<{mode.name}>" for name in ("distance_bins", "keep_rows") for mode in WeightMode]
    defines = {"ROWS": sizes.rows, "POINTS": sizes.points}
    return device.module(kernel_source("oversample.cu"), ["nearer_rows", *names], defines)
