"""Moments of a block on a device (room: engines): host side of ``kernels/moments.cu``.

The same record, to the bit, as ``CpuEngine.moments``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.moments import Moments, Scales
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.launch import (
    Device,
    DeviceArray,
    Geometry,
    Module,
    ceil_div,
    kernel_source,
    plan_groups,
    plan_rows,
    require_no_error,
)
from gpuseg.errors import ContractError

FEATURES = 8
"""Features that a thread sums at once (``FEATURES`` of moments.cu): weights are read once for them."""
THREADS = 128
"""Threads a block: with the registers that eight features take, three blocks share a multiprocessor."""
CLOSE_ROWS = 1 << 22
"""Rows that an int64 accumulator takes before it is carried into 128 bits."""
BLOCK_SUM_BYTES = 512
"""Shared bytes of a sum over a block (common.cuh)."""

_COLUMN_BYTES = 8 * N_BINS
_BIN_THREADS = 128  # 32 KiB of columns a block


def moments(device: Device, block: npt.NDArray[np.floating], weights: Weights, scales: Scales) -> Moments:
    """Exact weight, sums and sums of squares of the features of a host block.

    Parameters
    ----------
    device : Device
        Where it is computed; the block is uploaded whole.
    block : float32 or float64 array, shape (d, n)
        Feature-major, C order; float64 only of a table that is not prepared yet.
    weights : Weights
        Of the n rows.
    scales : Scales
        Fixed-point exponents and weight arithmetic of the whole data set.

    Returns
    -------
    Moments
        Equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If a value does not fit its scale, a weight is out of range, or the scales are for other weights.
    """
    if (weights.mode is WeightMode.REAL) != (scales.mode is WeightMode.REAL):
        raise ContractError(
            f"weights of mode {weights.mode.name} meet scales of mode {scales.mode.name}; decide it over all rows"
        )
    w = device.to_device(weights.reals if weights.mode is WeightMode.REAL else weights.integers)
    return moments_on_device(device, device.to_device(block), w, weights.mode, scales)


def moments_on_device(
    device: Device,
    x: DeviceArray,
    w: DeviceArray,
    mode: WeightMode,
    scales: Scales,
    *,
    threads: int = THREADS,
    features: int = FEATURES,
    close_rows: int = CLOSE_ROWS,
) -> Moments:
    """Moments of a block that is on the device already.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32 or float64, shape (d, n)
        Feature-major.
    w : DeviceArray of int64 or float32, shape (n,)
        float32 where ``mode`` is REAL; of any length, and not read, where it is NONE.
    mode : WeightMode
        Arithmetic of ``w``.
    scales : Scales
        Fixed-point exponents.
    threads, features, close_rows : int
        Sizes of the launch (``kernels/moments.cu``); they change no bit of the answer. Tests shrink them.

    Returns
    -------
    Moments
        Equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If a value does not fit its scale or a weight is out of range.

    Notes
    -----
    Beside the block, the device holds 32 d bytes a block of the grid. Waits for the stream once a download.
    """
    d, n = x.shape
    module = _module(device, features, close_rows)
    geometry = plan_rows(n, device.props, threads=threads, tiles=ceil_div(d, features))
    error = device.zeros(1, np.uint32)
    scale = device.to_device(_powers(scales.exponent))
    square_scale = device.to_device(_powers(scales.square_exponent))
    partial = _Partials(device, 2 * d, geometry)
    module[_partial_name(mode, x.dtype)](
        geometry.grid,
        geometry.block,
        (x, w, np.int64(n), np.int64(n), np.int32(d), scale, square_scale, partial.hi, partial.lo, error),
        shared=BLOCK_SUM_BYTES,
    )
    both = partial.merge(module)
    mass = _mass(device, module, w, mode, n, error, threads)
    require_no_error(device, error)
    return Moments(mass, both[:d], both[d:], scales.exponent, scales.square_exponent)


def _mass(
    device: Device, module: Module, w: DeviceArray, mode: WeightMode, n: int, error: DeviceArray, threads: int
) -> WideSum | BinSum:
    """Total weight, in the arithmetic of ``mode``."""
    if mode is WeightMode.NONE:
        return WideSum.from_ints([n], ())
    real = mode is WeightMode.REAL
    geometry = plan_rows(n, device.props, threads=min(threads, _BIN_THREADS) if real else threads)
    shared = max(_COLUMN_BYTES * geometry.threads, BLOCK_SUM_BYTES) if real else BLOCK_SUM_BYTES
    partial = _Partials(device, N_BINS if real else 1, geometry)
    kernel = module["mass_bins" if real else "mass_integers"]
    kernel(geometry.grid, geometry.block, (w, np.int64(n), partial.hi, partial.lo, error), shared=shared)
    sums = partial.merge(module)
    return BinSum(sums) if real else sums[0]


class _Partials:
    """128-bit partials of a launch: one a group and block of the grid's x axis."""

    def __init__(self, device: Device, groups: int, geometry: Geometry) -> None:
        self._device = device
        self.hi = device.empty((groups, geometry.grid[0]), np.int64)
        self.lo = device.empty((groups, geometry.grid[0]), np.uint64)

    def merge(self, module: Module) -> WideSum:
        """Sum over blocks; shape (groups,)."""
        return _merge(self._device, module, self.hi, self.lo)


def merge_partials(device: Device, hi: DeviceArray, lo: DeviceArray) -> WideSum:
    """Sum 128-bit partials of any kernel over blocks.

    Parameters
    ----------
    device : Device
        Where they lie.
    hi, lo : DeviceArray of int64 and uint64, shape (groups, blocks)
        Limbs: one partial a group and block of the grid's x axis.

    Returns
    -------
    WideSum, shape (groups,)
        On the host; waits for the stream.
    """
    return _merge(device, _module(device, FEATURES, CLOSE_ROWS), hi, lo)


def _merge(device: Device, module: Module, partial_hi: DeviceArray, partial_lo: DeviceArray) -> WideSum:
    groups, blocks = partial_hi.shape
    geometry = plan_groups(groups)
    hi, lo = device.empty(groups, np.int64), device.empty(groups, np.uint64)
    arguments = (partial_hi, partial_lo, np.int64(blocks), hi, lo)
    module["wide_merge"](geometry.grid, geometry.block, arguments, shared=BLOCK_SUM_BYTES)
    return WideSum(device.to_host(hi), device.to_host(lo))


def _module(device: Device, features: int, close_rows: int) -> Module:
    names = [_partial_name(mode, np.dtype(kind)) for mode in WeightMode for kind in (np.float32, np.float64)]
    return device.module(
        kernel_source("moments.cu"),
        [*names, "mass_integers", "mass_bins", "wide_merge"],
        {"FEATURES": features, "CLOSE_ROWS": close_rows},
    )


def _partial_name(mode: WeightMode, dtype: np.dtype[Any]) -> str:
    return f"moments_partial<{mode.name}>" if dtype == np.float32 else f"moments_partial<{mode.name}, double>"


def _powers(exponent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.ldexp(np.ones(exponent.size), exponent.astype(np.int32))
