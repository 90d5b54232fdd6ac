"""Message groups: an oracle customer by customer, hysteresis at review dates only, and fallbacks that are counted."""

from __future__ import annotations

import datetime as dt
import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.personality import message_choice
from gpuseg.personality.message_groups import MessageGroups

TRAITS = ("openness", "extraversion", "conscientiousness")
BOXES = {
    "explorers": {"openness": (55, None)},
    "hosts": {"extraversion": (52, 65), "conscientiousness": (None, 50)},
    "planners": {"conscientiousness": (55, None), "openness": (None, 60)},
}
CENTRES = {
    "explorers": {"openness": 60, "extraversion": 50, "conscientiousness": 45},
    "hosts": {"openness": 50, "extraversion": 58, "conscientiousness": 50},
    "planners": {"openness": 45, "extraversion": 45, "conscientiousness": 57},
}


def scores_of(n, seed=0, missing=0.1):
    draws = np.random.default_rng(seed)
    values = np.rint(draws.normal(50, 10, (n, 3)) * 4) / 4  # quarters of a point: ties happen
    values[draws.random((n, 3)) < missing / 3] = np.nan
    keys = pa.array(draws.permutation(n) + 1)
    return pa.table({"customer": keys} | {t: pa.array(values[:, i]) for i, t in enumerate(TRAITS)})


def declared(kind, **options):
    options = {"review": ["2024-01-01", "2024-04-01"], "margin": 3.0} | options
    return (
        MessageGroups.by_thresholds(BOXES, **options)
        if kind == "bounds"
        else MessageGroups.by_centres(CENTRES, **options)
    )


def oracle(kind, scores, n_i, before, margin, least, *, reviewed):
    """The group of one customer, in plain Python."""
    names = list(BOXES)
    if not reviewed:
        return "everyone" if before is None else before
    if any(math.isnan(scores[t]) for t in TRAITS) or not n_i >= least:
        return "everyone"
    near = {}
    for name in names:
        if kind == "bounds":
            gaps = []
            for trait, (low, high) in BOXES[name].items():
                gaps += [] if low is None else [scores[trait] - low]
                gaps += [] if high is None else [high - scores[trait]]
            near[name] = min(gaps)
        else:
            squares = [(scores[t] - CENTRES[name][t]) ** 2 for t in CENTRES[name]]
            near[name] = -math.sqrt(squares[0] + squares[1] + squares[2])
    near["everyone"] = 0.0 if kind == "bounds" else -math.inf
    best = max(near, key=lambda name: near[name])
    if before is not None and near[best] - near[before] <= margin:
        return before
    return best


@pytest.mark.parametrize("kind", ["bounds", "centres"])
@pytest.mark.parametrize("margin", [0.0, 3.0])
@pytest.mark.parametrize("day", ["2024-04-01", "2024-04-02"])
def test_the_group_is_that_of_the_oracle(kind, margin, day):
    n = 600
    table, draws = scores_of(n), np.random.default_rng(5)
    evidence = np.where(draws.random(n) < 0.1, 19.75, 20.0)
    names = [*BOXES, "everyone", None]
    old = [names[code] for code in draws.integers(0, 5, n)]
    previous = pa.table({"customer": table["customer"], "group": pa.array(old, pa.string())})
    found = declared(kind, margin=margin).assign(table, previous, on=day, evidence=evidence)
    rows = table.to_pylist()
    expected = [
        oracle(kind, row, evidence[i], old[i], margin, 20.0, reviewed=day == "2024-04-01")
        for i, row in enumerate(rows)
    ]
    result = found.table()
    assert result["group"].to_pylist() == expected
    assert result["customer"].equals(table["customer"])
    moved = [before is not None and before != now for before, now in zip(old, expected, strict=True)]
    assert result["moved"].to_pylist() == moved
    assert found.n_moved == sum(moved)
    assert found.sizes == {name: expected.count(name) for name in [*BOXES, "everyone"]}
    assert found.fallback_share == expected.count("everyone") / n
    assert sum(found.fallback_reasons.values()) == expected.count("everyone")
    assert len(set(expected)) == 4
    assert None not in result["reason"].to_pylist()


