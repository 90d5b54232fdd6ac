"""Tables of distances on a device (room: engines): host side of ``kernels/distance.cu``.

The same float32 values, to the bit, as ``CpuEngine.distances``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.engines.base import METRICS, Block, Metric, require_distances
from gpuseg.engines.device.inputs import upload
from gpuseg.engines.launch import (
    MAX_GRID_Y,
    WARP,
    Device,
    DeviceArray,
    DeviceProps,
    Geometry,
    Module,
    ceil_div,
    kernel_source,
    plan_rows,
)

ROWS = 2
"""Rows a thread (``ROWS`` of pairs.cuh)."""
POINTS = 16
"""Points whose chains a thread carries on at once (``POINTS`` of pairs.cuh)."""
ENOUGH_BLOCKS = 2
"""Blocks a multiprocessor that keep it busy with writing a table."""

_THREADS = (128, 64, 32)


@dataclass(frozen=True)
class Tile:
    """What a block of ``kernels/pairs.cuh`` holds in shared memory.

    Parameters
    ----------
    threads, rows : int
        Threads a block, rows a thread.
    features : int
        Features staged at once.
    columns : int
        Points staged at once.
    """

    threads: int
    rows: int
    features: int
    columns: int

    @property
    def width(self) -> int:
        """Rows of the tile."""
        return self.threads * self.rows

    @property
    def nbytes(self) -> int:
        """Shared bytes."""
        return 4 * self.features * (self.width + self.columns)


def plan_tile(
    d: int,
    props: DeviceProps,
    *,
    rows: int,
    points: int,
    columns: int,
    threads: int | None = None,
    features: int | None = None,
) -> Tile:
    """The widest tile of rows that holds all features; features in parts where even one warp's tile cannot.

    Parameters
    ----------
    d : int
        Features.
    props : DeviceProps
        The device.
    rows, points : int
        ``ROWS`` and ``POINTS`` of the kernel.
    columns : int
        Points to stage at once, a multiple of ``points``, where all features fit; else it is ``points``.
    threads, features : int, optional
        Fixed from outside.

    Returns
    -------
    Tile
        Within the device's shared memory.

    Raises
    ------
    ValueError
        If the fixed sizes do not fit.
    """
    for count in _THREADS if threads is None else (threads,):
        tile = Tile(count, rows, max(d, 1), columns)
        if tile.nbytes <= props.max_shared and (features is None or features >= d):
            return tile
    count = _THREADS[1] if threads is None else threads
    fitting = props.max_shared // Tile(count, rows, 1, points).nbytes
    if count % WARP or fitting < 1:
        msg = f"{count} threads of {rows} rows do not fit {props.max_shared} shared bytes; take fewer whole warps"
        raise ValueError(msg)
    return Tile(count, rows, min(features or fitting, fitting), points)


def plan_pairs(
    n_rows: int, groups: int, tile: Tile, props: DeviceProps, *, enough: int = ENOUGH_BLOCKS
) -> Geometry:
    """Grid over tiles of rows (x) and, where those are too few for the device, over groups of points (y).

    Parameters
    ----------
    n_rows, groups : int
        Rows, and groups of points that can be worked on apart.
    tile : Tile
        A block's share of the rows.
    props : DeviceProps
        The device.
    enough : int, default 2
        Blocks a multiprocessor from which on points are no longer shared out: every share reads the rows again.

    Returns
    -------
    Geometry
        At least one block.
    """
    along = plan_rows(ceil_div(n_rows, tile.rows), props, threads=tile.threads).grid[0]
    wanted = enough * props.multiprocessors // along
    return Geometry((along, max(min(wanted, groups, MAX_GRID_Y), 1), 1), (tile.threads, 1, 1))


def distances(
    device: Device,
    block: Block,
    centres: npt.NDArray[np.float32],
    out: Block,
    *,
    metric: Metric = "euclidean",
) -> None:
    """Distance of every row of a host block to each centre.

    Parameters
    ----------
    device : Device
        Where it is computed; the block is uploaded whole, and so is the table held.
    block : float32 array, shape (d, n)
        Feature-major, C order.
    centres : float32 array, shape (k, d)
        Points.
    out : float32 array, shape (k, n)
        Overwritten with what the CPU engine gives, bit for bit.
    metric : {"euclidean", "sqeuclidean", "manhattan", "cosine"}, default "euclidean"
        See :meth:`gpuseg.engines.base.Engine.distances`.

    Raises
    ------
    ContractError
        For an unknown metric, or shapes or types that do not fit.
    """
    require_distances(block.shape, centres.shape, out.shape, metric)
    x = upload(device, block, np.float32, "block")
    points = upload(device, centres.T, np.float32, "centres")
    out[...] = device.to_host(distances_on_device(device, x, points, metric=metric))


def distances_on_device(
    device: Device,
    x: DeviceArray,
    points: DeviceArray,
    *,
    metric: Metric = "euclidean",
    threads: int | None = None,
    rows: int = ROWS,
    points_at_once: int = POINTS,
    features: int | None = None,
) -> DeviceArray:
    """Distance of every row to each point, all on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    x : DeviceArray of float32, shape (d, n)
        Rows, feature-major.
    points : DeviceArray of float32, shape (d, k)
        Points, feature-major too: another block, or centres transposed.
    metric : {"euclidean", "sqeuclidean", "manhattan", "cosine"}, default "euclidean"
        See :meth:`gpuseg.engines.base.Engine.distances`.
    threads, rows, points_at_once, features : int, optional
        Sizes of the launch (``kernels/pairs.cuh``); they change no bit of the answer. Tests shrink them.

    Returns
    -------
    DeviceArray of float32, shape (k, n)
        The table.

    Notes
    -----
    Beside its arguments the device holds the table, and a copy of the points under "cosine".
    """
    d, n = x.shape
    k = points.shape[1]
    module = _module(device, rows, points_at_once)
    if metric == "cosine":
        points = _unit_vectors(device, module, points)
    tile = plan_tile(
        d, device.props, rows=rows, points=points_at_once, columns=points_at_once, threads=threads, features=features
    )  # fmt: skip
    geometry = plan_pairs(n, ceil_div(k, points_at_once), tile, device.props)
    out = device.empty((k, n), np.float32)
    module[_kernel_of(metric)](
        geometry.grid,
        geometry.block,
        (x, np.int64(n), np.int64(n), points, np.int64(k), np.int64(k), np.int32(d), np.int32(tile.features),
         out, np.int64(n)),
        shared=tile.nbytes,
    )  # fmt: skip
    return out


def _unit_vectors(device: Device, module: Module, points: DeviceArray) -> DeviceArray:
    d, k = points.shape
    units = device.empty((d, k), np.float32)
    geometry = plan_rows(k, device.props, threads=_THREADS[0])
    module["unit_vectors"](
        geometry.grid, geometry.block, (points, np.int64(k), np.int64(k), np.int32(d), units)
    )
    return units


def _kernel_of(metric: Metric) -> str:
    return f"pair_distances<{metric.upper()}>"


def _module(device: Device, rows: int, points: int) -> Module:
    names = [*map(_kernel_of, METRICS), "unit_vectors"]
    return device.module(kernel_source("distance.cu"), names, {"ROWS": rows, "POINTS": points})
