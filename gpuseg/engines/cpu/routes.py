"""Which route a pass takes (CPU engine): the chain for every row, or the screen and the chain for what it leaves open.

Both give the same bits, so the faster one may be found by measuring. Where subtractions and multiply-adds compete for
the same units of a processor a screen should take half the time; where they do not it takes longer; no rule knows.
So the two are timed, once a process for each number of features and centres, on rows of a pass that have to be done
anyway. What that may cost is earned first: passes go by the chain until they have looked at ``EARNED`` times as many
rows as are timed together, so a process loses less than a hundredth, and a single small pass nothing.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS
from gpuseg.engines.cpu import screened
from gpuseg.engines.cpu.adding import COPIES
from gpuseg.engines.cpu.bounds import BoundPlan
from gpuseg.engines.cpu.groups import GroupPlan
from gpuseg.engines.cpu.preparing import WEIGHT_REAL
from gpuseg.engines.cpu.products import multiply, rounds_as_float32
from gpuseg.engines.cpu.screening import Screen, screen_of
from gpuseg.engines.cpu.slack import TILE, is_sampled
from gpuseg.engines.cpu.storing import turn_rows
from gpuseg.engines.cpu.vectors import LANES

logger = logging.getLogger("gpuseg.engines")

Float32Array = npt.NDArray[np.float32]
Setting = Literal["auto", True, False]
Run = Callable[[int, int], None]

MIN_PRODUCTS = 2048
"""Products a row (d k) from which a screen may pay anywhere."""
EARNED = 256
"""Tiles' worth of rows that pass by the chain before a tile's is timed."""
TIMED = (True, False, True, False, True)
"""The screen and the chain in turn; the first only warms up."""
FASTER = 0.97
"""What the screen may take of the chain's time, so that noise alone does not choose it."""
OPEN = 8
"""With more than one row in so many left open the chain for all is faster, whatever the processor."""
_WORK = 1 << 24
"""Products that one call should compute at least: it costs some microseconds beside them."""
_PRODUCTS_BYTES = 1 << 24
"""Most that a thread's products may take: with more than 4,096 centres the chain goes on."""


