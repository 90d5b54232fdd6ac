"""What a line counts for (room ``personality``): two states merge if they were made by one rule."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

from gpuseg.core.decay import Decay
from gpuseg.errors import InputError
from gpuseg.personality.category_map import CategoryMap

REFUNDS = ("ignore", "subtract")
"""What a line with a negative amount does."""


@dataclass(frozen=True)
class SpendRule:
    """What lines count for: states of one rule merge.

    Parameters
    ----------
    categories : CategoryMap
        What the values of the category column mean.
    decay : Decay
        How fast lines lose their weight.
    refunds : {"ignore", "subtract"}
        "ignore": a line with an amount of 0 or less is no evidence. "subtract": one with a negative amount takes one
        transaction and its money off its category, an amount of 0 is no evidence.
    minor_units : int
        Decimals of the currency.

    Raises
    ------
    InputError
        ``refunds`` is neither.
    """

    categories: CategoryMap
    decay: Decay = field(default_factory=Decay)
    refunds: str = "ignore"
    minor_units: int = 2

    def __post_init__(self) -> None:
        if self.refunds not in REFUNDS:
            raise InputError(f"refunds={self.refunds!r} is no policy; give one of {', '.join(REFUNDS)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what a line counts for."""
        stated = [
            self.categories.digest,
            self.decay.half_life_us,
            self.decay.landmark_us,
            self.refunds,
            self.minor_units,
        ]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()
