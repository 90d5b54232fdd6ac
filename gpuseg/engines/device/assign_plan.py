"""Sizes and routes of the assignment pass on a device (room: engines): pure functions, nothing is computed.

They mirror the shared memory of ``kernels/assign.cu``, ``assign_staged.cu`` and ``assign_tiles.cu``. Used by
:mod:`gpuseg.engines.device.assign_launch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gpuseg.core.binsum import N_BINS
from gpuseg.core.weights import WeightMode
from gpuseg.engines.device.memo import entries_of
from gpuseg.engines.launch import WARP, DeviceProps, ceil_div

WANT_SUMS, WANT_INERTIA, WANT_DISTANCE = 1, 2, 4

MODEL_BYTES = 48
_LANES_A_COPY = 64  # copies x clusters that keep the lanes of a warp apart
_LEAST_KEPT = 4  # of sums beside which a multiprocessor has room for one block, this part at least
_FEW_CLUSTERS = 16  # up to here 4 centres at a time, so that more threads share out a row's


@dataclass(frozen=True)
class AssignSizes:
    """Sizes of the launches (``kernels/assign*.cu``); they change no bit of an answer. Tests shrink them.

    Parameters
    ----------
    threads : int, default 256
        Threads a block, a power of two.
    values : int, default 64
        Values of x that a thread keeps in registers: the largest d of that route.
    k_tile : int, default 4
        Centres at a time on that route; a multiple of 4.
    staged_rows : int, default 512
        Rows of a tile in shared memory, at most; at least 32.
    chunk : int, default 64
        Features of centres that come and go in shared memory, and of rows that do.
    window : int, default 2047
        Rows that 32-bit sums take; at most 2,047, at least ``threads``.
    reach : int, default 2**22
        Rows of a block, whose sums have 64 bits; at most 2**22, at least ``window``.
    blocks : int, default 2
        Blocks a multiprocessor.
    shared : int, optional
        Shared memory in bytes a block may have; the device's limits when None, 48 KiB or more.
    """

    threads: int = 256
    values: int = 64
    k_tile: int = 4
    staged_rows: int = 512
    chunk: int = 64
    window: int = 2047
    reach: int = 1 << 22
    blocks: int = 2
    shared: int | None = None

    def rows(self, d: int) -> int:
        """Rows of a thread that keeps them in registers."""
        return max(1, min(4, self.values // d, self.window // self.threads))

    def plain_limit(self, props: DeviceProps) -> int:
        """Shared bytes of a block that leaves room for others."""
        return props.max_shared if self.shared is None else self.shared

    def shared_limit(self, props: DeviceProps) -> int:
        """Shared bytes of a block of two, where that is more."""
        return max(self.plain_limit(props), self.whole_limit(props) // 2)

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

    def entries(self, d: int) -> int:
        """Entries of a cluster that are wanted."""
        return entries_of(self.mode, d) if self.sums else 0

    def entry_bytes(self, copies: int) -> int:
        """Shared bytes of a sum and of what threads add to."""
        return self.wide_bytes + 4 * (2 * self.planes) * copies


def fused_bytes(ks: Sequence[int], d: int, want: Want, tile: int, copies: int = 1) -> int:
    """Shared memory of ``assign_rows``: centres in groups of ``tile``, models, scales, a ledger."""
    groups = sum(ceil_div(k, tile) for k in ks)
    entries = (sum(ks) * fused_entries(want.mode, d) if want.sums else 0) + len(ks) * want.extras
    fixed = 4 * groups * d * tile + MODEL_BYTES * len(ks) + scale_bytes(d)
    return fixed + entries * want.entry_bytes(copies)


def fused_entries(mode: WeightMode, d: int) -> int:
    """Entries of a cluster in the ledger of ``assign_rows``, an odd number."""
    return entries_of(mode, d) | 1


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
    slab : int
        Groups of centres in shared memory: all of them, which stay there, or those of some rounds.
    chunk : int
        Features of these.
    parts : bool
        Whether rows, too, come ``chunk`` features at a time.
    kept : int
        Entries of a cluster that are summed.
    nbytes : int
        Shared memory.
    """

    rows: int
    a_thread: int
    k_tile: int
    slab: int
    chunk: int
    parts: bool
    kept: int
    nbytes: int