def tile_rows(d: int, k: int) -> int:
    """Rows whose products are computed in one call."""
    return TILE * max(1, min(4, _WORK // (TILE * d * k)))


class Race:
    """Which of the two routes is faster at one number of features and centres: found once a process.

    Parameters
    ----------
    d, k : int
        Features and centres.
    clock : callable
        Seconds from any start; a test brings its own.
    """

    def __init__(self, d: int, k: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.d, self.k, self.clock = d, k, clock
        self.screen_wins: bool | None = None
        self._rows = self._turn = 0
        self._best = {True: np.inf, False: np.inf}
        self._lock = threading.Lock()
        self._taken = False

    def earn(self, n_rows: int) -> None:
        """Count the rows of one more pass."""
        with self._lock:
            self._rows += n_rows

    @property
    def due(self) -> bool:
        """Whether enough rows have passed, so that timing some costs next to nothing."""
        return self.screen_wins is None and self._rows >= EARNED * tile_rows(self.d, self.k)

    def take(self) -> bool:
        """Whether the thread that asks is to time the routes; one is, the others go by the chain meanwhile."""
        with self._lock:
            mine = self.due and not self._taken
            self._taken = self._taken or mine
            return mine

    def release(self) -> None:
        """Leave what has not been timed yet to whoever comes next."""
        self._taken = False

    def time(self, chain: Run, screen: Run, start: int, stop: int) -> None:
        """Do rows [start, stop) by the route whose turn it is; after the last turn it is known which goes on."""
        by_screen = TIMED[self._turn]
        before = self.clock()
        (screen if by_screen else chain)(start, stop)
        taken = (self.clock() - before) / (stop - start)
        if self._turn:
            self._best[by_screen] = min(self._best[by_screen], taken)
        self._turn += 1
        if self._turn == len(TIMED):
            self._settle()

    def _settle(self) -> None:
        self.screen_wins = bool(self._best[True] < FASTER * self._best[False])
        logger.info(
            "d=%d, k=%d: %.1f ns a row by the chain, %.1f by a screen of products; the %s goes on",
            self.d, self.k, 1e9 * self._best[False], 1e9 * self._best[True],
            "screen" if self.screen_wins else "chain",
        )  # fmt: skip


@functools.cache
def race_of(d: int, k: int) -> Race:
    """The process's race at one number of features and centres."""
    return Race(d, k)


@functools.cache
def _trusted(d: int, k: int) -> bool:
    """Whether this machine's BLAS computes products of this shape in float32."""
    trusted = rounds_as_float32(k, d, tile_rows(d, k))
    if not trusted:
        logger.warning(
            "products of BLAS with %d features and %d centres are not as exact as float32 is, so passes do without "
            "them; switch its reduced-precision mode off to use them",
            d, k,
        )  # fmt: skip
    return trusted


@dataclass(frozen=True)
class Route:
    """How one model's pass may go.

    Parameters
    ----------
    screen : Screen
        Its centres as the screen takes them.
    race : Race or None
        What decides; None: the screen is asked for.
    sampled : bool
        Whether the tiles that tell about bounds go by the chain, which keeps their slack.
    """

    screen: Screen
    race: Race | None = None
    sampled: bool = False

    @classmethod
    def of(
        cls, setting: Setting, plan: BoundPlan | GroupPlan, centres: Float32Array, n_rows: int
    ) -> Route | None:
        """The route of a pass over ``n_rows`` rows; None: the chain, without a question.

        Where bounds are in use few rows are looked at, and where all rows keep their slack it comes from the chain.
        """
        k, d = centres.shape
        if setting is False or plan.use or plan.settled or plan.keep_all or 4 * TILE * k > _PRODUCTS_BYTES:
            return None
        race = None
        if setting == "auto":
            if d * k < MIN_PRODUCTS:
                return None
            race = race_of(d, k)
            race.earn(n_rows)
            if not (race.due or race.screen_wins):
                return None
        screen = screen_of(centres)
        if screen is None or not _trusted(d, k):
            return None
        return cls(screen, race, plan.bounds is not None)

    def over(self, low: int, high: int, chain: Run, rows: ScreenedRows) -> None:
        """Do rows [low, high): ``chain`` and ``rows`` do ranges of them in one way or the other."""
        at = low
        if self.race is not None:
            if self.race.take():
                at = self._time(self.race, low, high, chain, rows)
            if not self.race.screen_wins:
                chain(at, high)
                return
        while at < high:
            stop, by_screen = self._next(at, high)
            if by_screen:
                rows(at, stop)
            else:
                chain(at, stop)
            at = stop
            if self.race is not None and rows.mostly_open:
                chain(at, high)
                return

    def _next(self, at: int, high: int) -> tuple[int, bool]:
        """Where the next tiles end, and whether the screen may do them."""
        if high - at < LANES or (self.sampled and is_sampled(at)):
            return min(at + TILE, high), False
        stop = min(at + tile_rows(self.screen.middle.size, len(self.screen.levels)), high)
        if self.sampled:
            stop = next((low for low in range(at, stop, TILE) if is_sampled(low)), stop)
        return at + (stop - at) // LANES * LANES, True

    def _time(self, race: Race, low: int, high: int, chain: Run, rows: Run) -> int:
        """Time both routes on the first tiles; returns the first row that is still to be done."""
        at = low
        try:
            while at < high and race.screen_wins is None:
                stop, free = self._next(at, high)
                if free:
                    race.time(chain, rows, at, stop)
                else:
                    chain(at, stop)
                at = stop
        finally:
            race.release()
        return at


class ScreenedRows:
    """One thread's rows of one model, by the screen: called with ranges of whole vectors.

    Parameters
    ----------
    screen : Screen
        The centres.
    flat, stride, row_major
        The block, as ``assign_rows`` takes it.
    model, limbs : tuple
        What ``assign_rows`` takes between the rows and the bounds, and after these.
    """

    def __init__(
        self,
        screen: Screen,
        flat: Float32Array,
        stride: int,
        row_major: Float32Array,
        model: tuple[Any, ...],
        limbs: tuple[Any, ...],
    ) -> None:
        self.screen, self.model, self.limbs = screen, model, limbs
        self.flat, self.stride, self.row_major = flat, stride, row_major
        self.moved = self.done = self.redone = 0
        self._room: _Room | None = None

    @property
    def mostly_open(self) -> bool:
        """Whether so many rows had to be redone that the chain for all is faster."""
        return self.redone * OPEN > self.done

    def __call__(self, start: int, stop: int) -> None:
        """Do rows [start, stop)."""
        screen, m = self.screen, stop - start
        if self._room is None:
            self._room = _Room.of(screen, self.model, row_major=not self.flat.size)
        room = self._room
        d = screen.middle.size
        x, stride, lies = self.flat, self.stride, start
        if not x.size:
            x, stride, lies = room.turned, room.apart, 0
            turn_rows(self.row_major, d, start, stop, x, lies, stride)
        screened.shift_tile(
            x, stride, lies, m, screen.middle, d, room.shifted.reshape(-1), room.apart, room.squares
        )
        multiply(screen.moved, room.shifted[:, :m], room.products[:, :m])
        moved, redone = screened.assign_screened(
            x, stride, lies, start, stop, room.products.reshape(-1), room.apart, room.squares, screen.levels,
            screen.reach, screen.least, screen.limits, *self.model, *room.sums, *self.limbs,
        )  # fmt: skip
        self.moved += moved
        self.redone += redone
        self.done += m

    def close(self) -> None:
        """Carry what was added into the limbs; nothing may be done afterwards."""
        if self._room is not None:
            acc, count, bins, _ = self._room.sums
            k, d = self.screen.moved.shape
            screened.close_screened(self._room.mode, acc, count, bins, d, k, *self.limbs)


@dataclass(frozen=True)
class _Room:
    """What a thread needs for one tile of products, and the sums that it has not carried yet."""

    apart: int
    turned: Float32Array
    shifted: Float32Array
    squares: Float32Array
    products: Float32Array
    sums: tuple[Any, ...]
    mode: int

    @classmethod
    def of(cls, screen: Screen, model: tuple[Any, ...], *, row_major: bool) -> _Room:
        k, d = screen.moved.shape
        _, _, _, _, _, _, scale, _, _, mode, *_ = model
        rows = tile_rows(d, k)
        # From one feature to the next: were it a power of two, all features would share few cache lines.
        apart = rows + LANES
        sums = (
            np.zeros(k * scale.size, np.int64),
            np.zeros(k * N_BINS if mode == WEIGHT_REAL else k, np.int64),
            np.zeros(N_BINS * COPIES, np.int64),
            np.zeros(2, np.int64),
        )
        turned = np.empty(d * apart if row_major else 0, np.float32)
        shifted, products = np.empty((d, apart), np.float32), np.empty((k, apart), np.float32)
        return cls(apart, turned, shifted, np.empty(rows, np.float32), products, sums, mode)
