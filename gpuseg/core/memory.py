"""Memory estimates (core): bytes a partition and a fit need, computed before anything is allocated.

Peak = the block + O(n) bytes; never n x k, never n x n. DESIGN section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

_LIMBS = 16
BOUND_BYTES = 4
"""Of the bound that a row keeps for a model."""
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
