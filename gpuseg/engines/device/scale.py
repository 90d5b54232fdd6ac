"""The preparing reads on a device (room: engines): host side of ``kernels/scale.cu``.

The same records and blocks as ``CpuEngine.scan`` and ``centre``, from row-major or feature-major tables of float32 or
float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import FeatureRange, Layout
from gpuseg.core.weights import WeightRange
from gpuseg.engines.base import Block
from gpuseg.engines.device.inputs import upload
from gpuseg.engines.launch import (
    WARP,
    Device,
    DeviceArray,
    Geometry,
    Module,
    ceil_div,
    kernel_source,
    plan_groups,
    plan_rows,
)
from gpuseg.errors import ContractError

WARPS = 8
"""Warps a block (``WARPS`` of scale.cu)."""
TILE_VALUES = 2048
"""Values of a tile: narrow tables take more rows at a time."""

_FEATURES_A_WARP = 4
_BANK_BYTES = 128
_BLOCK_SUM_BYTES = 512
_TYPES = {"float32": "float", "float64": "double"}


def scan(
    device: Device,
    source: npt.NDArray[np.floating],
    weights: npt.NDArray[np.float64] | None,
    out: Block | None,
) -> FeatureRange:
    """Read 1 of a host table: range, finiteness, weight facts.

    Parameters
    ----------
    device : Device
        Where it is computed; the table is uploaded whole.
    source : float32 or float64 array, shape (n, d)
        Of any strides; what is neither row-major nor feature-major is copied on the host first.
    weights : ndarray of float64, shape (n,), or None
        Sample weights.
    out : ndarray of float32, shape (d, n), or None
        Receives the values feature-major; float32 source only.

    Returns
    -------
    FeatureRange
        Equal to the CPU engine's.

    Raises
    ------
    ContractError
        If a buffer has another type or shape.
    """
    x, row_major = _placed(device, source)
    if weights is not None and len(weights) != len(source):
        raise ContractError(
            f"{len(weights)} weights do not fit a block of {len(source)} rows; give one weight a row"
        )
    w = None if weights is None else upload(device, weights, np.float64, "weights")
    block = None if out is None else device.empty(_shape_of(source, out), np.float32)
    seen = scan_on_device(device, x, w, block, row_major=row_major)
    if out is not None and block is not None:
        out[...] = device.to_host(block)
    return seen


def scan_on_device(
    device: Device,
    source: DeviceArray,
    weights: DeviceArray | None,
    out: DeviceArray | None,
    *,
    row_major: bool,
    warps: int = WARPS,
    tile_values: int = TILE_VALUES,
) -> FeatureRange:
    """Read 1 of a table that is on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    source : DeviceArray of float32 or float64, shape (n, d) or (d, n)
        The table.
    weights : DeviceArray of float64, shape (n,), or None
        Sample weights.
    out : DeviceArray of float32, shape (d, n), or None
        Receives the values feature-major; float32 source only.
    row_major : bool
        Whether ``source`` is [n, d].
    warps, tile_values : int
        Sizes of the launch (``kernels/scale.cu``); they change no bit of the answer. Tests shrink them.

    Returns
    -------
    FeatureRange
        Equal to the CPU engine's.

    Raises
    ------
    ContractError
        If a copy of float64 values is asked for.
    """
    if out is not None and source.dtype != np.float32:
        raise ContractError(f"a scan copies float32 values, the table is {source.dtype}; copy it with centre")
    n, d = source.shape if row_major else source.shape[::-1]
    plan = _Plan(device, source, n, d, warps, tile_values, row_major)
    blocks = plan.geometry.grid[0]
    low, high = (device.empty((d, blocks), np.float64) for _ in range(2))
    bad = device.empty((d, blocks), np.int64)
    w = device.empty(0, np.float64) if weights is None else weights
    copy = device.empty(0, np.float32) if out is None else out
    asked = np.int32(weights is not None), *plan.tile, copy, np.int32(out is not None)
    shared = plan.tile_bytes + int(plan.tile[0])
    kernel = plan.module[f"scan_rows<{plan.template}>"]
    kernel(
        plan.geometry.grid,
        plan.geometry.block,
        (source, *plan.sizes, w, *asked, low, high, bad),
        shared=shared,
    )
    seen = _merged(device, plan.module, low, high, bad)
    facts = WeightRange.of(None, n) if weights is None else _weigh(device, plan.module, weights)
    return FeatureRange(n, *seen, facts)


def centre(device: Device, source: npt.NDArray[np.floating], layout: Layout, out: Block) -> None:
    """Copy ``float32(source - centre)`` of a host table feature-major.

    Parameters
    ----------
    device : Device
        Where it is computed; the table is uploaded whole.
    source : float32 or float64 array, shape (n, d)
        Of any strides.
    layout : Layout
        What is subtracted.
    out : ndarray of float32, shape (d, n)
        Overwritten.

    Raises
    ------
    ContractError
        If a buffer has another type or shape.
    """
    x, row_major = _placed(device, source)
    block = device.empty(_shape_of(source, out), np.float32)
    shift = upload(device, layout.centre, np.float64, "centre")
    centre_on_device(device, x, shift, block, row_major=row_major)
    out[...] = device.to_host(block)


def centre_on_device(
    device: Device,
    source: DeviceArray,
    shift: DeviceArray,
    out: DeviceArray,
    *,
    row_major: bool,
    warps: int = WARPS,
    tile_values: int = TILE_VALUES,
) -> None:
    """Copy ``float32(source - shift)`` of a table that is on the device feature-major.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    source : DeviceArray of float32 or float64, shape (n, d) or (d, n)
        The table.
    shift : DeviceArray of float64, shape (d,)
        Subtracted in float64.
    out : DeviceArray of float32, shape (d, n)
        Overwritten.
    row_major : bool
        Whether ``source`` is [n, d].
    warps, tile_values : int
        Sizes of the launch. Tests shrink them.
    """
    n, d = source.shape if row_major else source.shape[::-1]
    plan = _Plan(device, source, n, d, warps, tile_values, row_major)
    kernel = plan.module[f"centre_rows<{plan.template}>"]
    arguments = (source, *plan.sizes, shift, *plan.tile, out)
    kernel(plan.geometry.grid, plan.geometry.block, arguments, shared=plan.tile_bytes)


class _Plan:
    """Tiles of a table: how the kernels that go through it are launched."""

    def __init__(
        self, device: Device, source: DeviceArray, n: int, d: int, warps: int, values: int, row_major: bool
    ) -> None:
        item = source.dtype.itemsize
        features = max(1, min(d, warps * _FEATURES_A_WARP))
        rows = WARP * max(1, values // (WARP * features))
        # Neighbours write a tile feature by feature; the odd columns keep them in banks of their own.
        pitch = rows + ceil_div(_BANK_BYTES // item, features)
        threads = warps * WARP
        self.geometry: Geometry = plan_rows(
            ceil_div(n, rows) * threads,
            device.props,
            threads=threads,
            tiles=ceil_div(d, warps * _FEATURES_A_WARP),
        )
        self.sizes = np.int64(n), np.int32(d)
        self.tile = np.int32(rows), np.int32(pitch)
        self.tile_bytes = pitch * features * item if row_major else 0
        self.template = f"{_TYPES[source.dtype.name]}, {str(row_major).lower()}"
        self.module = _module(device, warps)


def _merged(
    device: Device, module: Module, low: DeviceArray, high: DeviceArray, bad: DeviceArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Range of each feature over all blocks."""
    d, blocks = low.shape
    whole = device.empty(d, np.float64), device.empty(d, np.float64), device.empty(d, np.int64)
    if d:
        geometry = plan_groups(d, threads=WARP)
        module["range_merge"](geometry.grid, geometry.block, (low, high, bad, np.int64(blocks), *whole))
    return device.to_host(whole[0]), device.to_host(whole[1]), device.to_host(whole[2])


