"""Moments of each cluster's rows on a device (room: engines): host side of ``kernels/label_moments.cu``.

The same records, to the bit, as ``CpuEngine.label_moments``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpuseg.core.moments import Moments, Scales
from gpuseg.engines.base import Block, LabelArray
from gpuseg.engines.checks import LABEL_TYPES, require_labelled
from gpuseg.engines.device.inputs import upload
from gpuseg.engines.device.moments import merge_partials
from gpuseg.engines.launch import (
    Device,
    DeviceArray,
    DeviceProps,
    Geometry,
    Module,
    ceil_div,
    kernel_source,
    plan_rows,
    require_no_error,
)

CLOSE_ROWS = 1 << 16
"""Rows that one thread may take."""
LABEL_NAMES = dict(zip(LABEL_TYPES, ("unsigned char", "unsigned short", "int"), strict=True))
"""What kernels call the types of labels."""

_COLUMN_BYTES = 24  # a thread's sum and its square's two parts
_PARTIAL_BYTES = 64  # of a sum and a sum of squares, written and read again
_ROWS_OVER_PARTIALS = (
    20  # bytes of rows that a block reads for one of partials: with more blocks these would count
)


def label_moments(
    device: Device, block: Block, labels: Sequence[LabelArray], ks: Sequence[int], scales: Scales
) -> list[list[Moments]]:
    """Exact moments of each cluster's rows, for each of several models.

    Parameters
    ----------
    device : Device
        Where it is computed; block and labels are uploaded whole, once.
    block : float32 array, shape (d, n)
        Feature-major, C order.
    labels : sequence of uint8, uint16 or int32 array, shape (n,)
        Cluster of each row, for each model; a row of none of its clusters belongs nowhere.
    ks : sequence of int
        Clusters of each model.
    scales : Scales
        Fixed-point exponents of the whole data set; rows count once, whatever weights they were made for.

    Returns
    -------
    list of list of Moments
        For each model one a cluster, equal, limb for limb, to the CPU engine's.

    Raises
    ------
    ContractError
        If a value does not fit its scale, the scales are those of real weights, or labels do not fit.
    """
    require_labelled(labels, ks, scales.mode, block.shape[1])
    x = upload(device, block, np.float32, "block")
    return [
        label_moments_on_device(device, x, upload(device, given, given.dtype, "labels"), k, scales)
        for given, k in zip(labels, ks, strict=True)
    ]


def label_moments_on_device(
    device: Device,
    x: DeviceArray,
    labels: DeviceArray,
    k: int,
    scales: Scales,
    *,
    threads: int = 64,
    shared_bytes: int | None = None,
    close_rows: int = CLOSE_ROWS,
) -> list[Moments]:
    """Moments of each cluster's rows, of a block that is on the device already.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Feature-major.
    labels : DeviceArray of uint8, uint16 or int32, shape (n,)
        Cluster of each row.
    k : int
        Clusters.
    scales : Scales
        Fixed-point exponents.
    threads, shared_bytes, close_rows : int, optional
        Sizes of the launch (``kernels/label_moments.cu``): shared memory decides how many clusters and features go into
        one read. They change no bit of the answer. Tests shrink them.

    Returns
    -------
    list of Moments
        One a cluster.

    Raises
    ------
    ContractError
        If a value does not fit its scale.

    Notes
    -----
    Beside its arguments the device holds 32 bytes a cluster, feature and block along the rows. Up to 32 clusters go
    into one read of the block.
    """
    d, n = x.shape
    if k < 1:
        return []
    tiles = plan_label_tiles(
        n, d, k, device.props, threads=threads, shared_bytes=shared_bytes, close_rows=close_rows
    )
    blocks = tiles.geometry.grid[0]
    hi, lo = (
        device.empty((2 * k * (d + 1), blocks), np.int64),
        device.empty((2 * k * (d + 1), blocks), np.uint64),
    )
    error = device.zeros(1, np.uint32)
    scale = device.to_device(np.ldexp(np.ones(d), scales.exponent.astype(np.int32)))
    _module(device)[f"label_sums<{LABEL_NAMES[labels.dtype]}>"](
        tiles.geometry.grid,
        tiles.geometry.block,
        (x, np.int64(n), np.int64(n), labels, np.int64(k), np.int32(d), np.int32(tiles.clusters), np.int32(tiles.group),
         scale, hi, lo, error),
        shared=tiles.nbytes,
    )  # fmt: skip
    both = merge_partials(device, hi, lo).reshape(2, k, d + 1)
    total, square = both[0], both[1]
    require_no_error(device, error)
    return [
        Moments(total[c, d], total[c, :d], square[c, :d], scales.exponent, scales.square_exponent)
        for c in range(k)
    ]


@dataclass(frozen=True)
class LabelTiles:
    """How ``label_sums`` is launched.

    Parameters
    ----------
    geometry : Geometry
        Blocks and threads.
    clusters, group : int
        Clusters and features of a tile.
    """

    geometry: Geometry
    clusters: int
    group: int

    @property
    def nbytes(self) -> int:
        """Shared bytes."""
        return _COLUMN_BYTES * self.geometry.threads * self.clusters * self.group


def plan_label_tiles(
    n_rows: int,
    d: int,
    k: int,
    props: DeviceProps,
    *,
    threads: int,
    shared_bytes: int | None,
    close_rows: int,
) -> LabelTiles:
    """Tiles of clusters and features that fit shared memory, clusters first: more of them would be read again.

    Parameters
    ----------
    n_rows, d, k : int
        Rows, features, clusters.
    props : DeviceProps
        The device.
    threads : int
        Threads a block: whole warps.
    shared_bytes : int, optional
        Shared memory to use; default all.
    close_rows : int
        Rows that a thread may take.

    Returns
    -------
    LabelTiles
        With no more blocks along the rows than fill the device together with those of the tiles, or than their partials
        are worth beside the rows, unless a thread would take too many rows.
    """
    budget = props.max_shared if shared_bytes is None else shared_bytes
    room = max(budget // (_COLUMN_BYTES * threads), 1)
    clusters = ceil_div(k, ceil_div(k, room))
    group = min(d + 1, max(room // clusters, 1))
    tiles = ceil_div(k, clusters) * ceil_div(d + 1, group)
    plan = plan_rows(n_rows, props, threads=threads, tiles=tiles)
    along, across, _ = plan.grid
    few = n_rows * (4 * d + 1) // (_ROWS_OVER_PARTIALS * _PARTIAL_BYTES * k * (d + 1))
    along = max(min(ceil_div(along, across), few), ceil_div(n_rows, threads * close_rows), 1)
    return LabelTiles(Geometry((along, across, 1), plan.block), clusters, group)


def _module(device: Device) -> Module:
    return device.module(
        kernel_source("label_moments.cu"), [f"label_sums<{name}>" for name in LABEL_NAMES.values()]
    )
