"""The mergeable state: any split of the records in any order gives the same bits; against plain Python integers."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpuseg as gs
from gpuseg.core.decay import Decay, weights
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError, InputError, RangeError
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.spend_cells import pack_cells, unpack_cells
from gpuseg.personality.spend_records import spend_state
from gpuseg.personality.spend_rule import SpendRule
from gpuseg.personality.spend_state import SpendState, merge_spend

ROLES = {"customer": "who", "time": "at", "amount": "paid", "category": "kind", "time_zone": "UTC"}
DAY = 86_400_000_000
SHOP = CategoryMap.of(
    {"pets": "pets_vet", "ink": "stationery", "paper": "stationery", "bets": "gambling", "misc": None}
)
KINDS = ["pets", "ink", "paper", "bets", "misc", "never seen", "wine shop"]
SENSITIVE = {"bets", "wine shop"}
CATEGORY = {"pets": "pets_vet", "ink": "stationery", "paper": "stationery"}
DECAYS = st.sampled_from(
    [Decay(), Decay(DAY), Decay(DAY, 150 * DAY), Decay(30 * DAY, -(10**14)), Decay(10**9 * 4)]
)
LINE = st.tuples(
    st.integers(-3, 3),
    st.one_of(st.integers(-400 * DAY, 400 * DAY), st.integers(-60, 60).map(lambda e: e * 8 * DAY)),
    st.one_of(st.integers(-300, 900), st.sampled_from([0, 2**53, 2**31, 2**31 - 1, -(2**31), -(2**45)])),
    st.sampled_from(KINDS),
)
LINES = st.lists(LINE, min_size=1, max_size=30)
POLICIES = st.sampled_from(["ignore", "subtract"])


def table_of(lines, *, text=False):
    who, at, paid, kind = zip(*lines, strict=True) if lines else ((),) * 4
    return pa.table(
        {
            "who": pa.array([f"{w:+d}" for w in who], pa.string()) if text else pa.array(who, pa.int64()),
            "at": pa.array(at, pa.int64()).cast(pa.timestamp("us")),
            "paid": pa.array(paid, pa.int64()),
            "kind": pa.array(kind, pa.string()),
        }
    )


def state_of(lines, decay=Decay(), refunds="ignore", *, text=False, shop=SHOP) -> SpendState:  # noqa: B008
    tx = gs.read_transactions(table_of(lines, text=text), **ROLES, minor_units=0)
    return spend_state(tx, shop, decay, refunds=refunds)


def told(state):
    """Everything in a state, by name."""
    names = [*state.rule.categories.categories, None]
    keys = state.keys.to_pylist()
    cells = [
        (keys[c], names[g], e)
        for c, g, e in zip(*(x.tolist() for x in unpack_cells(state.cells)), strict=True)
    ]
    sums = dict(zip(cells, zip(state.weight.tolist(), state.spend.to_ints(), strict=True), strict=True))
    counts = {key: tuple(state.lines[:, row].tolist()) for row, key in enumerate(keys)}
    return counts, dict(zip(keys, state.last.tolist(), strict=True)), sums


def expected(lines, decay, refunds):
    """The same in plain Python."""
    counts, last, sums = {}, {}, {}
    for who, at, paid, kind in lines:
        step = 0 if decay.half_life_us is None else (at - decay.landmark_us) * 64 // decay.half_life_us
        category = CATEGORY.get(kind)
        unmapped = category is None and kind not in SENSITIVE
        found = counts.setdefault(who, [0, 0, 0, 0])
        for place, counts_here in enumerate((True, unmapped, kind in SENSITIVE, paid <= 0)):
            found[place] += counts_here
        last[who] = max(step, last.get(who, step))
        if paid > 0 or (paid < 0 and refunds == "subtract"):
            weight = int(weights()[step % 512])
            mass, spend = sums.get((who, category, step // 512), (0, 0))
            sign = 1 if paid > 0 else -1
            sums[who, category, step // 512] = (mass + sign * weight, spend + paid * weight)
    return {who: tuple(found) for who, found in counts.items()}, last, sums


@given(LINES, DECAYS, POLICIES)
def test_the_state_against_plain_python(lines, decay, refunds):
    state = state_of(lines, decay, refunds)
    assert told(state) == expected(lines, decay, refunds)
    assert state.keys.to_pylist() == sorted({line[0] for line in lines})
    assert (np.diff(state.cells) > 0).all()


@given(LINES, st.randoms(use_true_random=False), st.integers(0, 30), st.booleans(), DECAYS, POLICIES)
def test_any_split_in_any_order_gives_the_same_state(lines, random, cut, text, decay, refunds):
    def made(part):
        return state_of(part, decay, refunds, text=text)

    whole = made(lines)
    shuffled = random.sample(lines, len(lines))
    states = [made(piece) for piece in (shuffled[:cut], shuffled[cut:]) if piece]
    random.shuffle(states)
    assert merge_spend(states) == whole
    assert merge_spend(made([line]) for line in shuffled) == whole


@given(LINES, LINES, LINES, DECAYS, POLICIES)
def test_merge_is_associative_and_commutative_and_zero_is_neutral(first, second, third, decay, refunds):
    a, b, c = (state_of(lines, decay, refunds) for lines in (first, second, third))
    zero = SpendState(a.rule)
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(zero) == a == zero.merge(a)
    assert zero.merge(zero) == zero


@given(LINES, LINES, st.sets(st.integers(-3, 4)), DECAYS, POLICIES, st.booleans())
def test_stream_is_batch_is_forget_and_redo(first, second, gone, decay, refunds, text):
    def made(part):
        return state_of(part, decay, refunds, text=text) if part else SpendState(batch.rule)

    batch = state_of(first + second, decay, refunds, text=text)
    assert made(first).merge(made(second)) == batch
    named = [f"{who:+d}" for who in gone] if text else list(gone)
    forgotten = batch.without(named)
    assert forgotten == made([line for line in first + second if line[0] not in gone])
    assert forgotten == made(first).without(named).merge(made(second).without(named))
    assert forgotten.merge(made([line for line in first + second if line[0] in gone])) == batch
    assert forgotten.without(named) == forgotten


@given(LINES, DECAYS, POLICIES)
def test_evidence_against_fractions(lines, decay, refunds):
    state = state_of(lines, decay, refunds)
    evidence = state.evidence()
    counts, last, sums = expected(lines, decay, refunds)
    assert evidence.categories == ("pets_vet", "stationery")
    assert evidence.keys.to_pylist() == sorted(counts)
    assert evidence.records.tolist() == [counts[who][0] for who in sorted(counts)]
    count, spend = evidence.dense_counts(), evidence.dense_spend()
    for row, who in enumerate(sorted(counts)):
        total = 0.0
        for column, category in enumerate([*evidence.categories, None]):
            own = sorted((e, *found) for (w, c, e), found in sums.items() if (w, c) == (who, category))
            mass = finished([(e, weight) for e, weight, _ in own], last[who])
            money = max(0.0, finished([(e, product) for e, _, product in own], last[who]))
            total += money
            if category is not None:
                assert count[row, column] == max(0.0, mass)
                assert spend[row, column] == (money if mass > 0 else 0.0)
        assert evidence.total_spend[row] == total


def finished(sums, last):
    """The sum over epochs, each term and each addition rounded once."""
    total = 0.0
    for epoch, value in sums:
        term = float(Fraction(value)) if value else 0.0
        total += float(Fraction(term) * Fraction(2) ** (8 * (epoch - last // 512) - 30))
    return float(Fraction(total) * 2**30) / float(weights()[last % 512])


@given(LINES, DECAYS, st.slices(7), st.sets(st.integers(0, 6)))
def test_evidence_of_some_rows_is_theirs(lines, decay, cut, some):
    state = state_of(lines, decay)
    whole = state.evidence()
    n = state.n_customers
    rows = np.array(sorted(row for row in some if row < n), np.int64)
    dense = whole.dense_counts()
    part = state.evidence(rows)
    assert np.array_equal(part.dense_counts(), dense[rows])
    assert part.keys.to_pylist() == [whole.keys[row].as_py() for row in rows.tolist()]
    assert part.total_spend.tolist() == whole.total_spend[rows].tolist()
    start, stop, _ = slice(cut.start, cut.stop).indices(n)
    assert state.evidence(slice(start, stop)) == whole.slice(start, stop)
    for size in (1, 2, 7):
        parts = list(state.evidence_parts(size))
        assert parts == [whole.slice(at, at + size) for at in range(0, n, size)]
    with pytest.raises(InputError, match="n_rows=0 is no number of customers"):
        state.evidence_parts(0)


def test_who_does_not_act_does_not_move():
    old = state_of([(1, 0, 500, "pets"), (2, 0, 900, "ink")], Decay(DAY))
    new = state_of([(2, 90 * DAY, 100, "pets")], Decay(DAY))
    before, after = old.evidence(), old.merge(new).evidence()
    assert after.slice(0, 1) == before.slice(0, 1)
    assert after.slice(1, 2) != before.slice(1, 2)


def test_a_record_a_half_life_old_counts_half():
    state = state_of([(1, 0, 500, "pets"), (1, 2 * DAY, 300, "pets"), (1, 3 * DAY, 1, "misc")], Decay(DAY))
    evidence = state.evidence()
    assert evidence.count.tolist() == [0.5 + 0.125]
    assert evidence.spend.tolist() == [500 / 8 + 300 / 2]
    assert evidence.total_spend.tolist() == [500 / 8 + 300 / 2 + 1]


def test_cells_keep_what_was_packed():
    parts = [np.array([0, 5, 2**31 - 1]), np.array([0, 55, 4095]), np.array([-(2**19) + 1, 0, 2**19 - 1])]
    cells = pack_cells(*parts)
    assert (np.diff(cells) > 0).all()
    assert [x.tolist() for x in unpack_cells(cells)] == [x.tolist() for x in parts]


def test_states_of_two_rules_or_two_key_types_do_not_merge():
    lines = [(1, 0, 100, "pets")]
    other = CategoryMap.of({"pets": "pets_vet"})
    for second in (
        state_of(lines, Decay(DAY)),
        state_of(lines, Decay(None, 1)),
        state_of(lines, refunds="subtract"),
        state_of(lines, shop=other),
        SpendState(SpendRule(SHOP)),
    ):
        with pytest.raises(ContractError, match="states of different rules cannot be merged"):
            state_of(lines).merge(second)
    with pytest.raises(InputError, match="1 and '1' are never merged"):
        state_of(lines).merge(state_of(lines, text=True))
    with pytest.raises(InputError, match="1 and '1' are never merged"):
        state_of(lines).without(["1"])
    with pytest.raises(InputError, match="of several types"):
        state_of(lines).without([1, "1"])
    with pytest.raises(InputError, match="whole numbers or text are needed"):
        state_of(lines).without([1.5])


def test_a_weight_that_leaves_int64_is_refused():
    state = state_of([(1, 0, 100, "pets"), (2, 0, 100, "pets")])
    for _ in range(32):  # two records become 2**33, of 2**30 each
        state = state.merge(state)
    with pytest.raises(RangeError, match="weigh more than int64 holds"):
        state.merge(state)
    debts = state_of([(1, 0, -100, "pets")], refunds="subtract")
    for _ in range(33):
        debts = debts.merge(debts)
    assert debts.weight.tolist() == [-(2**63)]
    with pytest.raises(RangeError, match="weigh more than int64 holds"):
        debts.merge(debts)


def test_limbs_carry_and_refuse():
    for first, second, fits in [
        (2**64 - 1, 1, True),
        (-1, 1, True),
        (-(2**127), 2**127 - 1, True),
        (2**127 - 1, 1, False),
        (-(2**127), -1, False),
        (2**127 - 2**64, 2**64 - 1, True),
        (2**127 - 2**63, 2**63, False),
        (-(2**126), -(2**126), True),
    ]:
        a, b = (with_spend(value) for value in (first, second))
        if fits:
            assert a.merge(b).spend.to_ints() == [first + second]
        else:
            with pytest.raises(RangeError):
                a.merge(b)


def with_spend(value):
    state = state_of([(1, 0, 100, "pets")])
    return SpendState(
        state.rule,
        state.keys,
        state.lines,
        state.last,
        state.cells,
        state.weight,
        WideSum.from_ints([value], 1),
    )


def test_many_large_amounts_are_added_exactly():
    """Past one block of products, and past the int64 of a product."""
    lines = [(i % 3, i * DAY, 2**31 - 1 - i, "pets") for i in range(20_000)] + [(0, 0, 2**53, "ink")] * 9
    assert told(state_of(lines, Decay(10 * DAY))) == expected(lines, Decay(10 * DAY), "ignore")


def test_refunds_follow_the_declared_policy():
    lines = [
        (1, 0, 500, "pets"),
        (1, 1, 300, "pets"),
        (1, 2, -500, "pets"),
        (1, 3, 0, "pets"),
        (1, 4, -70, "ink"),
    ]
    ignored, subtracted = (state_of(lines, refunds=policy).evidence() for policy in ("ignore", "subtract"))
    assert (ignored.count.tolist(), ignored.spend.tolist(), ignored.total_spend.tolist()) == (
        [2],
        [800],
        [800],
    )
    assert (subtracted.count.tolist(), subtracted.spend.tolist()) == ([1], [300])
    # More stationery came back than was bought: that is no spend, and takes none off the pets.
    assert subtracted.total_spend.tolist() == [300]
    assert ignored.records.tolist() == subtracted.records.tolist() == [5]
    with pytest.raises(InputError, match="refunds='net' is no policy; give one of ignore, subtract"):
        state_of(lines, refunds="net")


def test_sensitive_lines_are_as_if_unmapped_unless_opted_in():
    lines = [(1, 0, 500, "pets"), (1, 0, 100, "bets"), (2, 0, 50, "bets"), (2, 0, 50, "wine shop")]
    plain = [(who, at, paid, "misc" if kind in SENSITIVE else kind) for who, at, paid, kind in lines]
    state = state_of(lines)
    assert state.count("sensitive").tolist() == [1, 2]
    assert state.evidence() == state_of(plain).evidence()
    assert np.array_equal(state.cells, state_of(plain).cells)
    opted = CategoryMap.of({v: m.category for v, m in SHOP.meanings.items()}, opt_in=["gambling"])
    evidence = state_of(lines, shop=opted).evidence()
    assert evidence.categories == ("gambling", "pets_vet", "stationery")
    assert evidence.dense_spend().tolist() == [[100, 500, 0], [50, 0, 0]]
    assert state_of(lines, shop=opted).count("sensitive").tolist() == [0, 1]


def test_unknown_categories_are_counted_and_cover_nothing():
    state = state_of([(1, 0, 500, "pets"), (1, 0, 1500, "never seen"), (2, 0, 10, "misc")])
    evidence = state.evidence()
    assert state.count("unmapped").tolist() == [1, 1]
    assert evidence.total_spend.tolist() == [2000, 10]
    assert evidence.spend.tolist() == [500]
    assert np.diff(evidence.starts).tolist() == [1, 0]


@pytest.mark.parametrize("text", [False, True])
def test_rows_are_found_by_key(text):
    state = state_of([(who, 0, 1, "pets") for who in (-3, 0, 2)], text=text)
    keys = state.keys.to_pylist()
    assert state.rows_of([keys[2], keys[0], keys[0]]).tolist() == [2, 0, 0]
    assert state.rows_of(["zzz", "", "+1"] if text else [99, -99, 1]).tolist() == [-1, -1, -1]
    assert state.rows_of([]).tolist() == []
    assert state.rows_of(pa.array(keys)).tolist() == [0, 1, 2]
    assert SpendState(state.rule).rows_of(keys).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("rows", [[1, 0], [0, 0], [-1, 0], [0, 2]])
def test_rows_that_do_not_ascend_are_refused(rows):
    state = state_of([(1, 0, 1, "pets"), (2, 0, 1, "pets")])
    with pytest.raises(InputError, match="rows are not ascending numbers from 0 to 1"):
        state.evidence(np.array(rows))


def test_nothing_but_refunds_is_a_customer_without_evidence():
    state = state_of([(1, 0, -5, "pets"), (2, 0, 0, "ink")])
    evidence = state.evidence()
    assert evidence.n_customers == 2
    assert evidence.dense_counts().tolist() == [[0, 0], [0, 0]]
    assert evidence.total_spend.tolist() == [0, 0]
    assert state.count("refunds").tolist() == [1, 1]
    assert SpendState(state.rule).evidence().n_customers == 0


def test_states_travel_and_are_no_keys():
    state = state_of([(1, 0, 500, "pets")], Decay(DAY))
    assert pickle.loads(pickle.dumps(state)) == state
    assert state != 3
    assert state.nbytes > 0
    with pytest.raises(TypeError):
        hash(state)
