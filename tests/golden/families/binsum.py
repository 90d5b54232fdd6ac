"""Where float32 values go among the exponent bins, and exact sums as fractions with the float each rounds to."""

from __future__ import annotations

import numpy as np

from gpuseg.core import binsum
from gpuseg.core.binsum import BinSum
from gpuseg.core.philox import Stage, draw64

EDGES = [0.0, 2.0**-149, 2.0**-126, 2.0**-126 - 2.0**-149, 0.1, 1.0, 3.4028234663852886e38]


def make() -> dict[str, object]:
    bits = draw64(0, Stage.SAMPLE, np.arange(120, dtype=np.uint64))
    spread = np.ldexp((bits >> np.uint64(40)).astype(np.float32), np.arange(-149, 91, 2)).astype(np.float32)
    values = np.r_[np.array(EDGES, np.float32), spread]
    index, shifted = binsum.split_float32(values)
    sums = [BinSum.of(values[start::7]) for start in range(7)]
    return {
        "place": [
            f"{x.hex()} {b} {m:x}"
            for x, b, m in zip(values.tolist(), index.tolist(), shifted.tolist(), strict=True)
        ],
        "sum": [f"{total.to_fractions()[0]} {float(total.to_float64()).hex()}" for total in sums],
    }