def _weigh(device: Device, module: Module, weights: DeviceArray) -> WeightRange:
    """Facts of weights that are on the device."""
    [n] = weights.shape
    facts = device.zeros(5, np.uint64)
    geometry = plan_rows(n, device.props)
    module["weigh_rows"](
        geometry.grid, geometry.block, (weights, np.int64(n), facts), shared=_BLOCK_SUM_BYTES
    )
    words = device.to_host(facts)
    positive, bad, broken, total = (int(word) for word in words[:4])
    return WeightRange(
        n_positive=positive,
        n_bad=bad,
        integral=not broken,
        maximum=float(words[4:].view(np.float64)[0]),
        given=True,
        total=0 if broken else total,
    )


def _placed(device: Device, source: npt.NDArray[Any]) -> tuple[DeviceArray, bool]:
    """The table on the device, as it lies in memory if it can be, and whether that is row by row."""
    if source.dtype not in (np.float32, np.float64):
        raise ContractError(f"the table is {source.dtype}; engines read float32 or float64: convert it first")
    if source.T.flags.c_contiguous and not source.flags.c_contiguous:
        return device.to_device(source.T), False
    return device.to_device(np.ascontiguousarray(source)), True


def _shape_of(source: npt.NDArray[Any], out: Block) -> tuple[int, ...]:
    if out.shape != source.shape[::-1] or out.dtype != np.float32:
        raise ContractError(
            f"a {out.dtype} block of shape {out.shape} does not fit a table of {len(source)} rows and "
            f"{source.shape[1]} features; make it float32, feature-major"
        )
    return out.shape


def _module(device: Device, warps: int) -> Module:
    templates = [f"{real}, {major}" for real in _TYPES.values() for major in ("true", "false")]
    names = [f"{name}<{template}>" for name in ("scan_rows", "centre_rows") for template in templates]
    return device.module(kernel_source("scale.cu"), [*names, "range_merge", "weigh_rows"], {"WARPS": warps})
