"""The record of evidence: entries, tables and slices say the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.errors import InputError
from gpuseg.personality.evidence import Evidence

KEYS = pa.array([3, 5, 9])
COUNTS = np.array([[0.0, 2.0, 0.5], [0.0, 0.0, 0.0], [1.0, 0.0, 4.0]])
NAMES = ("airlines", "pets_vet", "stationery")


def test_entries_are_those_that_count():
    evidence = Evidence.from_dense(KEYS, NAMES, COUNTS, COUNTS * 10, [4, 1, 5], [30.0, 2.0, 50.0])
    assert evidence.starts.tolist() == [0, 2, 2, 4]
    assert evidence.category.tolist() == [1, 2, 0, 2]
    assert evidence.count.tolist() == [2.0, 0.5, 1.0, 4.0]
    assert evidence.rows().tolist() == [0, 0, 2, 2]
    assert np.array_equal(evidence.dense_counts(), COUNTS)
    assert np.array_equal(evidence.dense_spend(), COUNTS * 10)
    assert (evidence.records.tolist(), evidence.total_spend.tolist()) == ([4, 1, 5], [30.0, 2.0, 50.0])


@given(st.integers(-4, 4), st.integers(-4, 4))
def test_a_slice_is_the_evidence_of_those_customers(start, stop):
    whole = Evidence.from_dense(KEYS, NAMES, COUNTS)
    part = whole.slice(start, stop)
    rows = range(3)[start:stop]
    assert part == Evidence.from_dense(KEYS.take(pa.array(rows, pa.int64())), NAMES, COUNTS[list(rows)])
    assert part.n_customers == len(rows)


def test_evidence_differs_by_what_it_holds():
    whole = Evidence.from_dense(KEYS, NAMES, COUNTS)
    assert whole != Evidence.from_dense(KEYS, NAMES, COUNTS * 2)
    assert whole != Evidence.from_dense(KEYS, ("a", "b", "c"), COUNTS)
    assert whole != 3
    with pytest.raises(TypeError):
        hash(whole)


@pytest.mark.parametrize(
    ("names", "counts", "words"),
    [
        (("b", "a", "c"), COUNTS, "do not ascend"),
        (("a", "a", "c"), COUNTS, "do not ascend"),
        (NAMES, COUNTS[:2], "shape"),
        (NAMES, -COUNTS, "negative or not finite"),
        (NAMES, COUNTS * np.nan, "negative or not finite"),
    ],
)
def test_a_table_that_is_no_evidence_is_refused(names, counts, words):
    with pytest.raises(InputError, match=words):
        Evidence.from_dense(KEYS, names, counts)
