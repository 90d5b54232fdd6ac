"""A screen that never lies (CPU engine): which row's nearest centre a matrix product of BLAS already tells.

Rows x and centres c are moved by a common point m: y = x - m, z = c - m. It is the median of some centres, feature by
feature, so that offsets cost nothing and a centre far off does not move it. The squared distance is
D = |y|^2 + H - 2 y.z with H = |z|^2, and all products y.z of a tile of rows are one call of sgemm. What it gives is no
answer: a row keeps the label found so only if its *chain value* (ONE_ANSWER section 5) is surely the smallest; the
other rows are redone by the chain.

Roundings, with u = 2**-24, N >= |y| and K >= |z|:

- the dot product, for any order of summation, blocking, with fma or without: the sum of d rounded products is off by at
  most d u' sum |y_i z_i| <= d u' N K, u' = u / (1 - d u); twice that, as it enters twice;
- y and z are rounded to float32: u N K each, twice. H is taken in float64 from z unrounded: next to nothing;
- level = float32(H - least), low = fma(product, -2, level), low = fma(-N, reach, low): u (K^2 + 2 N K) each at most;
- underflow, also where BLAS takes subnormal numbers for 0: at most 2**-126 times the other factor for each input, the
  same for each product and each sum, in all 2**-125 (sqrt(d) (N + K) + 2 d).

Together at most E = N reach + least, with reach = 1.01 * 2 (d + 8) u K + 2**-124 sqrt(d) and least = 1.01 * 4 u K^2 +
2**-124 (sqrt(d) K + 2 d + 2); 1.01 pays for second orders while d <= 2**14. What is kept of each centre, ``low``, is a
lower bound of D - |y|^2 then, and low + 2 E an upper one. N comes from a chain of its own, rounded up.

The chain value A of a distance D is off by at most g D + e with g = 1.001 (d + 2) u and e = d 2**-149. So A_1 < A_c is
certain if D_c - D_1 > (2 g D_1 + 2 e) / (1 - g), where D_1 <= |y|^2 + low_1 + 2 E_1. A row is certain if

    second smallest low - low_1  >  2 E_1 + 2 * 1.01 (d + 3) u (N^2 + low_1 + 2 E_1) + d 2**-147.

Nothing is certain where N is above ``LARGEST``, and no screen is made where a K is: no sum can overflow then. NaN is
never certain. The bound holds for BLAS that computes in float32 or wider, as all do unless told otherwise: one that
rounds inputs (TF32, bfloat16, "fast" modes) is found out by :func:`gpuseg.engines.cpu.products.rounds_as_float32`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu.bounds import rounded_up

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

UNIT = 2.0**-24
"""Largest relative error of one float32 operation."""
SECOND_ORDER = 1.01
MOST_FEATURES = 1 << 14
_FEW = 31
"""Centres whose median is the common point: any point will do."""
LARGEST = 2.0**60
"""Longest row and centre, less the common point, that a screen takes."""


@dataclass(frozen=True)
class Screen:
    """Centres of one model as the screen takes them; all arrays are float32.

    Parameters
    ----------
    middle : ndarray, shape (d,)
        What is subtracted from rows and centres.
    moved : ndarray, shape (k, d)
        Centres less ``middle``.
    levels : ndarray, shape (k,)
        Squared lengths of these, less ``least``.
    reach : ndarray, shape (k,)
        Error that grows with the length of a row.
    least : ndarray, shape (k,)
        Error that does not.
    """

    middle: Float32Array
    moved: Float32Array
    levels: Float32Array
    reach: Float32Array
    least: Float32Array

    @property
    def limits(self) -> Float32Array:
        """Numbers for the kernel: stretch and least of a squared length, stretch of a length, share and least of A."""
        return limits(self.middle.size)


def screen_of(centres: Float32Array) -> Screen | None:
    """The screen for centres (k, d); None where its bound does not hold or would be empty.

    Examples
    --------
    >>> screen = screen_of(np.array([[1.0, 0.0], [3.0, 0.0]], np.float32))
    >>> screen.middle, screen.moved[:, 0]
    (array([2., 0.], dtype=float32), array([-1.,  1.], dtype=float32))
    >>> screen_of(np.array([[np.nan]], np.float32)) is None
    True
    """
    k, d = centres.shape
    if not k or not 0 < d <= MOST_FEATURES or not np.isfinite(centres).all():
        return None
    wide = centres.astype(np.float64)
    middle = np.median(wide[:: -(-k // _FEW)], axis=0).astype(np.float32)
    moved = wide - middle
    squared = np.cumsum(moved * moved, axis=1)[:, -1]
    length = np.sqrt(squared) * (1.0 + 2.0**-30)
    if length.max() > LARGEST:
        return None
    tiny = 2.0**-124
    reach = rounded_up(SECOND_ORDER * 2 * (d + 8) * UNIT * length + tiny * np.sqrt(d))
    least = rounded_up(SECOND_ORDER * 4 * UNIT * squared + tiny * (np.sqrt(d) * length + 2 * d + 2))
    levels = (squared - least).astype(np.float32)
    return Screen(middle, np.ascontiguousarray(moved, np.float32), levels, reach, least)


def limits(d: int) -> Float32Array:
    """Numbers of the bound that depend on the features alone, rounded up: see ``Screen.limits``.

    A squared length is summed in float32 from rounded differences, d + 4 roundings; the 16 more pay for those of the
    upper bound of D_1.
    """
    stretch = 1.0 + SECOND_ORDER * (d + 20) * UNIT
    share = SECOND_ORDER * 2 * (d + 3) * UNIT
    return rounded_up(np.array([stretch, d * 2.0**-126, 1.0 + 4 * UNIT, share, d * 2.0**-147]))
