"""What a result promises (core): the same bits everywhere, or the same bits on one platform.

Each stage of a run carries its mark into the manifest; a result that builds on a repeatable stage is repeatable.
ONE_ANSWER section 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

CONTRACT = 1
"""Version of the arithmetic contract; stored with every model, raised when an answer changes."""


class Promise(StrEnum):
    """How far "one answer" reaches for a stage."""

    EXACT = "exact"
    """Same bits for any chunking, threads, workers and engine."""
    REPEATABLE = "repeatable"
    """Same bits on one platform with the same versions: another library's floating point is in the path."""


def weakest(promises: Iterable[Promise]) -> Promise:
    """The promise of a result that builds on all of these stages."""
    return Promise.REPEATABLE if Promise.REPEATABLE in set(promises) else Promise.EXACT
