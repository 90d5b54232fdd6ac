"""Shares with intervals and comparisons of two shares (room ``insight``; outcomes and, later, experiments call it).

Intervals use + - x / and sqrt only: the same bits everywhere. p-values go through scipy: repeatable, not promised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

Z_95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""
SMALLEST_EXPECTED = 5.0
"""Below this expected count in a cell the normal approximation is not used (Cochran's rule)."""


@dataclass(frozen=True)
class Rate:
    """A share of customers.

    Parameters
    ----------
    hits, base : int
        Customers who had the outcome, of how many.
    """

    hits: int
    base: int

    @property
    def value(self) -> float:
        """The share; NaN of nobody."""
        return self.hits / self.base if self.base else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (1927); of nobody it is everything, (0, 1)."""
        return wilson(self.hits, self.base)

    def without(self, part: Rate) -> Rate:
        """The share among the others."""
        return Rate(self.hits - part.hits, self.base - part.base)


def wilson(hits: int, base: int) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 %.

    Parameters
    ----------
    hits, base : int
        0 <= hits <= base.

    Returns
    -------
    (low, high) : tuple of float
        Within [0, 1].

    References
    ----------
    E. B. Wilson. Probable inference, the law of succession, and statistical inference. JASA 22 (1927).
    """
    if not base:
        return 0.0, 1.0
    p, square = hits / base, Z_95 * Z_95 / base
    middle = p + square / 2.0
    half = Z_95 * math.sqrt(p * (1.0 - p) / base + square / (4.0 * base))
    low, high = (middle - half) / (1.0 + square), (middle + half) / (1.0 + square)
    return (0.0 if hits == 0 else max(0.0, low)), (1.0 if hits == base else min(1.0, high))


def difference_interval(first: Rate, second: Rate) -> tuple[float, float]:
    """95 % interval of first - second from the Wilson intervals of both (Newcombe 1998, method 10)."""
    p, q = first.value, second.value
    (p_low, p_high), (q_low, q_high) = first.interval, second.interval
    below = math.sqrt((p - p_low) * (p - p_low) + (q_high - q) * (q_high - q))
    above = math.sqrt((p_high - p) * (p_high - p) + (q - q_low) * (q - q_low))
    return p - q - below, p - q + above


def two_proportions(first: Rate, second: Rate) -> tuple[float, str]:
    """Two-sided test that two shares are the same.

    Returns
    -------
    p, test : float and str
        "two proportions" (pooled normal approximation, no continuity correction), or "Fisher's exact" where an
        expected count lies below 5.
    """
    from scipy.special import ndtr
    from scipy.stats import fisher_exact

    hits, base = first.hits + second.hits, first.base + second.base
    if hits in {0, base}:
        return 1.0, "two proportions"
    smallest = min(first.base, second.base) * min(hits, base - hits) / base
    if smallest < SMALLEST_EXPECTED:
        table = [[first.hits, first.base - first.hits], [second.hits, second.base - second.hits]]
        return float(fisher_exact(table)[1]), "Fisher's exact"
    pooled = hits / base
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / first.base + 1.0 / second.base))
    return float(2.0 * ndtr(-abs(first.value - second.value) / error)), "two proportions"


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: the share of false findings to expect if all up to this one are taken.

    References
    ----------
    Y. Benjamini, Y. Hochberg. Controlling the false discovery rate. JRSS B 57 (1995).
    """
    order = sorted(range(len(p)), key=lambda i: p[i], reverse=True)
    found, lowest = [1.0] * len(p), 1.0
    for rank, i in zip(range(len(p), 0, -1), order, strict=True):
        lowest = min(lowest, p[i] * len(p) / rank)
        found[i] = lowest
    return found


def sample_size(first: float, second: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Customers in each of two groups that tell two shares apart (Fleiss 1981, two-sided).

    Parameters
    ----------
    first, second : float
        The shares, different.
    alpha, power : float
        Error of the first kind, and the chance to see the difference if it is there.
    """
    from scipy.special import ndtri

    mean = (first + second) / 2.0
    spread = float(ndtri(1.0 - alpha / 2.0)) * math.sqrt(2.0 * mean * (1.0 - mean)) + float(
        ndtri(power)
    ) * math.sqrt(first * (1.0 - first) + second * (1.0 - second))
    return math.ceil(spread * spread / ((first - second) * (first - second)))


def detectable_difference(baseline: float, per_arm: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference above a baseline that two groups of a size would show.

    Parameters
    ----------
    baseline : float
        Share in the control.
    per_arm : int
        Customers in each group.
    alpha, power : float
        As for :func:`sample_size`.

    Returns
    -------
    float
        To 2**-20; up to 1 - baseline, also where not even that would show.
    """
    low, high = 0.0, 1.0 - baseline
    for _ in range(20):
        middle = (low + high) / 2.0
        enough = (
            bool(middle) and sample_size(baseline + middle, baseline, alpha=alpha, power=power) <= per_arm
        )
        low, high = (low, middle) if enough else (middle, high)
    return high


def require_varied(whole: Rate) -> None:
    """Refuse an outcome that separates nothing.

    Raises
    ------
    InputError
        Nobody was contacted, or nobody or everybody of those contacted has the outcome.
    """
    if not whole.base:
        raise InputError(
            "no customer was contacted, so there is no rate; choose another window or other contacts"
        )
    if whole.hits in {0, whole.base}:
        who = "nobody" if not whole.hits else "everybody"
        raise InputError(
            f"{who} of the {whole.base:,} customers contacted had the outcome, so it separates nothing; choose another"
        )


def truths(values: npt.ArrayLike, name: str, n: int) -> npt.NDArray[np.bool_]:
    """One truth a customer, from bools or 0 and 1.

    Raises
    ------
    InputError
        Another length, or other values.
    """
    flags = np.asarray(values)
    if flags.shape != (n,):
        raise InputError(f"{name} has shape {flags.shape} for {n} customers; give one value a customer")
    if flags.dtype.kind not in "biu" or (
        flags.dtype.kind != "b" and bool(((flags != 0) & (flags != 1)).any())
    ):
        raise InputError(f"{name} is {flags.dtype} and not true or false; give one truth a customer")
    return flags.astype(np.bool_)
