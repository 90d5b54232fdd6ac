"""Lists of keys as plain Python sees them: encoding, looking up, merging, sorting."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.customers.keyed import encode, look_up, order_of, sum_by, union

INTS = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))
TEXTS = st.text("aä\U0001f600Z", max_size=3)
COLUMNS = st.one_of(st.lists(INTS, max_size=30), st.lists(TEXTS, max_size=30))
PAIRS = st.one_of(
    st.tuples(st.sets(INTS, max_size=20), st.sets(INTS, max_size=20)),
    st.tuples(st.sets(TEXTS, max_size=20), st.sets(TEXTS, max_size=20)),
)


def in_order(values):
    return sorted(values, key=lambda value: value.encode() if isinstance(value, str) else value)


def array(values):
    return pa.array(values, pa.large_string() if any(isinstance(v, str) for v in values) else pa.int64())


@given(COLUMNS)
def test_encoding_numbers_distinct_values_in_order(values):
    keys, row = encode(array(values))
    assert keys.to_pylist() == in_order(set(values))
    assert [keys[r].as_py() for r in row.tolist()] == values
    chunked = pa.chunked_array([array(values)[:3], array(values)[3:]])
    again, same = encode(chunked)
    assert again.equals(keys)
    assert same.tolist() == row.tolist()


@given(PAIRS)
def test_a_union_is_that_of_sets(pair):
    a, b = map(in_order, pair)
    keys, here, there = union(array(a), array(b))
    assert keys.to_pylist() == in_order(set(a) | set(b))
    found = keys.to_pylist()
    assert [found[row] for row in here.tolist()] == a
    assert [found[row] for row in there.tolist()] == b


@given(PAIRS, st.randoms(use_true_random=False))
def test_keys_are_looked_up(pair, random):
    keys, wanted = in_order(pair[0]), random.sample(sorted(pair[1]), len(pair[1]))
    if not keys or not wanted:
        return
    place, known = look_up(array(keys), array(wanted))
    assert known.tolist() == [want in pair[0] for want in wanted]
    assert place.tolist() == [
        len([k for k in keys if in_order([k, want])[0] == k != want]) for want in wanted
    ]


@given(st.lists(INTS, max_size=30))
def test_sorting_is_stable(numbers):
    order = order_of(np.array(numbers, np.int64))
    assert order.tolist() == sorted(range(len(numbers)), key=numbers.__getitem__)


@pytest.mark.parametrize("top", [2**61 - 1, 2**61, 2**62, 2**63 - 1])
def test_numbers_that_just_fit_beside_their_row_and_those_that_do_not(top):
    numbers = np.array([top, 0, top, 0], np.int64)
    assert order_of(numbers).tolist() == [1, 3, 0, 2]
    assert order_of(numbers - 2**62).tolist() == [1, 3, 0, 2]


def test_sums_are_by_key():
    keys, sums = sum_by(np.array([3, -(2**62), 3, 2**62]), np.array([1, 2, 4, 8]))
    assert (keys.tolist(), sums.tolist()) == ([-(2**62), 3, 2**62], [2, 5, 8])
