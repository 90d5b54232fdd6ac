"""Other choices: weights of groups, and agreement that an oracle confirms."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gpuseg.insight.alternatives import alternatives
from gpuseg.insight.groups import SHARES, group_weights
from gpuseg.quality.agreement import adjusted_rand_index
from gpuseg.quality.choose_k import choose_k

NAMES = ("visits", "share_A", "share_B", "share_C")


@pytest.fixture(scope="module")
def tried():
    rng = np.random.default_rng(3)
    centres = np.array([[0, 0, 0, 0], [6, 0, 0, 6], [0, 6, 0, 0]])[rng.integers(0, 3, 90)]
    columns = (centres + rng.normal(size=(90, 4))).T
    arrays = {
        "who": pa.array(range(90)),
        **{name: pa.array(column) for name, column in zip(NAMES, columns, strict=True)},
    }
    table = pa.table(arrays).replace_schema_metadata({b"gpuseg.customer": b"who"})
    choice = choose_k(table, (2, 3, 4))
    labels = np.asarray(choice.model.labels_)
    return choice, labels, alternatives(table, group_weights(NAMES), labels, choice, 0)


def test_a_group_of_columns_weighs_as_one():
    assert group_weights(NAMES).tolist() == [1.0, *[np.sqrt(3.0)] * 3]
    assert group_weights(("visits",)).tolist() == [1.0]


def test_each_choice_is_made_otherwise(tried):
    choice, labels, found = tried
    assert choice.k == 3
    assert [(entry.choice, entry.what) for entry in found] == [
        ("k", "2"),
        ("k", "4"),
        ("scaling", ""),
        ("draw", ""),
        ("feature", "visits"),
        ("feature", SHARES),
    ]
    for entry in found[:2]:
        other = np.asarray(choice.models[int(entry.what)].labels_)
        assert entry.agreement == adjusted_rand_index(labels, other)


def test_agreement_tells_what_matters(tried):
    agreement = {(entry.choice, entry.what): entry.agreement for entry in tried[2]}
    assert agreement["draw", ""] == 1.0
    assert agreement["feature", SHARES] < 0.7  # the third group differs from the first in a share alone
    assert agreement["feature", "visits"] > agreement["feature", SHARES]
