"""Random draws keyed by who a row is: Philox 4x32-10, a counter-based generator (room: core; every room may call it).

A draw is a function of (seed, stage, identity, index) alone. It does not depend on any other row, on the order of
the rows, or on which worker holds them, so neither chunking nor a lost worker can change it. ``kernels/philox.cuh``
computes the same integers on the GPU.

The 64-bit seed is the key; the counter is (identity low, identity high, index, stage), 32 bits each.

References
----------
J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw. Parallel random numbers: as easy as 1, 2, 3. SC 2011.
The known-answer vectors of its library Random123 are tests.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

_UInt64 = npt.NDArray[np.uint64]

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = 0x9E3779B9
_WEYL_1 = 0xBB67AE85
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Stage(IntEnum):
    """What a draw is for: two stages never share a random number. Append only; a value never changes its meaning."""

    SAMPLE = 1
    SEED = 2
    BOOTSTRAP = 3
    SILHOUETTE_SAMPLE = 4
    OVERSAMPLE = 5
    FOLD = 6


def philox4x32(
    counter: tuple[_UInt64, _UInt64, _UInt64, _UInt64], key: tuple[int, int]
) -> tuple[_UInt64, _UInt64, _UInt64, _UInt64]:
    """The ten rounds of Philox 4x32, elementwise.

    Parameters
    ----------
    counter : four uint64 arrays of one shape
        32-bit words, c0 first.
    key : two int
        32-bit words, k0 first.

    Returns
    -------
    four uint64 arrays of the same shape
        32-bit output words, w0 first.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        left = _MULTIPLIER_0 * c0
        right = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (right >> _HALF) ^ c1 ^ np.uint64(k0),
            right & _LOW,
            (left >> _HALF) ^ c3 ^ np.uint64(k1),
            left & _LOW,
        )
        k0 = (k0 + _WEYL_0) & 0xFFFFFFFF
        k1 = (k1 + _WEYL_1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def draw64(seed: int, stage: Stage, identity: npt.ArrayLike, index: int = 0) -> _UInt64:
    """One random 64-bit integer for each row.

    Parameters
    ----------
    seed : int
        0 <= seed < 2^64.
    stage : Stage
        What the draw is for.
    identity : array_like of uint64, any shape
        Who each row is (ONE_ANSWER, section 2).
    index : int, default 0
        Which draw of this row and stage, 0 <= index < 2^32.

    Returns
    -------
    uint64 array of the same shape
        First output word in the low half, second in the high half.

    Raises
    ------
    InputError
        If seed or index is out of range.

    Examples
    --------
    >>> draw64(7, Stage.SAMPLE, np.arange(2, dtype=np.uint64)).tolist() == [
    ...     int(draw64(7, Stage.SAMPLE, np.uint64(row))) for row in (0, 1)
    ... ]
    True
    """
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed={seed} is not in 0 .. 2^64 - 1; reduce it to 64 bits first")
    if not 0 <= index < 1 << 32:
        raise InputError(f"index={index} is not in 0 .. 2^32 - 1; use another stage for further draws")
    who = np.atleast_1d(np.asarray(identity, dtype=np.uint64))
    constant = np.zeros_like(who)
    counter = (who & _LOW, who >> _HALF, constant + np.uint64(index), constant + np.uint64(int(stage)))
    w0, w1, _, _ = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return (w0 | (w1 << _HALF)).reshape(np.shape(identity))


def uniform53(bits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Uniform doubles in [0, 1) from 64 random bits: the upper 53, times 2^-53, exactly.

    Parameters
    ----------
    bits : array_like of uint64, any shape
        As :func:`draw64` returns them.

    Returns
    -------
    float64 array of the same shape

    Examples
    --------
    >>> uniform53(np.array([0, 2**63], dtype=np.uint64)).tolist()
    [0.0, 0.5]
    """
    upper = np.asarray(bits, dtype=np.uint64) >> np.uint64(11)
    return np.asarray(upper.astype(np.float64) * 2.0**-53)
