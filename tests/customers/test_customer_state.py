"""The mergeable state: any split of the records in any order gives the same bits."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpuseg as gs
from gpuseg.customers.customer_state import CustomerState, merge_states, partition_state
from gpuseg.customers.features import customer_state
from gpuseg.customers.reading.transactions import Transactions

ROLES = {
    "customer": "who",
    "time": "at",
    "amount": "paid",
    "basket": "bill",
    "category": "kind",
    "discount": "off",
    "coupon": "voucher",
    "own_label": "own",
    "time_zone": "Asia/Tokyo",
}
TEXT = st.sampled_from(["", "ä", "Z", "aa", "é€", "\U0001f600"])
LINE = st.tuples(
    st.integers(-3, 3),
    st.integers(-400, 400),  # days around 1970
    st.integers(-300, 900),
    st.sampled_from("pqrs"),
    TEXT,
    st.integers(0, 50),
    st.booleans(),
)
LINES = st.lists(LINE, min_size=1, max_size=40)


def table_of(lines, *, text=False):
    who, day, paid, bill, kind, off, own = zip(*lines, strict=True)
    keys = pa.array([f"{w:+d}" for w in who]) if text else pa.array(who, pa.int64())
    return pa.table(
        {
            "who": keys,
            "at": pa.array(np.array(day) * 86_400 + 50_000, pa.int64()).cast(pa.timestamp("s")),
            "paid": pa.array(np.array(paid) / 100),
            "bill": pa.array(bill),
            "kind": pa.array(kind),
            "off": pa.array(np.array(off) / 100),
            "voucher": pa.array(np.array(off) // 2 / 100),
            "own": pa.array(own),
        }
    )


def state_of(lines, *, text=False, as_of=None) -> CustomerState:
    tx = gs.read_transactions(table_of(lines, text=text), **ROLES)
    assert isinstance(tx, Transactions)
    (partition,) = tx.partitions
    return partition_state(partition.load(), as_of)


@given(
    LINES,
    st.randoms(use_true_random=False),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from([None, 0, 100]),
)
def test_any_split_in_any_order_gives_the_same_state(lines, random, cut, text, as_of):
    whole = state_of(lines, text=text, as_of=as_of)
    shuffled = random.sample(lines, len(lines))
    pieces = [piece for piece in (shuffled[:cut], shuffled[cut:]) if piece]
    states = [state_of(piece, text=text, as_of=as_of) for piece in pieces]
    random.shuffle(states)
    assert merge_states(states) == whole
    assert merge_states([state_of([line], text=text, as_of=as_of) for line in shuffled]) == whole


@given(LINES, LINES, LINES)
def test_merge_is_associative_and_commutative_and_zero_is_neutral(first, second, third):
    a, b, c = (state_of(lines) for lines in (first, second, third))
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(CustomerState()) == a == CustomerState().merge(a)


@given(LINES, st.integers(-400, 400))
def test_the_state_against_plain_python(lines, as_of):
    state = state_of(lines, as_of=as_of)
    # 13:53 UTC is 22:53 in Tokyo, on the same day.
    kept = [line for line in lines if line[1] <= as_of]
    customers = sorted({line[0] for line in kept})
    assert state.keys.to_pylist() == customers
    assert state.n_after == len(lines) - len(kept)
    assert state.last_day == max((line[1] for line in kept), default=None)
    for row, who in enumerate(customers):
        own = [line for line in kept if line[0] == who]
        expected = {
            "lines": len(own),
            "purchase_lines": sum(line[2] > 0 for line in own),
            "purchases": sum(max(line[2], 0) for line in own),
            "returns": sum(min(line[2], 0) for line in own),
            "discount": sum(line[5] for line in own if line[2] >= 0),
            "coupon": sum(line[5] // 2 for line in own if line[2] >= 0),
            "own_label": sum(line[2] for line in own if line[2] > 0 and line[6]),
        }
        assert {name: int(state.total(name)[row]) for name in expected} == expected
    bought = [line for line in kept if line[2] > 0]
    owner, day = state.visit_days()
    days = sorted({(line[0], line[1]) for line in bought})
    assert [(customers[o], int(d)) for o, d in zip(owner, day, strict=True)] == days
    assert state.baskets.to_pylist() == sorted({line[3] for line in bought})
    assert state.categories.to_pylist() == sorted({line[4] for line in bought})
    spend = {}
    for line in bought:
        spend[line[0], line[4]] = spend.get((line[0], line[4]), 0) + line[2]
    names = state.categories.to_pylist()
    pairs = [(customers[p >> 32], names[p & 0xFFFFFFFF]) for p in state.spend_pairs.tolist()]
    assert dict(zip(pairs, state.spend.tolist(), strict=True)) == spend
    assert pairs == sorted(pairs)


def test_keys_of_two_types_do_not_merge_but_are_reported():
    whole = state_of([(1, 0, 100, "p", "Z", 0, True)]).merge(
        state_of([(1, 0, 100, "p", "Z", 0, True)], text=True)
    )
    assert whole.n_customers == 0
    assert "mixes types: 1 rows of text and 1 rows of whole numbers" in whole.audit.problems()[0]


def test_states_travel_and_are_no_keys(lines, roles):
    state = customer_state(gs.read_transactions(lines, **roles))
    assert pickle.loads(pickle.dumps(state)) == state
    assert state != 3
    with pytest.raises(TypeError):
        hash(state)
