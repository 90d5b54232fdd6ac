"""Cards by their data sheets, and the work of a case's definition: what a roofline is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """Rates of a card, a second: bytes, clocks of all multiprocessors, float32 and float64 instructions."""

    name: str
    memory: float
    clocks: float
    float32: float
    float64: float


# NVIDIA's data sheets: H100 SXM5 80 GB, A100 SXM4 80 GB; clocks at boost.
CARDS = (
    Card("H100", 3.35e12, 132 * 1.98e9, 33.5e12, 16.75e12),
    Card("A100", 2.039e12, 108 * 1.41e9, 9.75e12, 4.85e12),
)


@dataclass(frozen=True)
class Work:
    """Instructions of a case's definition, by rate."""

    float32: float = 0.0
    float64: float = 0.0
