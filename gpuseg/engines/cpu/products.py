"""Matrix products of BLAS for the screen (CPU engine): never part of an answer, one thread each.

The engine's own threads multiply, each its rows; were BLAS to start threads of its own in each, they would fight for
the same cores. How many threads BLAS has is a property of the process, so passes that overlap share one limit, and the
last of them puts back what was there.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import threadpoolctl

from gpuseg.engines.cpu.screening import SECOND_ORDER, UNIT

Float32Array = npt.NDArray[np.float32]

_CHECKED = 4
"""Rows whose products are compared with exact ones."""


class _Limit:
    """How many passes multiply now, and how many threads BLAS had before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before: Any = None


_limit = _Limit()


def _forget() -> None:
    """After a fork no pass of the parent runs here."""
    global _limit  # noqa: PLW0603 (one BLAS a process is module state by nature)
    _limit = _Limit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@functools.cache
def _libraries() -> Any:
    """BLAS libraries of this process; looking for them takes half a millisecond."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """While it lasts, BLAS computes each product in the thread that asks for it."""
    limit = _limit
    with limit.lock:
        if limit.users == 0:
            limit.before = _libraries().limit(limits=1)
        limit.users += 1
    try:
        yield
    finally:
        with limit.lock:
            limit.users -= 1
            if limit.users == 0:
                limit.before.restore_original_limits()


def multiply(centres: Float32Array, rows: Float32Array, out: Float32Array) -> None:
    """``out[c, j]``: product of centre c (k, d) with row j of a feature-major tile (d, m), summed in any order.

    Rows of weight 0 may hold anything; what becomes of NaN and infinity is never certain, so nobody is warned.
    """
    with np.errstate(all="ignore"):
        np.matmul(centres, rows, out=out)


def rounds_as_float32(k: int, d: int, m: int) -> bool:
    """Whether products of this shape are as near to the exact ones as float32 gives, with every bit of the inputs.

    BLAS that rounds inputs to fewer bits (TF32, bfloat16) does so for all values alike. Every other centre has one
    feature that is not 0: what is lost of a single product shows, however many the features are.
    """
    centres, rows = _full_mantissas(k, d), _full_mantissas(d, m)
    centres[::2] *= np.arange(d) == np.arange(0, k, 2)[:, None] % d
    found = np.empty((k, m), np.float32)
    multiply(centres, rows, found)
    few = slice(None, None, -(-m // _CHECKED))
    exact, size = np.zeros_like(found[:, few], np.float64), np.zeros_like(found[:, few], np.float64)
    for f in range(d):
        term = centres[:, f, None].astype(np.float64) * rows[f, few]
        exact += term
        size += np.abs(term)
    roundings = np.count_nonzero(centres, axis=1)[:, None]
    return bool((np.abs(found[:, few] - exact) <= SECOND_ORDER * UNIT * roundings * size).all())


def _full_mantissas(rows: int, columns: int) -> Float32Array:
    """Values between 1 and 2, and their negatives, that need all bits of a float32: the last one is always set."""
    drawn = np.arange(1, rows * columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (drawn >> np.uint64(41)).astype(np.uint32) | np.uint32(0x3F800001)
    sign = (drawn >> np.uint64(40)).astype(np.uint32) << np.uint32(31)
    return (bits | sign).view(np.float32).reshape(rows, columns)
