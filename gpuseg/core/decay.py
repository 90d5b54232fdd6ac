"""Forward decay by epochs (core): when a record was, as an integer weight that never changes again.

A record at time t weighs ``2**((t - L) / h)`` for a landmark L that is fixed for ever and a half-life h: later records
weigh more, and nothing that was added is ever rebased. The exponent is cut into 64ths of a half-life and into epochs
of 512 of them, so that the weight inside an epoch is one of 512 integers and sums stay exact. ONE_ANSWER section 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt

import numpy as np
import numpy.typing as npt

from gpuseg.errors import RangeError

STEPS = 64
"""Steps of the exponent a half-life."""
EPOCH = 512
"""Steps an epoch."""
EPOCH_BITS = EPOCH // STEPS
"""Half-lives an epoch: a weight of the next epoch counts ``2**EPOCH_BITS`` times as much."""
WEIGHT_BITS = 30
"""The weight of step 0 is ``2**WEIGHT_BITS``; the largest is below ``2**(WEIGHT_BITS + EPOCH_BITS)``."""
SHORTEST = 3_600_000_000
"""Shortest half-life in microseconds: an hour. So 300 years are fewer than ``2**19`` epochs."""
EPOCHS_BELOW = 1 << 19
"""Epochs lie from minus this to this, exclusive."""

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decay:
    """How fast what a customer did loses its weight.

    Parameters
    ----------
    half_life_us : int or None
        Microseconds after which a record counts half; at least an hour. ``None``: it counts for ever.
    landmark_us : int
        The instant L, in microseconds since 1970-01-01 UTC. Records before it are as welcome as those after it; states
        of two landmarks cannot be merged.

    Raises
    ------
    RangeError
        The half-life is shorter than an hour, or one of the two is beyond 2**53.

    Examples
    --------
    >>> day = 86_400_000_000
    >>> step, epoch, weight = Decay(30 * day).of(np.array([0, 30 * day, -1]))
    >>> step.tolist(), epoch.tolist(), weight.tolist()
    ([0, 64, -1], [0, 0, -1], [1073741824, 2147483648, 271916925757])
    """

    half_life_us: int | None = None
    landmark_us: int = 0

    def __post_init__(self) -> None:
        if self.half_life_us is not None and not SHORTEST <= self.half_life_us <= 1 << 53:
            raise RangeError(
                f"half_life_us={self.half_life_us} is not between {SHORTEST} (an hour) and 2**53; "
                "give a longer half-life, or None for no decay"
            )
        if abs(self.landmark_us) > 1 << 53:
            raise RangeError(
                f"landmark_us={self.landmark_us} is beyond 2**53; give an instant near the records"
            )

    def steps(self, time_us: Int64) -> Int64:
        """``q = floor((t - L) * 64 / h)`` for each instant; 0 without decay.

        Parameters
        ----------
        time_us : ndarray of int64
            Microseconds since 1970-01-01 UTC.

        Raises
        ------
        RangeError
            An instant is so far from the landmark that its epoch has no number.
        """
        if self.half_life_us is None:
            return np.zeros(len(time_us), np.int64)
        if not len(time_us):
            return np.zeros(0, np.int64)
        first, last = int(time_us.min()), int(time_us.max())
        for instant in (first, last):
            epoch = (instant - self.landmark_us) * STEPS // self.half_life_us // EPOCH
            if not -EPOCHS_BELOW < epoch < EPOCHS_BELOW or abs(instant - self.landmark_us) >= 1 << 57:
                raise RangeError(
                    f"an instant {instant} us since 1970 is {epoch} epochs from the landmark {self.landmark_us}; fewer "
                    f"than {EPOCHS_BELOW} are possible: lengthen the half-life or choose a nearer landmark"
                )
        return np.asarray((time_us - self.landmark_us) * STEPS // self.half_life_us)

    def of(self, time_us: Int64) -> tuple[Int64, Int64, Int64]:
        """Step q, epoch and weight of each instant.

        Parameters
        ----------
        time_us : ndarray of int64
            Microseconds since 1970-01-01 UTC.

        Raises
        ------
        RangeError
            An instant is too far from the landmark.
        """
        step = self.steps(time_us)
        # numpy's integer division is Python's: it rounds down, so that a time before the landmark is no exception.
        return step, step // EPOCH, weights()[step % EPOCH]


def as_of(sums: Float64, epoch: Int64, last_step: Int64) -> Float64:
    """What sums of an epoch are worth at the customer's last step, before the weight of that step is divided out.

    Parameters
    ----------
    sums : ndarray of float64
        Integer sums of one epoch each, rounded once.
    epoch : ndarray of int64
        Their epochs.
    last_step : ndarray of int64
        The step as of which they count.

    Returns
    -------
    ndarray of float64
        ``ldexp(S_e, 8 (e - e_last) - 30)``: add them, e ascending, and give the sum to :func:`per_record`.
    """
    shift = EPOCH_BITS * (epoch - last_step // EPOCH) - WEIGHT_BITS
    return np.asarray(np.ldexp(sums, shift.astype(np.int32)))


def per_record(total: Float64, last_step: Int64) -> Float64:
    """Sums in units of a record at the last step: ``total * 2**30 / weight(last_step)``.

    Parameters
    ----------
    total : ndarray of float64
        Sums of :func:`as_of`.
    last_step : ndarray of int64
        The same steps.
    """
    return np.asarray(np.ldexp(total, WEIGHT_BITS) / weights()[last_step % EPOCH])


@cache
def weights() -> Int64:
    """The 512 weights ``rint(2**(30 + i/64))``, by exact integers."""
    table = np.array([_weight(step) for step in range(EPOCH)], np.int64)
    table.flags.writeable = False
    return table


def _weight(step: int) -> int:
    """``floor(x + 1/2)`` of ``x = 2**(30 + step/64)``; x is never halfway between two integers."""
    doubled = 1 << (STEPS * (WEIGHT_BITS + 1) + step)  # (2 x)**64
    for _ in range(6):  # six square roots are a 64th root, and rounding down after each is rounding down once
        doubled = isqrt(doubled)
    return (doubled + 1) // 2
