"""Silhouettes on a device (room: engines): host side of ``kernels/silhouette.cu``.

The same integers and float64 values, to the bit, as the CPU engine's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.engines.base import Block
from gpuseg.engines.device_distance import plan_pairs, plan_tile
from gpuseg.engines.launch import (
    Device,
    DeviceArray,
    Module,
    ceil_div,
    kernel_source,
    require_no_error,
)
from gpuseg.errors import ContractError

ROWS = 4
"""Rows a thread (``ROWS`` of pairs.cuh)."""
POINTS = 8
"""Points whose chains a thread carries on at once (``POINTS`` of pairs.cuh)."""
COLUMNS = 32
"""Others staged at once where all features fit shared memory."""

_LARGEST_EXPONENT = 126
"""A float32 root of a chain is 0 or above 2**-75, and below 2**64. So beyond 2**126 every scale gives 0 or leaves the
range, and below 2**-126 all give 0: held to what float32 holds, the scale changes no sum and no refusal."""


def silhouette_sums(
    device: Device,
    rows: Block,
    others: Block,
    other_starts: npt.NDArray[np.int64],
    exponent: int,
    out: npt.NDArray[np.int64],
) -> None:
    """Add to ``out[i, c]`` the distances of row i to the others of cluster c.

    Parameters
    ----------
    device : Device
        Where it is computed; both blocks are uploaded whole, and a table of n by k sums is held.
    rows : float32 array, shape (d, n)
        Feature-major, C order.
    others : float32 array, shape (d, m)
        Ordered by cluster.
    other_starts : int64 array, shape (k + 1,)
        Cluster c is columns ``other_starts[c]`` to ``other_starts[c + 1]`` of ``others``.
    exponent : int
        Each distance counts ``rint(distance * 2**exponent)``.
    out : int64 array, shape (n, k)
        What the CPU engine adds, it adds.

    Raises
    ------
    ContractError
        If a scaled distance reaches 2**51, or the shapes or starts do not fit; ``out`` is then as it was.
    """
    k = other_starts.size - 1
    if rows.shape[0] != others.shape[0] or out.shape != (rows.shape[1], k):
        shapes = f"rows {rows.shape}, others {others.shape}, {k} clusters and out {out.shape}"
        raise ContractError(f"{shapes} do not fit; they are (d, n), (d, m), k and (n, k)")
    bounds = np.concatenate([[0], other_starts, [others.shape[1]]])
    if k < 0 or bool(np.any(np.diff(bounds) < 0)):
        raise ContractError(
            f"the starts of clusters must ascend within 0 .. {others.shape[1]}; order the others by cluster"
        )
    sums = silhouette_sums_on_device(
        device, device.to_device(rows), device.to_device(others), device.to_device(other_starts), exponent
    )
    out += device.to_host(sums).view(np.int64).T


def silhouette_sums_on_device(
    device: Device,
    x: DeviceArray,
    others: DeviceArray,
    starts: DeviceArray,
    exponent: int,
    *,
    threads: int | None = None,
    rows: int = ROWS,
    points: int = POINTS,
    columns: int = COLUMNS,
    features: int | None = None,
) -> DeviceArray:
    """Distance sums by cluster, all on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Rows, feature-major.
    others : DeviceArray of float32, shape (d, m)
        Ordered by cluster.
    starts : DeviceArray of int64, shape (k + 1,)
        Ascending, within 0 .. m: not checked here.
    exponent : int
        Of the scale of distances.
    threads, rows, points, columns, features : int, optional
        Sizes of the launch (``kernels/silhouette.cu``); they change no bit of the answer. Tests shrink them.

    Returns
    -------
    DeviceArray of uint64, shape (k, n)
        Sums in two's complement: int64 by another name.

    Raises
    ------
    ContractError
        If a scaled distance reaches 2**51.

    Notes
    -----
    O(n m d) time. Beside its arguments the device holds the k by n sums: no n by m, and callers bound n. Waits for the
    stream once.
    """
    d, n = x.shape
    m, k = others.shape[1], starts.shape[0] - 1
    tile = plan_tile(
        d, device.props, rows=rows, points=points, columns=columns, threads=threads, features=features
    )
    geometry = plan_pairs(n, ceil_div(m, tile.columns), tile, device.props)
    held = min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
    scale = np.ldexp(np.float32(1.0), held)
    out = device.zeros((k, n), np.uint64)
    error = device.zeros(1, np.uint32)
    _module(device, rows, points)["distance_sums"](
        geometry.grid,
        geometry.block,
        (x, np.int64(n), np.int64(n), others, np.int64(m), np.int64(m), starts, np.int64(k), np.int32(d),
         np.int32(tile.features), np.int32(tile.columns), scale, out, np.int64(n), error),
        shared=tile.nbytes,
    )  # fmt: skip
    require_no_error(device, error)
    return out


def _module(device: Device, rows: int, points: int) -> Module:
    names = ["distance_sums"]
    return device.module(kernel_source("silhouette.cu"), names, {"ROWS": rows, "POINTS": points})
