"""The data set of the families on clustering, made of Philox draws and exact arithmetic: no library can change it."""

from __future__ import annotations

import numpy as np

from gpuseg.core.philox import Stage, draw64, uniform53

N, D = 90, 3


def rows() -> np.ndarray:
    """float32 [90, 3]: three groups, one feature far from zero, one of small numbers, and repeated rows."""
    who = np.arange(N, dtype=np.uint64)
    u = np.stack([uniform53(draw64(5, Stage.SAMPLE, who, index=f)) for f in range(D)], axis=1)
    values = (u + (np.arange(N) % 3)[:, None]) * [1.0, 1000.0, 2.0**-20] + [0.0, 1e5, 0.0]
    values[80:] = values[:10]
    return values.astype(np.float32)


def weights() -> dict[str, np.ndarray | None]:
    """None, integer weights (zeros, and two that bypass their block), real weights (zeros among them)."""
    integer = (np.arange(N) % 4).astype(np.float64)
    integer[[10, 50]] = 2.0**22 + 1, 2.0**31 - 1
    real = uniform53(draw64(6, Stage.SAMPLE, np.arange(N, dtype=np.uint64))) * (np.arange(N) % 5 > 0)
    return {"none": None, "integer": integer, "real": real}
