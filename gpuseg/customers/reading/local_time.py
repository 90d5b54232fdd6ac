"""Instants and local calendars (room ``customers``, called by the reader): offsets, local days, wall clocks.

Offsets come from the time zone database of Python's :mod:`zoneinfo`; the arithmetic is in int64 microseconds, so that
a record falls on the same day on every machine with the same database.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

MICROS = 1_000_000
DAY_MICROS = 86_400 * MICROS
FIRST_INSTANT = -2_208_988_800 * MICROS
"""1900-01-01 UTC: earlier times are taken for errors of entry."""
LAST_INSTANT = 7_258_118_400 * MICROS
"""2200-01-01 UTC: times from here on are taken for errors of entry."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = 6 * 3600  # seconds between probes: no zone changed its offset twice within six hours
_FIXED = re.compile(r"([+-])(\d{2}):?(\d{2})")


def check_zone(name: str) -> str:
    """The name itself, if it is a known time zone or a fixed offset such as ``+02:00``.

    Raises
    ------
    InputError
        The name is unknown; the message has the nearest known one.
    """
    try:
        _zone(name)
    except (KeyError, ValueError, OSError, TypeError):
        close = difflib.get_close_matches(str(name), sorted(available_timezones()), n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "; use a name such as 'Europe/Paris' or 'UTC'"
        raise InputError(f"time_zone={name!r} is not a known time zone{hint}") from None
    return name


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    fixed = _FIXED.fullmatch(name)
    if fixed:
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        return timezone(timedelta(minutes=-minutes if fixed[1] == "-" else minutes))
    return ZoneInfo(name)


def utc_to_local(instants: Int64, zone: str) -> Int64:
    """Wall-clock microseconds of UTC instants.

    Parameters
    ----------
    instants : ndarray of int64
        Microseconds since 1970-01-01 UTC, between :data:`FIRST_INSTANT` and :data:`LAST_INSTANT`.
    zone : str
        Name of the time zone.

    Returns
    -------
    ndarray of int64
        Microseconds since 1970-01-01 00:00 as the local clock shows them.
    """
    if zone == "UTC" or not len(instants):
        return instants
    changes, offsets = _offsets(zone, int(instants.min()), int(instants.max()))
    return instants + offsets[np.searchsorted(changes, instants, side="right")]


def local_to_utc(walls: Int64, zone: str) -> tuple[Int64, int]:
    """UTC instants of wall-clock times, and how many of them the clock showed twice or never.

    A time that the clock showed twice (in autumn) is taken as the earlier instant, one that it never showed (in
    spring) as if the clock had not been put forward: the rule of PEP 495 with ``fold=0``.
    """
    if zone == "UTC" or not len(walls):
        return walls, 0
    changes, offsets = _offsets(zone, int(walls.min()) - DAY_MICROS, int(walls.max()) + DAY_MICROS)
    before, after = offsets[:-1], offsets[1:]
    starts = changes + np.minimum(before, after)
    stops = changes + np.maximum(before, after)
    instants = walls - offsets[np.searchsorted(stops, walls, side="right")]
    inside = np.searchsorted(starts, walls, side="right") - np.searchsorted(stops, walls, side="right")
    return instants, int(np.count_nonzero(inside))


def local_days(instants: Int64, zone: str) -> Int32:
    """Local calendar days, counted from 1970-01-01, of UTC instants."""
    return (utc_to_local(instants, zone) // DAY_MICROS).astype(np.int32)


def _offsets(zone: str, first: int, last: int) -> tuple[Int64, Int64]:
    """Instants at which the offset changes, and the offsets before, between and after them (microseconds)."""
    first_year = (_EPOCH + timedelta(microseconds=first)).year
    last_year = (_EPOCH + timedelta(microseconds=last)).year
    return _offsets_of_years(zone, first_year, last_year)


@lru_cache(maxsize=64)
def _offsets_of_years(zone: str, first_year: int, last_year: int) -> tuple[Int64, Int64]:
    known = _zone(zone)

    def offset(second: int) -> int:
        moment = (_EPOCH + timedelta(seconds=second)).astimezone(known).utcoffset()
        assert moment is not None
        return moment // timedelta(microseconds=1)

    start = int((datetime(first_year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) - 2 * 86_400
    stop = int((datetime(last_year + 1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) + 2 * 86_400
    changes: list[int] = []
    offsets = [offset(start)]
    for low in range(start, stop, _STEP):
        if offset(low + _STEP) == offsets[-1]:
            continue
        before, after = low, low + _STEP
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(middle) == offsets[-1] else (before, middle)
        changes.append(after * MICROS)
        offsets.append(offset(low + _STEP))
    return np.array(changes, np.int64), np.array(offsets, np.int64)