@pytest.mark.parametrize("kind", ["bounds", "centres"])
def test_order_and_chunks_of_customers_change_nothing(kind, monkeypatch):
    table = scores_of(257, seed=3)
    groups = declared(kind)
    first = groups.assign(scores_of(257, seed=4), on="2024-01-01").table()
    whole = groups.assign(table, first, on="2024-04-01").table()
    monkeypatch.setattr(message_choice, "_BLOCK_ROWS", 10)
    assert groups.assign(table, first, on="2024-04-01").table().equals(whole)
    order = np.random.default_rng(1).permutation(257)
    back = np.argsort(order)
    shuffled = groups.assign(table.take(order), first.take(order[::-1]), on="2024-04-01").table()
    assert shuffled.take(back).equals(whole)
    parts = [groups.assign(table.slice(i, 50), first, on="2024-04-01").table() for i in range(0, 257, 50)]
    assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())


def test_a_customer_on_the_border_does_not_flutter():
    groups = MessageGroups.by_centres(
        {"a": {"openness": 40}, "b": {"openness": 60}}, review="monthly", margin=5.0
    )
    seen, previous = [], None
    for month, score in enumerate([49.0, 51, 49, 52, 52.5, 53, 48, 47, 47.25], 1):
        now = groups.assign(pa.table({"who": [1], "openness": [score]}), previous, on=f"2024-{month:02d}-01")
        previous = now.table()
        seen.append(previous["group"][0].as_py())
    # |47.5 - 40| and |47.5 - 60| differ by 5: from b to a below 47.5, from a to b above 52.5.
    assert seen == ["a", "a", "a", "a", "a", "b", "b", "a", "a"]


def test_bounds_are_left_by_more_than_the_margin():
    groups = MessageGroups.by_thresholds({"a": {"openness": (55, None)}}, review="monthly", margin=2.0)
    seen, previous = [], None
    for month, score in enumerate([54.9, 56, 57.1, 55, 53, 52.9, 57], 1):
        now = groups.assign(pa.table({"who": [1], "openness": [score]}), previous, on=f"2024-{month:02d}-01")
        previous = now.table()
        seen.append(previous["group"][0].as_py())
    assert seen == ["everyone", "everyone", "a", "a", "a", "everyone", "everyone"]


def test_groups_change_on_review_dates_only():
    groups = declared("centres", margin=0.0)
    first = groups.assign(scores_of(100, seed=1), on="2024-01-01")
    later = scores_of(120, seed=2)
    between = groups.assign(later, first, on="2024-03-31")
    assert not between.reviewed
    old = dict(zip(*(first.table()[c].to_pylist() for c in ("customer", "group")), strict=True))
    result = between.table().to_pylist()
    assert all(row["group"] == old.get(row["customer"], "everyone") for row in result)
    assert between.fallback_reasons["no review since this customer is known"] == 20
    assert groups.assign(later, first, on="2024-04-01").n_moved > 10


def test_the_result_is_a_function_of_scores_and_previous_groups():
    groups, table = declared("bounds"), scores_of(200, seed=7)
    first = groups.assign(scores_of(200, seed=8), on="2024-01-01").table()
    once = groups.assign(table, first, on="2024-04-01").table()
    assert groups.assign(table, first, on="2024-04-01").table().equals(once)
    # A review that finds the same scores moves nobody, and settles at once.
    again = groups.assign(table, once, on="2024-04-01")
    assert again.n_moved == 0
    assert again.table()["group"].equals(once["group"])


