"""Seeding steps and draws on a device (room: engines): host side of ``kernels/seed.cu``.

The same integers, distances and rows, to the bit, as ``CpuEngine.potentials``, ``seed_step`` and ``sample_rows``.
Seeding itself runs on the CPU engine on every platform (ONE_ANSWER section 6); a device draws the sample's rows for it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.core.philox import Stage, draw64
from gpuseg.core.seeding import likely_rows
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import Block
from gpuseg.engines.checks import require_weights
from gpuseg.engines.device.inputs import upload, upload_weights
from gpuseg.engines.launch import (
    Device,
    DeviceArray,
    Module,
    ceil_div,
    kernel_source,
    plan_rows,
    require_no_error,
)
from gpuseg.errors import ContractError

POINTS = 8
"""Candidates that a thread tries at once (``POINTS`` of pairs.cuh)."""
FEATURES = 64
"""Features of the candidates that are staged at once."""

_BLOCK_SUM_BYTES = 512
_THREADS = 256


def potentials(
    device: Device, closest: npt.NDArray[np.float32], weights: Weights, exponent: int
) -> npt.NDArray[np.int64]:
    """Integer potential of each row: w * rint(d2 * 2**exponent), or rint(float32(w * d2) * 2**exponent).

    Parameters
    ----------
    device : Device
        Where it is computed.
    closest : ndarray of float32, shape (n,)
        Squared distances.
    weights : Weights
        Of the n rows.
    exponent : int
        Scale of the step.

    Returns
    -------
    ndarray of int64, shape (n,)
        Equal to the CPU engine's.

    Raises
    ------
    ContractError
        If a potential does not fit its scale, or a buffer another.
    """
    require_weights(weights, weights.mode, closest.size)
    near, w = upload(device, closest, np.float32, "closest"), upload_weights(device, weights)
    return device.to_host(potentials_on_device(device, near, w, weights.mode, exponent))


def potentials_on_device(
    device: Device,
    closest: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    exponent: int,
    *,
    threads: int = _THREADS,
) -> DeviceArray:
    """Integer potentials of distances that are on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    closest : DeviceArray of float32, shape (n,)
        Squared distances.
    w : DeviceArray of int64 or float32, shape (n,)
        float32 where ``mode`` is REAL; of any length, and not read, where it is NONE.
    mode : WeightMode
        Arithmetic of ``w``.
    exponent : int
        Scale of the step.
    threads : int
        Threads a block.

    Returns
    -------
    DeviceArray of int64, shape (n,)
        Potentials.

    Raises
    ------
    ContractError
        If a potential does not fit its scale.
    """
    [n] = closest.shape
    geometry = plan_rows(n, device.props, threads=threads)
    out, error = device.empty(n, np.int64), device.zeros(1, np.uint32)
    arguments = (closest, w, np.int64(n), np.ldexp(np.float64(1.0), exponent), out, error)
    _module(device, POINTS)[f"potentials_each<{mode.name}>"](geometry.grid, geometry.block, arguments)
    require_no_error(device, error)
    return out


def seed_step(
    device: Device,
    block: Block,
    weights: Weights,
    closest: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.float32],
    exponent: int,
    out: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """For each candidate the potential if it were added.

    Parameters
    ----------
    device : Device
        Where it is computed; the block is uploaded whole.
    block : float32 array, shape (d, n)
        Feature-major.
    weights : Weights
        Of the n rows.
    closest : ndarray of float32, shape (n,)
        Squared distance of each row to the nearest of the seeds so far.
    candidates : ndarray of float32, shape (k, d)
        Points to try.
    exponent : int
        Scale of the step.
    out : ndarray of float32, shape (k, n)
        Receives min(closest, d2 to the candidate).

    Returns
    -------
    ndarray of int64, shape (k,)
        Equal to the CPU engine's.

    Raises
    ------
    ContractError
        If a potential does not fit its scale, or a buffer another.
    """
    d, n = block.shape
    require_weights(weights, weights.mode, n)
    if candidates.shape[1] != d or closest.shape != (n,) or out.shape != (len(candidates), n):
        raise ContractError(
            f"candidates of shape {candidates.shape}, {closest.size} distances and an output of shape {out.shape} do "
            f"not fit a block of {n} rows and {d} features; make them for this block"
        )
    x, near = upload(device, block, np.float32, "block"), upload(device, closest, np.float32, "closest")
    points = upload(device, candidates.T, np.float32, "candidates")
    nearer = device.empty(out.shape, np.float32)
    w = upload_weights(device, weights)
    sums = seed_step_on_device(device, x, w, weights.mode, near, points, exponent, nearer)
    out[...] = device.to_host(nearer)
    return sums


def seed_step_on_device(
    device: Device,
    x: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    closest: DeviceArray,
    candidates: DeviceArray,
    exponent: int,
    out: DeviceArray,
    *,
    threads: int = _THREADS,
    points: int = POINTS,
    features: int = FEATURES,
) -> npt.NDArray[np.int64]:
    """Potentials of candidates over a block that is on the device.

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
        Squared distances so far.
    candidates : DeviceArray of float32, shape (d, k)
        Points to try, feature-major.
    exponent : int
        Scale of the step.
    out : DeviceArray of float32, shape (k, n)
        Receives the smaller distances.
    threads, points, features : int
        Sizes of the launch (``kernels/seed.cu``); they change no bit of the answer. Tests shrink them.

    Returns
    -------
    ndarray of int64, shape (k,)
        Potential of each candidate.

    Raises
    ------
    ContractError
        If a potential does not fit its scale.
    """
    (d, n), (_, k) = x.shape, candidates.shape
    geometry = plan_rows(n, device.props, threads=threads, tiles=ceil_div(k, points))
    staged = min(d, features)
    sums, error = device.zeros(k, np.uint64), device.zeros(1, np.uint32)
    scale = np.ldexp(np.float64(1.0), exponent)
    sizes = np.int64(k), np.int32(staged), scale
    arguments = (x, np.int64(n), np.int64(n), np.int32(d), closest, w, candidates, *sizes, out, sums, error)
    kernel = _module(device, points)[f"seed_candidates<{mode.name}>"]
    kernel(geometry.grid, geometry.block, arguments, shared=_BLOCK_SUM_BYTES + 4 * points * staged)
    require_no_error(device, error)
    return device.to_host(sums).view(np.int64)


def sample_rows(
    device: Device, identity: npt.NDArray[np.uint64], weights: Weights, seed: int, threshold: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Numbers, ascending, and draws of the rows of positive weight whose draw is not above a threshold.

    Parameters
    ----------
    device : Device
        Where rows are drawn.
    identity : ndarray of uint64, shape (n,)
        Who each row is.
    weights : Weights
        Of the n rows.
    seed : int
        64-bit seed.
    threshold : int
        Rows with a larger draw are left out.

    Returns
    -------
    ndarray of int64, ndarray of uint64, both of shape (m,)
        Equal to the CPU engine's.

    Raises
    ------
    ContractError
        If the buffers are of different rows.
    """
    require_weights(weights, weights.mode, identity.size)
    who, w = upload(device, identity, np.uint64, "identity"), upload_weights(device, weights)
    return sample_rows_on_device(device, who, w, weights.mode, seed, threshold)


