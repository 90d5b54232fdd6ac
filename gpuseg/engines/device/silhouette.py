"""Silhouettes on a device (room: engines): host side of ``kernels/silhouette.cu``.

The same integers and float64 values, to the bit, as the CPU engine's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import Block, LabelArray
from gpuseg.engines.checks import require_shapes
from gpuseg.engines.device.distance import plan_pairs, plan_tile
from gpuseg.engines.device.inputs import upload
from gpuseg.engines.device.label_moments import LABEL_NAMES
from gpuseg.engines.device.moments import BLOCK_SUM_BYTES, merge_partials
from gpuseg.engines.launch import (
    BLOCKS_PER_MULTIPROCESSOR,
    Device,
    DeviceArray,
    Module,
    ceil_div,
    kernel_source,
    require_no_error,
)

ROWS = 4
"""Rows a thread (``ROWS`` of pairs.cuh)."""
POINTS = 8
"""Points whose chains a thread carries on at once (``POINTS`` of pairs.cuh)."""
COLUMNS = 32
"""Others staged at once where all features fit shared memory."""

_LARGEST_EXPONENT = 126
"""A float32 root of a chain is 0 or above 2**-75, and below 2**64. So beyond 2**126 every scale gives 0 or leaves the
range, and below 2**-126 all give 0: held to what float32 holds, the scale changes no sum and no refusal."""


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
    # All arithmetic: as many blocks as a device can hold, so that none waits for the last.
    enough = BLOCKS_PER_MULTIPROCESSOR
    geometry = plan_pairs(n, ceil_div(m, tile.columns), tile, device.props, enough=enough)
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


def square_silhouettes(
    device: Device,
    block: Block,
    labels: Sequence[LabelArray],
    shapes: Sequence[ClusterShape],
    out: Sequence[npt.NDArray[np.float64]] | None = None,
    *,
    labelling: bool = False,
) -> list[WideSum]:
    """Squared-Euclidean silhouette of each row of a host block, for each of several models.

    Parameters
    ----------
    device : Device
        Where it is computed; the block is uploaded whole, once.
    block : float32 array, shape (d, n)
        Feature-major, C order.
    labels : sequence of uint8, uint16 or int32 array, shape (n,)
        Cluster of each row, for each model.
    shapes : sequence of ClusterShape
        The models' clusters.
    out : sequence of float64 array, shape (n,), optional
        Overwritten with what the CPU engine gives, bit for bit.
    labelling : bool, default False
        Whether labels are overwritten with the nearest centre's, not read.

    Returns
    -------
    list of WideSum, shape ()
        Sum of ``rint(s * 2**40)`` of each model.

    Raises
    ------
    ContractError
        If a label is not one of the clusters, a silhouette is not a number, or shapes or types do not fit. Labels and
        results are then as they were.
    """
    n = block.shape[1]
    require_shapes(labels, shapes, out, block.shape, labelling=labelling)
    x = upload(device, block, np.float32, "block")
    values: list[DeviceArray | None] = []
    found, totals = [], []
    for given, shape in zip(labels, shapes, strict=True):
        on_device = (
            device.empty(n, given.dtype) if labelling else upload(device, given, given.dtype, "labels")
        )
        kept, total = square_silhouettes_on_device(
            device, x, on_device,
            upload(device, shape.centres.T, np.float32, "centres"),
            upload(device, shape.spread, np.float64, "spread"), upload(device, shape.counts, np.int64, "counts"),
            labelling=labelling, want_values=out is not None,
        )  # fmt: skip
        found.append(on_device)
        values.append(kept)
        totals.append(total)
    for m, given in enumerate(labels):
        if labelling:
            given[...] = device.to_host(found[m])
        kept = values[m]
        if out is not None and kept is not None:
            out[m][...] = device.to_host(kept)
    return totals


def square_silhouettes_on_device(
    device: Device,
    x: DeviceArray,
    labels: DeviceArray,
    centres: DeviceArray,
    spread: DeviceArray,
    counts: DeviceArray,
    *,
    labelling: bool = False,
    want_values: bool = True,
    threads: int | None = None,
    rows: int = ROWS,
    points: int = POINTS,
    features: int | None = None,
) -> tuple[DeviceArray | None, WideSum]:
    """Squared-Euclidean silhouettes of one model, all on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Rows, feature-major.
    labels : DeviceArray of uint8, uint16 or int32, shape (n,)
        Cluster of each row.
    centres : DeviceArray of float32, shape (d, k)
        Means of the clusters, feature-major.
    spread, counts : DeviceArray of float64 and int64, shape (k,)
        Mean squared distance to the mean, and rows, of each cluster.
    labelling : bool, default False
        Whether labels are overwritten with the nearest centre's, not read.
    want_values : bool, default True
        Whether each row's silhouette is kept.
    threads, rows, points, features : int, optional
        Sizes of the launch (``kernels/silhouette.cu``); they change no bit of the answer. Tests shrink them.

    Returns
    -------
    values : DeviceArray of float64, shape (n,), or None
        Silhouettes, where they are wanted.
    total : WideSum, shape ()
        Sum of ``rint(s * 2**40)``, on the host.

    Raises
    ------
    ContractError
        If a label is not one of the clusters, or a silhouette is not a number.
    """
    d, n = x.shape
    k = centres.shape[1]
    tile = plan_tile(
        d, device.props, rows=rows, points=points, columns=points, threads=threads, features=features
    )
    geometry = plan_pairs(n, 1, tile, device.props)
    blocks = geometry.grid[0]
    values = device.empty(n if want_values else 0, np.float64)
    hi, lo = device.empty((1, blocks), np.int64), device.empty((1, blocks), np.uint64)
    error = device.zeros(1, np.uint32)
    _module(device, rows, points)[f"square_silhouettes<{LABEL_NAMES[labels.dtype]}>"](
        geometry.grid,
        geometry.block,
        (x, np.int64(n), np.int64(n), labels, np.int32(labelling), centres, np.int64(k), np.int64(k), spread, counts,
         np.int32(d), np.int32(tile.features), values, np.int32(want_values), hi, lo, error),
        shared=max(tile.nbytes, BLOCK_SUM_BYTES),
    )  # fmt: skip
    total = merge_partials(device, hi, lo)[0]
    require_no_error(device, error)
    return values if want_values else None, total


def _module(device: Device, rows: int, points: int) -> Module:
    names = ["distance_sums", *(f"square_silhouettes<{name}>" for name in LABEL_NAMES.values())]
    return device.module(kernel_source("silhouette.cu"), names, {"ROWS": rows, "POINTS": points})
