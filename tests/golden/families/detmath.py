"""log, log1p and exp2: lines of argument and answer, as hexadecimal floats."""

from __future__ import annotations

import math

import numpy as np

from gpuseg.core import detmath
from gpuseg.core.philox import Stage, draw64, uniform53

EDGES = {
    "log": [
        0.0,
        5e-324,
        2.0**-1022,
        math.sqrt(0.5),
        1.0,
        1.0 + 2.0**-52,
        math.sqrt(2.0),
        1.7976931348623157e308,
    ],
    "log1p": [-1.0, -0.5, -5e-324, 0.0, 2.0**-53, math.sqrt(2.0) - 1.0, 1.0, 2.0**53, 1.7976931348623157e308],
    "exp2": [-1075.0, -1074.5, -1022.5, -0.5, 0.0, 2.0**-54, 0.5, 1023.9999999999999, 1024.0],
}


def make() -> dict[str, list[str]]:
    u = uniform53(draw64(0, Stage.SAMPLE, np.arange(200, dtype=np.uint64)))
    spread = {
        "log": np.ldexp(0.5 + u, np.arange(-1000, 1000, 10)),
        "log1p": np.r_[u[:60] - 0.5, np.floor(u[60:] * 10_000)],
        "exp2": np.r_[u[:60] * 2.0 - 1.0, u[60:] * 2_098.0 - 1_074.0],
    }
    return {name: _table(name, np.r_[EDGES[name], spread[name]]) for name in EDGES}


def _table(name: str, arguments: np.ndarray) -> list[str]:
    answers = getattr(detmath, name)(arguments)
    return [f"{x.hex()} {y.hex()}" for x, y in zip(arguments.tolist(), answers.tolist(), strict=True)]
