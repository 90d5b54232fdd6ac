"""Identities against the xxhash library and a plain Python oracle."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import identity
from gpuseg.errors import InputError
from tests.oracle import hashing


@pytest.mark.parametrize("length", [*range(41), 63, 64, 65, 96, 100, 127, 128, 257])
def test_xxh64_of_every_length(length):
    messages = np.random.default_rng(length).integers(0, 256, (3, length), dtype=np.uint8)
    expected = [xxhash.xxh64_intdigest(row.tobytes(), seed=0) for row in messages]
    assert identity.xxh64(messages).tolist() == expected
    assert [hashing.xxh64(row.tobytes()) for row in messages] == expected


@given(st.lists(st.text(), max_size=8))
def test_text_keys(keys):
    found = identity.text_keys(keys)
    assert found.dtype == np.uint64
    assert found.tolist() == [xxhash.xxh64_intdigest(b"\x01" + key.encode(), seed=0) for key in keys]
    assert found.tolist() == [hashing.identity(key) for key in keys]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8))
def test_integer_keys(keys):
    found = identity.integer_keys(np.array(keys, np.int64))
    assert found.dtype == np.uint64
    expected = [
        xxhash.xxh64_intdigest(b"\x00" + key.to_bytes(8, "little", signed=True), seed=0) for key in keys
    ]
    assert found.tolist() == expected == [hashing.identity(key) for key in keys]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64, ">i4", ">i8"])
def test_an_integer_is_one_customer_whatever_its_type(dtype):
    keys = np.array([0, 1, 5, 100], dtype)
    assert identity.integer_keys(keys).tolist() == identity.integer_keys(keys.astype(np.int64)).tolist()
    assert identity.integer_keys(keys[::-1]).tolist() == identity.integer_keys(keys).tolist()[::-1]


def test_one_and_its_text_are_two_customers():
    assert identity.integer_keys(np.array([1])).tolist() != identity.text_keys(["1"]).tolist()


def test_an_unsigned_key_beyond_int64_is_refused():
    assert identity.integer_keys(np.array([2**63 - 1], np.uint64)).size == 1
    with pytest.raises(InputError, match="9223372036854775808 does not fit"):
        identity.integer_keys(np.array([1, 2**63], np.uint64))


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(InputError, match=r"customer id 'a\\ud800' is not valid Unicode text"):
        identity.text_keys(["fine", "a\ud800"])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1))))
def test_canonical_order_goes_by_primary_then_identity(pairs):
    primary = np.array([p for p, _ in pairs], np.uint64)
    who = np.array([i for _, i in pairs], np.uint64)
    order = identity.canonical_order(primary, who)
    assert [pairs[i] for i in order] == sorted(pairs)


def test_row_numbers():
    assert identity.row_numbers(2**40, 3).tolist() == [2**40, 2**40 + 1, 2**40 + 2]
    assert identity.row_numbers(5, 0).tolist() == []
