"""How blocks lie in memory: features apart, every value where a stride says it is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gpuseg.core.blocks import empty_block, flattened, is_feature_major, picked


@pytest.mark.parametrize("d", [1, 3, 12])
@pytest.mark.parametrize("n", [0, 1, 255, 256, 1024, 1 << 12])
def test_features_do_not_lie_a_multiple_of_a_kibibyte_apart(d, n):
    block = empty_block(d, n)
    assert block.shape == (d, n)
    assert block.dtype == np.float32
    assert d == 1 or n == 0 or block.strides[0] % 1024
    assert is_feature_major(block.T)


@pytest.mark.parametrize("n", [1, 255, 256, 1024])
def test_a_block_is_one_array_with_a_stride(n):
    block = empty_block(5, n)
    block[:] = np.arange(5 * n).reshape(5, n)
    flat, stride = flattened(block)
    assert [flat[f * stride + i] for f in range(5) for i in (0, n - 1)] == [
        block[f, i] for f in range(5) for i in (0, n - 1)
    ]
    assert flat.size == 4 * stride + n
    flat[4 * stride + n - 1] = -7
    assert block[4, n - 1] == -7


def test_what_is_no_block_is_copied_and_what_is_read_only_stays_so():
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    assert not is_feature_major(rows)
    flat, stride = flattened(rows.T)
    assert (flat.tolist(), stride) == (rows.T.ravel().tolist(), 8)
    assert not is_feature_major(np.zeros((6, 8), np.float32, order="F")[::2])
    assert not is_feature_major(np.zeros((6, 8), np.float32, order="F")[:, ::-1])
    part = np.zeros((9, 4), np.float32, order="F")[:5]
    assert is_feature_major(part)
    part.flags.writeable = False
    assert not flattened(part.T)[0].flags.writeable


@pytest.mark.parametrize("n", [1 << 16, (1 << 16) + 1])
def test_picking_rows_copies_no_others(n):
    block = empty_block(8, n)
    block[:] = np.arange(8 * n, dtype=np.float32).reshape(8, n)
    rows = np.array([5, 0, n - 1, 5])
    tracemalloc.start()
    try:
        found = picked(block, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < block.nbytes // 8
    assert found.flags.c_contiguous
    assert found.tolist() == block[:, rows].tolist()
