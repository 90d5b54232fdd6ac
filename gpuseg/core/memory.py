"""Memory estimates (core): bytes a partition and a fit need, computed before anything is allocated.

Peak = the block + O(n) bytes; never n x k, never n x n. DESIGN section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

_LIMBS = 16
_BOUND = 4
_BLOCK = 8
MOST_GROUPS = 32
"""Groups of centres that a row keeps a bound of, at most: never as many as there are centres."""
_GROUPS_FROM = 1 << 7
_GROUPS_WORK = 1 << 14
_REAL_MASSES = 32
_MAX_UINT8 = 1 << 8
_MAX_UINT16 = 1 << 16


def label_bytes(k: int) -> int:
    """Bytes of one label in the narrowest integer that holds ``k`` clusters."""
    if k <= _MAX_UINT8:
        return 1
    return 2 if k <= _MAX_UINT16 else 4


def sums_bytes(d: int, clusters: Sequence[int], threads: int, *, weighted: bool) -> int:
    """Bytes of the exact sums of all models and threads; real weights take more limbs, and any may be real."""
    masses = _REAL_MASSES if weighted else 1
    return sum(k * (d + masses) * _LIMBS * (threads + 1) for k in clusters)


def group_count(k: int) -> int:
    """Groups that ``k`` centres form: whole blocks of eight each, as few blocks as ``MOST_GROUPS`` allows."""
    blocks = -(-k // _BLOCK)
    return -(-blocks // -(-blocks // MOST_GROUPS))


def bound_bytes(d: int, k: int) -> int:
    """Bytes of the bounds that a row keeps for one model: one number, or one and one a group of centres."""
    return _BOUND * (1 + group_count(k)) if has_groups(d, k) else _BOUND


def has_groups(d: int, k: int) -> bool:
    """Whether the CPU engine bounds groups of centres: where that was measured to be faster than one bound a row.

    Twenty passes over blobs and over overlapping clusters both took 10 % to 27 % less CPU time at (d, k) = (128, 128),
    (64, 256), (32, 512) and (16, 1024), and not at (256, 64), (64, 128), (32, 256) and (16, 256).
    """
    return k >= _GROUPS_FROM and d * k >= _GROUPS_WORK
