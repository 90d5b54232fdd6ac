"""Scale exponents, fixed-point values, and sums past 64 bits with the float each rounds to."""

from __future__ import annotations

import math

import numpy as np

from gpuseg.core import widesum
from gpuseg.core.philox import Stage, draw64
from gpuseg.core.widesum import WideSum

LARGEST = [
    0.0,
    2.0**-1074,
    2.0**-149,
    2.0**-60,
    0.1,
    1.0,
    math.nextafter(2.0, 0.0),
    2.0,
    1e5,
    2.0**50,
    2.0**228,
]
VALUES = [
    0.0,
    2.0**-41,
    2.0**-40,
    3 * 2.0**-41,
    0.1,
    -0.1,
    1 / 3,
    1.0,
    -1.9999998807907104,
    1.9999998807907104,
]


def make() -> dict[str, object]:
    high = draw64(1, Stage.SAMPLE, np.arange(40, dtype=np.uint64)).astype(np.int64) >> np.arange(40)
    low = draw64(2, Stage.SAMPLE, np.arange(40, dtype=np.uint64))
    totals = WideSum(high, low)
    return {
        "exponent": [
            f"{x.hex()} {e}" for x, e in zip(LARGEST, widesum.scale_exponent(LARGEST).tolist(), strict=True)
        ],
        "fixed": [
            f"{x.hex()} {q}" for x, q in zip(VALUES, widesum.to_fixed(VALUES, 39).tolist(), strict=True)
        ],
        "sum": [
            f"{value:x} {rounded.hex()}"
            for value, rounded in zip(totals.to_ints(), totals.to_float64().tolist(), strict=True)
        ],
        "mean": [
            mean.hex() for mean in widesum.mean_float64(totals, np.arange(3, 43), np.arange(-20, 20)).tolist()
        ],
    }