@pytest.mark.parametrize(
    ("review", "since", "day", "due"),
    [
        (["2024-01-01", "2024-04-01"], "2024-01-01", "2024-04-02", "2024-04-01"),
        (["2024-01-01", "2024-04-01"], "2024-01-01", "2024-03-31", None),
        (["2024-01-01", "2024-04-01"], "2023-12-31", "2024-05-01", "2024-04-01"),
        ("monthly", "2024-01-15", "2024-03-14", "2024-03-01"),
        ("monthly", "2024-03-01", "2024-03-31", None),
        ("quarterly", "2023-12-31", "2024-03-31", "2024-01-01"),
        ("yearly", "2023-01-01", "2024-12-31", "2024-01-01"),
    ],
)
def test_a_missed_review_is_found(review, since, day, due):
    groups = MessageGroups.by_thresholds({"a": {"openness": (55, None)}}, review=review)
    found = groups.review_due(since, day)
    assert (None if found is None else found.isoformat()) == due
    if due:
        assert groups.is_review_date(due)


def test_the_fallback_says_why():
    groups = MessageGroups.by_thresholds(
        {"a": {"openness": (55, None), "extraversion": (50, None)}}, review="monthly", fallback="all others"
    )
    table = pa.table(
        {
            "who": list("abcdef"),
            "openness": [60, None, 60, math.nan, 60, 40.0],
            "extraversion": [60, 60, math.inf, None, 60, 60.0],
            "n": [20, 50, 50, 50, 19.99, 50.0],
        }
    )
    found = groups.assign(table, on="2024-01-01", evidence="n")
    assert found.table()["group"].to_pylist() == ["a"] + ["all others"] * 5
    assert found.fallback_reasons == {
        "not measurable: extraversion": 1,
        "not measurable: openness": 1,
        "not measurable: openness, extraversion": 1,
        "thin evidence: fewer than 20 purchases": 1,
        "within the bounds of no group": 1,
    }
    assert found.fallback_share == 5 / 6
    assert found.facts()["fallback_share"] == 5 / 6
    assert "credit" in found.facts()["note"]
    assert found.table()["second_best"].to_pylist() == [None, None, None, None, None, "a"]
    assert found.table()["lead"].to_pylist()[-1] == 15.0


def test_thin_evidence_ends_a_group_at_the_review():
    groups = MessageGroups.by_thresholds({"a": {"openness": (55, None)}}, review="monthly")
    table = pa.table({"who": [1], "openness": [70.0]})
    first = groups.assign(table, on="2024-01-01", evidence=[30.0])
    assert groups.assign(table, first, on="2024-01-15", evidence=[1.0]).sizes["a"] == 1
    assert groups.assign(table, first, on="2024-02-01", evidence=[1.0]).sizes["everyone"] == 1


def test_second_best_lead_and_reason_of_centres():
    groups = declared("centres")
    table = pa.table({"who": [1], "openness": [61.0], "extraversion": [50.0], "conscientiousness": [45.0]})
    (row,) = groups.assign(table, on="2024-01-01").table().to_pylist()
    assert row["group"] == "explorers"
    assert row["second_best"] == "hosts"
    assert row["lead"] == math.sqrt(11 * 11 + 8 * 8 + 5 * 5) - 1.0
    assert row["reason"] == "nearest to its centre, above all in openness"
    before = pa.table({"who": [1], "group": ["hosts"]})
    (row,) = declared("centres", margin=20.0).assign(table, before, on="2024-01-01").table().to_pylist()
    assert (row["group"], row["second_best"]) == ("hosts", "explorers")
    assert row["lead"] == 1.0 - math.sqrt(11 * 11 + 8 * 8 + 5 * 5)
    assert row["reason"] == "kept: no other group is nearer by more than 20"


def test_what_comes_in_goes_out():
    groups = declared("bounds")
    table = scores_of(30)
    expected = groups.assign(table, on="2024-01-01").table()["group"].to_pylist()
    frame = table.to_pandas()
    indexed = groups.assign(frame.set_index("customer"), on="2024-01-01").table()
    assert isinstance(indexed, pd.DataFrame)
    assert indexed.index.name == "customer"
    assert indexed["group"].tolist() == expected
    assert indexed.attrs["gpuseg"]["reviewed"] is True
    plain = groups.assign(frame, on="2024-01-01").table()
    assert plain["customer"].tolist() == frame["customer"].tolist()
    lazy = groups.assign(pl.from_arrow(table), on="2024-01-01").table()
    assert isinstance(lazy, pl.DataFrame)
    assert lazy["group"].to_list() == expected
    again = groups.assign(frame, indexed, on="2024-04-01")
    assert again.n_moved == 0
    narrow = table.set_column(0, "customer", table["customer"].cast(pa.int16()))
    assert groups.assign(narrow, on="2024-01-01").table().schema.field("customer").type == pa.int16()


