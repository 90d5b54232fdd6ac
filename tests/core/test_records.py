"""Small records: fingerprints, memory plans and promises."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import fingerprint, memory
from gpuseg.core.promise import CONTRACT, Promise, weakest

arrays = st.sampled_from(["<f4", "<f8", "<i8", "u1", "bool"]).flatmap(
    lambda dtype: st.builds(
        lambda seed, n, d: np.random.default_rng(seed).integers(0, 2, (n, d)).astype(dtype),
        st.integers(0, 2**16),
        st.integers(0, 4),
        st.integers(1, 4),
    )
)


@given(arrays)
def test_an_array_has_one_name_in_any_layout(array):
    name = fingerprint.of_array(array)
    assert len(name) == 32
    assert fingerprint.of_array(np.asfortranarray(array)) == name
    assert fingerprint.of_array(np.repeat(array, 2, axis=0)[::2]) == name
    assert fingerprint.of_array(array.astype(array.dtype.newbyteorder(">"))) == name
    frozen = array.copy()
    frozen.flags.writeable = False
    assert fingerprint.of_array(frozen) == name


@given(arrays, arrays)
def test_two_arrays_have_two_names(a, b):
    equal = a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    assert (fingerprint.of_array(a) == fingerprint.of_array(b)) == equal


def test_names_see_type_shape_and_every_bit():
    x = np.arange(6, dtype=np.float32)
    names = {
        fingerprint.of_array(v)
        for v in (
            x,
            x.reshape(2, 3),
            x.reshape(3, 2),
            x.view(np.int32),
            x.astype(np.float64),
            x[:-1],
            -x + 0,
            x[::-1],
        )
    }
    assert len(names) == 8
    assert fingerprint.of_array(np.array([0.0])) != fingerprint.of_array(np.array([-0.0]))


def test_borders_between_parts_count():
    assert fingerprint.of_bytes(b"ab", b"c") != fingerprint.of_bytes(b"a", b"bc")
    assert fingerprint.of_bytes(b"ab") != fingerprint.of_bytes(b"ab", b"")
    assert fingerprint.of_parts(["ab", "c"]) != fingerprint.of_parts(["c", "ab"])
    length = (2).to_bytes(8, "little")
    assert fingerprint.of_bytes(b"ab") == hashlib.blake2b(length + b"ab", digest_size=16).hexdigest()


def test_records_do_not_care_about_the_order_of_keys():
    assert fingerprint.of_record({"a": 1, "b": [2]}) == fingerprint.of_record({"b": [2], "a": 1})
    assert fingerprint.of_record({"a": 1}) != fingerprint.of_record({"a": 1.0})


@pytest.mark.parametrize(("k", "width"), [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_labels_take_the_narrowest_type(k, width):
    assert memory.label_bytes(k) == width


def test_exact_sums_count_bytes():
    # Weights may turn out to be real, and then a cluster's weight takes 32 bins.
    assert memory.sums_bytes(4, [3, 300], 2, weighted=True) == (3 + 300) * (4 + 32) * 16 * 3
    assert memory.sums_bytes(4, [3], 1, weighted=False) == 3 * (4 + 1) * 16 * 2


def test_a_result_promises_what_its_weakest_stage_does():
    assert weakest([Promise.EXACT, Promise.EXACT]) is Promise.EXACT
    assert weakest([Promise.EXACT, Promise.REPEATABLE]) is Promise.REPEATABLE
    assert weakest([]) is Promise.EXACT
    assert CONTRACT == 1
