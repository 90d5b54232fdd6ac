"""Sizes and routes of the assignment pass on a device (room: engines): pure functions, nothing is computed.

They mirror the shared memory of ``kernels/assign.cu``, ``assign_staged.cu`` and ``assign_tiles.cu``. Used by
:mod:`gpuseg.engines.device.assign_launch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpuseg.core.binsum import N_BINS
from gpuseg.core.weights import WeightMode
from gpuseg.engines.device.memo import entries_of
from gpuseg.engines.launch import WARP, DeviceProps, ceil_div

WANT_SUMS, WANT_INERTIA, WANT_DISTANCE = 1, 2, 4

MODEL_BYTES = 48
_LEAST_HALVED = 16  # tiles of centres from here on are halved for few clusters
_LANES_A_COPY = 64  # copies x clusters that keep the lanes of a warp apart
_FEW_CLUSTERS = 16  # up to here 4 centres at a time, so that more threads share out a row's


@dataclass(frozen=True)
class AssignSizes:
    """Sizes of the launches (``kernels/assign*.cu``); they change no bit of an answer. Tests shrink them.

    Parameters
    ----------
    threads : int, default 256
        Threads a block, a power of two.
    values : int, default 64
        Values of x that a thread keeps in registers: the largest d of the route for several models.
    k_tile, wide_k_tile : int, default 4 and 32
        Centres at a time, on the route for several models and, at most, in tiles; powers of 2, at least 4.
    staged_rows : int, default 512
        Rows of a tile in shared memory, at most; 0 leaves the staged route out.
    chunk : int, default 256
        Features of a tile of centres in shared memory, on the route for any d.
    window : int, default 2047
        Rows that 32-bit sums take; at most 2,047, at least ``threads``.
    reach : int, default 2**22
        Rows of a block, whose sums have 64 bits; at most 2**22, at least ``window``.
    blocks : int, default 2
        Blocks a multiprocessor.
    shared : int, optional
        Shared memory in bytes a block may have; the device's limits when None.
    """

    threads: int = 256
    values: int = 64
    k_tile: int = 4
    wide_k_tile: int = 32
    staged_rows: int = 512
    chunk: int = 256
    window: int = 2047
    reach: int = 1 << 22
    blocks: int = 2
    shared: int | None = None

    def rows(self, d: int) -> int:
        """Rows of a thread on the route for several models."""
        return max(1, min(4, self.values // d, self.window // self.threads))

    def wide_tile(self, k: int) -> int:
        """Centres at a time in tiles: each tile costs a read of x, and centres that only fill it up cost arithmetic."""
        tile = self.wide_k_tile
        while tile >= _LEAST_HALVED and tile // 2 >= k:
            tile //= 2
        return tile

    def plain_limit(self, props: DeviceProps) -> int:
        """Shared bytes of a block that leaves room for others."""
        return props.max_shared if self.shared is None else self.shared

    def whole_limit(self, props: DeviceProps) -> int:
        """Shared bytes of a block at most."""
        return props.optin_shared if self.shared is None else self.shared

    def along(self, n_rows: int, tile: int, most: int) -> int:
        """Blocks along ``n_rows`` rows in tiles of ``tile``: ``most``, or more where a block would pass its reach."""
        tiles = max(ceil_div(n_rows, tile), 1)
        return max(min(tiles, most), ceil_div(tiles, max(self.reach // tile, 1)))


SIZES = AssignSizes()


@dataclass(frozen=True)
class Want:
    """What a pass is to give, and in which arithmetic.

    Parameters
    ----------
    mode : WeightMode
        Arithmetic of the weights.
    flags : int
        ``WANT_SUMS``, ``WANT_INERTIA``, ``WANT_DISTANCE``.
    """

    mode: WeightMode
    flags: int

    @property
    def sums(self) -> bool:
        """Whether masses and totals are wanted."""
        return bool(self.flags & WANT_SUMS)

    @property
    def extras(self) -> int:
        """Entries of a model that nothing remembers: rows that moved, bins of the inertia."""
        return 1 + N_BINS if self.flags & WANT_INERTIA else 1

    @property
    def planes(self) -> int:
        """Planes of 64 bits in the partial sums."""
        return 2 if self.mode is WeightMode.INTEGER else 1

    @property
    def wide_bytes(self) -> int:
        """Shared bytes of a sum."""
        return 8 * self.planes

    def entry_bytes(self, copies: int) -> int:
        """Shared bytes of a sum and of what threads add to."""
        return self.wide_bytes + 4 * (2 * self.planes) * copies

    def without_sums(self) -> Want:
        """The same, but no masses and totals."""
        return Want(self.mode, self.flags & ~WANT_SUMS)


def fused_bytes(ks: Sequence[int], d: int, want: Want, tile: int, copies: int = 1) -> int:
    """Shared memory of ``assign_rows``: centres in groups of ``tile``, models, scales, a ledger."""
    groups = sum(ceil_div(k, tile) for k in ks)
    entries = (sum(ks) * entries_of(want.mode, d) if want.sums else 0) + len(ks) * want.extras
    fixed = 4 * groups * d * tile + MODEL_BYTES * len(ks) + scale_bytes(d)
    return fixed + entries * want.entry_bytes(copies)


@dataclass(frozen=True)
class Staged:
    """A launch of ``assign_staged``.

    Parameters
    ----------
    rows : int
        Of a tile in shared memory.
    a_thread : int
        Rows of a thread.
    k_tile : int
        Centres at a time.
    nbytes : int
        Shared memory.
    """

    rows: int
    a_thread: int
    k_tile: int
    nbytes: int


def plan_staged(k: int, d: int, want: Want, sizes: AssignSizes, limit: int) -> Staged | None:
    """The largest tile of rows that leaves a multiprocessor room for two blocks, else that fits at all, else None.

    Parameters
    ----------
    k, d : int
        Clusters and features.
    want : Want
        Without sums more fits.
    sizes : AssignSizes
        Of the launches.
    limit : int
        Shared bytes of a block.
    """
    tile = 4 if k <= _FEW_CLUSTERS else 8
    warps, groups = sizes.threads // WARP, ceil_div(k, tile)
    shares = 1  # so many threads share out the centres of a row; where it were more, some would have none
    while 2 * shares <= min(warps, groups):
        shares *= 2
    plans = [_staged(k, d, want, warps, shares, a_thread=2, tile=tile)]
    while shares <= warps:
        plans.append(_staged(k, d, want, warps, shares, a_thread=1, tile=tile))
        shares *= 2
    for budget in (limit // 2, limit):
        for plan in plans:
            if plan.rows <= min(sizes.staged_rows, sizes.window) and plan.nbytes <= budget:
                return plan
    return None


def _staged(k: int, d: int, want: Want, warps: int, shares: int, *, a_thread: int, tile: int) -> Staged:
    """``Tile``, ledger and centres of assign_staged.cu."""
    rows = WARP * a_thread * warps // shares
    a_row = (4 if want.mode is WeightMode.REAL else 8) + 8 * shares + 8 + 4 * d
    sums = k * entries_of(want.mode, d) * want.wide_bytes if want.sums else 0
    extras = want.extras * want.entry_bytes(1)
    centres = 4 * ceil_div(k, tile) * tile * d
    return Staged(rows, a_thread, tile, centres + sums + extras + 8 * d + a_row * rows + 4 * d)


@dataclass(frozen=True)
class Tiling:
    """Clusters and entries of a tile of ``assign_sums``."""

    k: int
    e: int

    def count(self, k: int, entries: int) -> int:
        """Tiles of ``k`` clusters with ``entries`` each."""
        return ceil_div(k, self.k) * ceil_div(entries, self.e)

    def nbytes(self, want: Want, copies: int) -> int:
        """Shared memory: scales and a ledger."""
        return scale_bytes(self.e) + self.k * self.e * want.entry_bytes(copies)


def plan_tiling(k: int, entries: int, want: Want, limit: int) -> Tiling:
    """As many clusters as fit, for x is read where a label falls into the tile.

    Parameters
    ----------
    k, entries : int
        Clusters, and entries of each.
    want : Want
        Arithmetic of the sums.
    limit : int
        Shared bytes of a block.
    """
    most = max(1, (limit - 16) // (want.entry_bytes(1) + 8))
    clusters = ceil_div(k, ceil_div(k, most))
    some = max(1, min(entries, most // clusters))
    return Tiling(clusters, some if some % 2 else some - 1)


def plan_copies(clusters: int, limit: int, nbytes: Callable[[int], int]) -> int:
    """Copies of the 32-bit sums: as many as keep the lanes of a warp apart, and fit.

    Parameters
    ----------
    clusters : int
        That share a ledger.
    limit : int
        Shared bytes of a block.
    nbytes : callable
        Shared bytes by copies.
    """
    copies = 1
    while 2 * copies <= WARP and 2 * copies * clusters <= _LANES_A_COPY and nbytes(2 * copies) <= limit:
        copies *= 2
    return copies


def scale_bytes(count: int) -> int:
    """Bytes of scales, an even number of them: the sums behind them want 16-byte alignment."""
    return 8 * (count + count % 2)