def test_learned_groups_are_found_fixed_and_do_not_depend_on_order():
    draws = np.random.default_rng(2)
    middle = np.repeat([[40.0, 60.0], [60.0, 55.0], [50.0, 35.0]], 200, axis=0)
    values = middle + draws.normal(0, 1.5, middle.shape)
    table = pa.table(
        {
            "customer": [f"k{i}" for i in range(600)],
            "openness": values[:, 0],
            "extraversion": values[:, 1],
            "neuroticism": draws.normal(50, 20, 600),
        }
    )
    groups = MessageGroups.learned(table, 3, review="monthly", seed=1)
    assert groups.left_out == ("neuroticism",)
    assert groups.traits == ("openness", "extraversion")
    found = np.array([[score for _, score in group.centre] for group in groups.groups])
    assert np.abs(found - [[40, 60], [50, 35], [60, 55]]).max() < 0.5
    assert groups.assign(table, on="2024-01-01").sizes == {
        "group 1": 200, "group 2": 200, "group 3": 200, "everyone": 0,
    }  # fmt: skip
    order = draws.permutation(600)
    assert MessageGroups.learned(table.take(order), 3, review="monthly", seed=1) == groups
    assert MessageGroups.from_json(groups.to_json()) == groups


def test_customers_that_cannot_be_used_are_not_learned_from():
    table = scores_of(300, missing=0.3)
    evidence = np.where(np.arange(300) % 3 == 0, 5.0, 50.0)
    groups = MessageGroups.learned(table, 2, review="monthly", evidence=evidence, names=["low", "high"])
    values = np.stack([table[t].to_numpy() for t in TRAITS], axis=1)
    usable = np.isfinite(values).all(axis=1) & (evidence >= 20)
    assert groups.learned_from == usable.sum()
    assert (
        MessageGroups.learned(table.filter(pa.array(usable)), 2, review="monthly", names=["low", "high"])
        == groups
    )


def test_more_groups_than_customers_cannot_be_learned():
    table = pa.table({"who": [1, 2, 3], "openness": [50.0, 50.0, 60.0]})
    with pytest.raises(TooFewRowsError, match="2 distinct"):
        MessageGroups.learned(table, 3, review="monthly")
    with pytest.raises(InputError, match="n_groups=1"):
        MessageGroups.learned(table, 1, review="monthly")


def test_declared_groups_survive_a_file():
    for kind in ("bounds", "centres"):
        groups = declared(kind)
        assert MessageGroups.from_json(groups.to_json()) == groups
    with pytest.raises(InputError, match="no message groups"):
        MessageGroups.from_json('{"groups": []}')
    with pytest.raises(InputError, match="no message groups"):
        MessageGroups.from_json("[")


@pytest.mark.parametrize(
    ("boxes", "options", "said"),
    [
        ({}, {}, "none, or a name twice"),
        ({"everyone": {"openness": (1, None)}}, {}, "the fallback's too"),
        ({" a": {"openness": (1, None)}}, {}, "blanks"),
        ({"a": {"openness": 55}}, {}, "not \\(lowest, highest\\)"),
        ({"a": {"openness": (None, None)}}, {}, "neither"),
        ({"a": {"openness": (60, 55)}}, {}, "above the highest"),
        ({"a": {"openness": ("60", None)}}, {}, "no score"),
        ({"a": {"openness": (math.nan, None)}}, {}, "no score"),
        ({"a": {}}, {}, "bounds, or"),
        ({"a": {"openness": (55, None)}}, {"margin": -1}, "margin=-1"),
        ({"a": {"openness": (55, None)}}, {"least_evidence": math.nan}, "least_evidence=nan"),
        ({"a": {"openness": (55, None)}}, {"review": []}, "no day"),
        ({"a": {"openness": (55, None)}}, {"review": "weekly"}, "review='weekly'"),
        ({"a": {"openness": (55, None)}}, {"review": ["2024-13-01"]}, "calendar day"),
    ],
)
def test_a_wrong_declaration_is_refused(boxes, options, said):
    with pytest.raises(InputError, match=said):
        MessageGroups.by_thresholds(boxes, **({"review": "monthly"} | options))