def plan_staged(ks: Sequence[int], d: int, want: Want, sizes: AssignSizes, limit: int) -> Staged:
    """All sums if they fit, else as many as fit beside small tiles, if that is a quarter of them, else none.

    Each with the largest tile of rows that leaves a multiprocessor room for two blocks, else that fits at all, and with
    centres that stay if they fit. Where rows fit with a part of their features only, so they come.

    Parameters
    ----------
    ks : sequence of int
        Clusters of each model.
    d : int
        Features.
    want : Want
        Sums or none; their arithmetic.
    sizes : AssignSizes
        Of the launches.
    limit : int
        Shared bytes of a block; the plan of a single model takes more where nothing fits.
    """
    room = _Room(ks, d, want, sizes)
    wanted, halves = want.entries(d), (limit // 2, limit)
    whole = room.first(wanted, halves, stay=True) or room.first(wanted, halves, stay=False)
    if whole is not None:
        return whole
    small = room.first(0, (limit // 4, limit // 2), stay=False)
    if small is not None:
        a_kept = sum(ks) * want.wide_bytes + 8  # an entry of all clusters, and its scale
        kept = (limit - small.nbytes) // a_kept
        if kept * _LEAST_KEPT >= wanted:
            return replace(small, kept=kept, nbytes=small.nbytes + kept * a_kept)
    return room.first(0, halves, stay=True) or room.first(0, halves, stay=False) or room.in_parts(limit)


class _Room:
    """Tiles, ledgers and centres of assign_staged.cu, as they fit shared memory."""

    def __init__(self, ks: Sequence[int], d: int, want: Want, sizes: AssignSizes) -> None:
        self._ks, self._d, self._want, self._sizes = ks, d, want, sizes
        self._tile = 4 if max(ks) <= _FEW_CLUSTERS else 8
        self._warps = sizes.threads // WARP
        # So many threads share out the centres of a row; where it were more, some would have none.
        self._most = 1
        while 2 * self._most <= min(self._warps, ceil_div(max(ks), self._tile)):
            self._most *= 2

    def first(self, kept: int, budgets: Sequence[int], *, stay: bool) -> Staged | None:
        """The largest tile of rows, all their features, in the first of some budgets that one fits."""
        for budget in budgets:
            for a_thread, shares in self._tiles():
                plan = self._plan(kept, a_thread, shares, stay=stay, parts=False)
                if plan.rows <= min(self._sizes.staged_rows, self._sizes.window) and plan.nbytes <= budget:
                    return plan
        return None

    def in_parts(self, limit: int) -> Staged:
        """Labels of rows that fit with a part of their features only: as few slabs of centres as can be."""
        plans = [
            self._plan(0, a_thread, shares, stay=False, parts=self._d > self._sizes.chunk)
            for a_thread, shares in self._tiles()
            if shares >= self._most
        ]
        return next((plan for plan in plans if plan.nbytes <= limit), plans[-1])

    def _tiles(self) -> Iterator[tuple[int, int]]:
        """Rows of a thread, and threads of a row; fewer rows from tile to tile."""
        shares = 1
        while shares <= self._most:
            yield 2, shares
            shares *= 2
        shares = self._most
        while shares <= self._warps:
            yield 1, shares
            shares *= 2

    def _plan(self, kept: int, a_thread: int, shares: int, *, stay: bool, parts: bool) -> Staged:
        d, tile, want = self._d, self._tile, self._want
        rows = WARP * a_thread * self._warps // shares
        groups = sum(ceil_div(k, tile) for k in self._ks)
        chunk = d if stay else min(d, self._sizes.chunk)
        slab = groups if stay else shares * max(1, self._sizes.chunk // d)
        a_row = (4 if want.mode is WeightMode.REAL else 8) + 8 * shares + 8
        nbytes = (
            4 * slab * chunk * tile
            + MODEL_BYTES * len(self._ks)
            + kept * sum(self._ks) * want.wide_bytes
            + len(self._ks) * want.extras * want.entry_bytes(1)
            + 8 * min(kept, d)
            + a_row * rows
            + 4 * (chunk if parts else d) * (rows + 1)
        )
        return Staged(rows, a_thread, tile, slab, chunk, parts, kept, nbytes)


@dataclass(frozen=True)
class Tiling:
    """Clusters and entries of a tile of ``assign_sums``; an odd number, so that clusters start in different banks."""

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
        Clusters of all models, and entries of each.
    want : Want
        Arithmetic of the sums.
    limit : int
        Shared bytes of a block.
    """
    most = max(1, (limit - 16) // (want.entry_bytes(1) + 8))
    clusters = ceil_div(k, ceil_div(k, most))
    some = max(1, min(entries | 1, most // clusters))
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