def sample_rows_on_device(
    device: Device,
    identity: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    seed: int,
    threshold: int,
    *,
    threads: int = _THREADS,
    capacity: int | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Rows below a draw, of a block whose identities are on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    identity : DeviceArray of uint64, shape (n,)
        Who each row is.
    w : DeviceArray of int64 or float32, shape (n,)
        float32 where ``mode`` is REAL; of any length, and not read, where it is NONE.
    mode : WeightMode
        Arithmetic of ``w``.
    seed : int
        64-bit seed.
    threshold : int
        Rows with a larger draw are left out.
    threads : int
        Threads a block.
    capacity : int, optional
        Rows that there is room for at first; by default about as many as the threshold lets through.

    Returns
    -------
    ndarray of int64, ndarray of uint64, both of shape (m,)
        Numbers, ascending, and draws.
    """
    draw64(seed, Stage.SAMPLE, np.empty(0, np.uint64))  # refuses a seed that is none
    room = _likely(identity.shape[0], threshold) if capacity is None else capacity
    rows, draws = _drawn(device, seed, identity, w, mode, threshold, room, threads)
    order = np.argsort(rows)
    return rows[order], draws[order]


def _likely(n: int, threshold: int) -> int:
    """Room for the rows below a threshold, but for one time in 10**14."""
    return likely_rows(n, n * (threshold + 1) / (1 << 64))


def _drawn(
    device: Device,
    seed: int,
    identity: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    threshold: int,
    room: int,
    threads: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Numbers and draws of all rows below the threshold, in any order; ``room`` is a guess of how many there are."""
    rows, draws, found = _draw(device, seed, identity, w, mode, threshold, room, threads)
    if found > room:
        rows, draws, _ = _draw(device, seed, identity, w, mode, threshold, found, threads)
    return rows, draws


def _draw(
    device: Device,
    seed: int,
    identity: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    threshold: int,
    room: int,
    threads: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], int]:
    """Numbers and draws of up to ``room`` rows below the threshold, in any order, and how many there are."""
    [n] = identity.shape
    geometry = plan_rows(n, device.props, threads=threads)
    rows, draws, count = (
        device.empty(room, np.int64),
        device.empty(room, np.uint64),
        device.zeros(1, np.uint64),
    )
    drawing = np.uint64(seed), np.uint32(Stage.SAMPLE), np.uint64(threshold), np.int64(room)
    arguments = (identity, w, np.int64(n), *drawing, rows, draws, count)
    _module(device, POINTS)[f"draw_rows<{mode.name}>"](geometry.grid, geometry.block, arguments)
    found = int(device.to_host(count)[0])
    if found > room:
        return np.empty(0, np.int64), np.empty(0, np.uint64), found
    return device.to_host(rows)[:found], device.to_host(draws)[:found], found


def _module(device: Device, points: int) -> Module:
    kernels = ("potentials_each", "seed_candidates", "draw_rows")
    names = [f"{name}<{mode.name}>" for name in kernels for mode in WeightMode]
    return device.module(kernel_source("seed.cu"), names, {"POINTS": points})