def test_centres_need_the_same_traits():
    with pytest.raises(InputError, match="'b' has a centre in openness"):
        MessageGroups.by_centres(
            {"a": {"openness": 1, "extraversion": 2}, "b": {"openness": 1}}, review="monthly"
        )


def test_wrong_tables_are_refused():
    groups = declared("bounds")
    table = scores_of(5)
    with pytest.raises(InputError, match="did you mean 'opennes'"):
        groups.assign(table.rename_columns(["customer", "opennes", *TRAITS[1:]]), on="2024-01-01")
    with pytest.raises(InputError, match="not numbers"):
        groups.assign(table.set_column(1, "openness", pa.array(list("abcde"))), on="2024-01-01")
    with pytest.raises(InputError, match="repeat a customer"):
        groups.assign(pa.concat_tables([table, table]), on="2024-01-01")
    with pytest.raises(InputError, match="have no customer"):
        groups.assign(table.set_column(0, "customer", pa.array([1, None, 2, 3, 4])), on="2024-01-01")
    with pytest.raises(InputError, match="is double"):
        groups.assign(table.select(TRAITS), on="2024-01-01")
    with pytest.raises(InputError, match="dict is no table"):
        groups.assign({}, on="2024-01-01")
    with pytest.raises(InputError, match="one number for each of 5 rows"):
        groups.assign(table, on="2024-01-01", evidence=[1.0])
    previous = pa.table({"customer": [1], "group": ["travellers"]})
    with pytest.raises(InputError, match="'travellers' is none of"):
        groups.assign(table, previous, on="2024-01-01")
    with pytest.raises(InputError, match="in the scores they are int64"):
        groups.assign(table, pa.table({"c": ["1"], "group": ["hosts"]}), on="2024-01-01")


def test_nobody_is_nobody():
    found = declared("centres").assign(scores_of(0), on="2024-01-01")
    assert found.fallback_share == 0.0
    assert found.table().num_rows == 0


GOOD = {"calm": {"openness": (50, None)}}


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        (GOOD, {"review": None}, "review=None is neither"),
        (GOOD, {"review": dt.date(2024, 1, 1)}, "is neither"),
        (GOOD, {"review": "monthly", "opt_in": ["neuroticism"]}, "opt_in=.* give a mapping"),
        (list(GOOD), {"review": "monthly"}, "groups=.* give a mapping"),
        ({"calm": ["openness"]}, {"review": "monthly"}, "group 'calm'=.* give a mapping"),
        ({5: {"openness": (50, None)}}, {"review": "monthly"}, "5 names a group or a trait and is no text"),
        ({"calm": {7: (50, None)}}, {"review": "monthly"}, "7 names a group or a trait and is no text"),
    ],
)
def test_declarations_of_the_wrong_kind_are_refused_in_a_sentence(groups, options, message):
    with pytest.raises(InputError, match=message):
        MessageGroups.by_thresholds(groups, **options)


@pytest.mark.parametrize("score", ["x", None, True, float("nan")])
def test_a_centre_is_a_number(score):
    with pytest.raises(InputError, match="is no score; give a number"):
        MessageGroups.by_centres({"a": {"openness": score}, "b": {"openness": 40}}, review="monthly")


def test_json_of_the_wrong_kind_is_refused_in_a_sentence():
    held = json.loads(MessageGroups.by_thresholds(GOOD, review="monthly").to_json())
    for change in ({"review": 5}, {"groups": [held["groups"][0] | {"name": 5}]}, {"margin": "x"}):
        with pytest.raises(InputError):
            MessageGroups.from_json(json.dumps(held | change))
