"""Hypothesis strategies for exact arithmetic: floats at the edges, tables with ties, weights of each kind, splits."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
from hypothesis import strategies as st

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.widesum import WideSum

LARGEST = 2.0**50

# Values that a fixed-point or float32 routine gets wrong first.
EDGES = [
    0.0,
    -0.0,
    2.0**-149,
    3 * 2.0**-149,
    2.0**-126,
    1.0,
    -1.0,
    1 + 2.0**-23,
    1 - 2.0**-24,
    0.5,
    1.5,
    2.5,
    LARGEST,
]
in_range = st.one_of(
    st.sampled_from([*EDGES, *(-v for v in EDGES)]),
    st.floats(-LARGEST, LARGEST, width=32),
    st.floats(-4.0, 4.0, width=32),
    st.integers(-3, 3).map(float),
)
any_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
non_negative = st.floats(min_value=0.0, width=32, allow_nan=False, allow_infinity=False)

KINDS = ("normal", "ties", "offset", "huge", "subnormal", "mixed", "duplicates", "constant")
WEIGHTS = ("none", "integer", "heavy", "real", "zeros")

int64s = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.integers(-(2**40), 2**40))
# Sums of a few of these stay inside 128 bits, as the ranges of the contract keep every real sum.
wide_ints = st.one_of(
    st.integers(-(2**120), 2**120),
    st.integers(-3, 3),
    st.sampled_from([2**63, 2**63 - 1, -(2**63), 2**64, 2**64 - 1, -(2**64), 1 - 2**64, 2**100, -(2**100)]),
)


def table(kind: str, n: int, d: int, seed: int) -> np.ndarray:
    """float32 rows [n, d] of one kind, C order."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(n, d))
    if kind == "ties":
        values = rng.integers(0, 3, (n, d)).astype(np.float64)
    elif kind == "offset":
        values = 1e5 + normal
    elif kind == "huge":
        values = np.clip(normal, -2, 2) * 2.0**48
    elif kind == "subnormal":
        values = rng.integers(-50, 50, (n, d)) * 2.0**-149
    elif kind == "mixed":
        values = normal * 2.0 ** rng.integers(-40, 40, d)
    elif kind == "duplicates":
        values = normal[rng.integers(0, max(n // 4, 1), n)] if n else normal
    elif kind == "constant":
        values = np.full((n, d), 3.25)
    else:
        values = normal
    return values.astype(np.float32)


def weight_array(kind: str, n: int, seed: int) -> np.ndarray | None:
    """float64 weights of one kind with at least one positive; zeros among them unless n is 1."""
    if kind == "none":
        return None
    rng = np.random.default_rng(seed)
    if kind == "integer":
        values = rng.integers(0, 5, n).astype(np.float64)
    elif kind == "heavy":
        # Around 2**22, where a row bypasses its block, up to the last integer weight.
        values = rng.choice([0, 1, 2**16, 2**22 - 1, 2**22, 2**22 + 1, 2**31 - 1], n).astype(np.float64)
    elif kind == "zeros":
        values = rng.choice([0.0, 0.0, 1.0, 0.25], n)
    else:
        values = rng.gamma(1.0, 2.0, n) * rng.integers(0, 2, n)
    if n:
        values[rng.integers(n)] = 2.5 if kind in {"real", "zeros"} else 3.0
    return values


def centres(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """float32 centres [k, d]: rows (exact hits), repeated rows (ties), and points between rows."""
    rng = np.random.default_rng(seed)
    d = rows.shape[1]
    if not len(rows):
        return rng.normal(size=(k, d)).astype(np.float32)
    a, b = rows[rng.integers(0, len(rows), k)], rows[rng.integers(0, len(rows), k)]
    between = (a.astype(np.float64) + b) / 2
    return np.where(rng.integers(0, 2, k)[:, None] == 1, a, between).astype(np.float32)


tables = st.builds(
    table, st.sampled_from(KINDS), st.integers(1, 70), st.integers(1, 5), st.integers(0, 2**32)
)


@st.composite
def data_sets(draw, max_rows: int = 70):
    """Rows [n, d] with weights (or None) of any kind."""
    n, seed = draw(st.integers(1, max_rows)), draw(st.integers(0, 2**32))
    rows = table(draw(st.sampled_from(KINDS)), n, draw(st.integers(1, 5)), seed)
    return rows, weight_array(draw(st.sampled_from(WEIGHTS)), n, seed + 1)


@st.composite
def parts(draw, n: int):
    """Row indices 0 .. n - 1 in any order, cut into a few parts, some of them empty."""
    order = np.array(draw(st.permutations(range(n))), np.int64)
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return np.split(order, cuts)


def wide_sums(shape: int | tuple[int, ...] = 3):
    """WideSum of a given shape."""
    size = int(np.prod(shape))
    return st.lists(wide_ints, min_size=size, max_size=size).map(lambda v: WideSum.from_ints(v, shape))


def bin_sums(lead: tuple[int, ...] = ()):
    """BinSum of a given leading shape."""
    return wide_sums((*lead, N_BINS)).map(BinSum)


def same(a, b) -> bool:
    """Whether two records are equal to the last bit, arrays by type and value; fields that do not compare left out."""
    if isinstance(a, WideSum):
        return a == b
    if is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.compare
        )
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def obeys_merge_laws(a, b, c, zero) -> bool:
    """Associative, commutative, and zero is neutral."""
    return (
        same(a.merge(b).merge(c), a.merge(b.merge(c)))
        and same(a.merge(b), b.merge(a))
        and same(a.merge(zero), a)
        and same(zero.merge(a), a)
    )
