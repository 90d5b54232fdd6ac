"""What is not told of a segmentation: no count from 1 to 9 can be reckoned from a table, a page or a share."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gpuseg.customers.cohorts import cohort_retention
from gpuseg.customers.reading.attribute_columns import ATTRIBUTE_PREFIX
from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.insight.answer import Asked, answer
from gpuseg.insight.disclosure import Hidden
from gpuseg.insight.findings import findings
from gpuseg.insight.measures import Measure, measures_of
from gpuseg.insight.outcome import Outcome
from gpuseg.insight.profile import profile_segments
from gpuseg.insight.report import render_report
from gpuseg.insight.withheld import Withheld, cohorts_table, withheld, withheld_cohorts
from gpuseg.insight.words import FEW, Unit, Wording
from gpuseg.jobs.kept.names import review_bytes
from tests.insight.test_disclosure import MIN_CELL, guesses
from tests.insight.test_report import Page
from tests.jobs import made_up

WINDOW = (dt.date(2024, 1, 1), dt.date(2024, 1, 31))


def segments(*sizes):
    return np.repeat(np.arange(1, len(sizes) + 1), sizes)


def profiles_of(ids, **columns):
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    return profile_segments(table, ids, measures_of(table.column_names))


def answered(*groups):
    """Profiles and an answer from (customers, contacted, with the outcome) of segments 1, 2, ..."""
    contacted, happened, key = [], [], 0
    for size, base, hits in groups:
        contacted += range(key, key + base)
        happened += range(key, key + hits)
        key += size
    ids = segments(*(size for size, _, _ in groups))
    table = pa.table({"visits": pa.array(np.arange(key) % 7)})
    asked = Asked(Outcome(WINDOW, pa.array(contacted), pa.array(happened), 0), "came", "called", "call")
    return profiles_of(ids, visits=np.arange(key) % 7), answer(
        asked, pa.array(range(key)), ids.astype(np.int32), table
    )


def test_nothing_is_withheld_of_large_groups():
    profiles, found = answered((100, 50, 20), (200, 80, 30))
    kept_back = withheld(profiles, 10, found)
    assert kept_back == dataclasses.replace(
        Withheld(), measures={"visits": frozenset()}, known={"visits": frozenset()}
    )
    assert not kept_back.any


def test_a_small_segment_takes_another_with_it():
    ids = segments(50, 30, 4)
    kept_back = withheld(profiles_of(ids, visits=np.arange(84), spend=np.arange(84.0)), 10)
    assert kept_back.any
    assert kept_back.sizes == kept_back.rates == {2, 3}
    assert kept_back.measure("visits") == kept_back.measure("spend") == {2, 3}
    assert kept_back.measure("anything") == {2, 3}
    table = profiles_of(ids, visits=np.arange(84)).to_table({1: "a", 2: "b", 3: "c"}, kept_back)
    assert table["customers"].to_pylist() == [50, None, None]
    for name in ("share_of_customers", "known", "mean", "median", "index", "superiority"):
        assert [value is None for value in table[name].to_pylist()] == [False, True, True], name
    assert table["population_mean"].null_count == 0


def test_few_known_and_few_unknown():
    values = np.ones(150) * 2.0
    values[50:95] = np.nan  # segment 2: 5 of 50 known
    values[100:104] = np.nan  # segment 3: 4 of 50 unknown
    profiles = profiles_of(segments(50, 50, 50), regularity=values, visits=np.arange(150))
    kept_back = withheld(profiles, 10)
    assert kept_back.sizes == kept_back.measure("visits") == frozenset()
    assert kept_back.measure("regularity") == {2, 3}
    assert kept_back.number_known("regularity") == {2, 3}
    one = profiles_of(segments(50, 50), regularity=np.where(np.arange(100) < 4, np.nan, 1.5))
    assert withheld(one, 10).measure("regularity") == frozenset()
    assert withheld(one, 10).number_known("regularity") == {1}
    assert one.to_table({1: "a", 2: "b"}, withheld(one, 10))["known"].to_pylist() == [None, 50]


def flags(*ones, size=50):
    return np.concatenate([np.arange(size) < count for count in ones]).astype(float)


@pytest.mark.parametrize(
    ("ones", "hidden", "whole"),
    [
        ((20, 30, 25), set(), False),
        ((3, 30, 25), {1, 2}, False),  # few have it
        ((47, 30, 25), {1, 2}, False),  # few have it not
        ((3, 4, 25), {1, 2}, False),
        ((0, 50, 25), set(), False),  # nobody and everybody are no few
        ((3, 0, 0), {1, 2, 3}, True),  # three of all
        ((50, 50, 45), {1, 2, 3}, True),
    ],
)
def test_a_share_of_ones_tells_no_few(ones, hidden, whole):
    profiles = profiles_of(segments(50, 50, 50), own_label_share=flags(*ones), visits=np.arange(150))
    assert [entry.binary for entry in profiles.measures] == [False, True]
    kept_back = withheld(profiles, 10)
    assert kept_back.measure("own_label_share") == hidden
    assert ("own_label_share" in kept_back.whole) == whole
    assert kept_back.measure("visits") == frozenset()
    table = profiles.to_table({1: "a", 2: "b", 3: "c"}, kept_back)
    mine = table.filter(pc.equal(table["measure"], "own_label_share"))
    assert (mine["population_mean"].null_count > 0) == whole
    assert [value is None for value in mine["mean"].to_pylist()] == [number in hidden for number in (1, 2, 3)]


def levels_of(*counts):
    """Levels a, b, ... of an attribute: customers of each segment who have each of them."""
    ids = segments(*(sum(row) for row in counts))
    held = np.concatenate([np.repeat(np.arange(len(row)), row) for row in counts])
    columns = {
        f"{ATTRIBUTE_PREFIX}kind=L{level}": (held == level).astype(float) for level in range(len(counts[0]))
    }
    measures = [Measure(name, name, Unit.SHARE, binary=True) for name in columns]
    return profile_segments(pa.table(columns), ids, measures)


def hidden_levels(profiles, min_cell=10):
    kept_back = withheld(profiles, min_cell)
    return [
        [number in kept_back.measure(entry.measure.column) for entry in profiles.measures]
        for number in profiles.segment_ids
    ]


def test_levels_of_an_attribute_are_one_table():
    assert hidden_levels(levels_of((20, 20, 20), (30, 30, 30))) == [[False] * 3, [False] * 3]
    # Three of the first segment have the second level: neither the rest of the segment nor of the level tells them.
    assert hidden_levels(levels_of((20, 3, 27), (40, 30, 30), (30, 50, 60))) == [
        [False, True, True],
        [False, True, True],
        [False, False, False],
    ]
    # Few of all have the last level: it is not told at all, nor is another whose number would tell it.
    profiles = levels_of((20, 40, 2), (30, 60, 3))
    assert hidden_levels(profiles) == [[True, False, True], [True, False, True]]
    assert withheld(profiles, 10).whole == {f"{ATTRIBUTE_PREFIX}kind=L0", f"{ATTRIBUTE_PREFIX}kind=L2"}


@pytest.mark.parametrize("seed", range(4))
def test_levels_cannot_be_reckoned_from_the_table(seed):
    """Every table of levels that fits what is told is tried."""
    rng = np.random.default_rng(seed)
    tried = 0
    for _ in range(12):
        table = rng.integers(0, 8, (3, 3)).tolist()
        if any(sum(row) < MIN_CELL for row in table) or any(
            sum(column) < MIN_CELL for column in zip(*table, strict=True)
        ):
            continue
        profiles = levels_of(*table)
        kept_back = withheld(profiles, MIN_CELL)
        if kept_back.sizes or kept_back.whole:
            continue
        hidden = Hidden(tuple(map(tuple, hidden_levels(profiles, MIN_CELL))), totals=False)
        found = guesses(table, hidden)
        tried += len(found)
        assert all(len(values) > 1 for values in found.values())
    assert tried


def test_many_levels_take_no_time():
    rng = np.random.default_rng(1)
    profiles = levels_of(*rng.integers(0, 25, (8, 50)).tolist())
    hidden = np.array(hidden_levels(profiles))
    assert hidden.any()


def test_ones_cannot_be_reckoned_from_the_table():
    """Whoever sees the shares that are told, and everybody's, finds several counts for each small one."""
    rng = np.random.default_rng(5)
    tried = 0
    for _ in range(60):
        ones = rng.integers(0, 13, 3).tolist()
        profiles = profiles_of(segments(12, 12, 12), own_label_share=flags(*ones, size=12))
        kept_back = withheld(profiles, 4)
        hidden = [row for row in range(3) if row + 1 in kept_back.measure("own_label_share")]
        small = [row for row in range(3) if 0 < ones[row] < 4 or 0 < 12 - ones[row] < 4]
        assert set(small) <= set(hidden)
        if "own_label_share" in kept_back.whole:
            assert len(hidden) == 3
            continue
        total = sum(ones[row] for row in hidden)
        fits = [guess for guess in product(range(13), repeat=len(hidden)) if sum(guess) == total]
        for place, row in enumerate(hidden):
            if row in small:
                tried += 1
                assert len({guess[place] for guess in fits}) > 1
    assert tried > 20


def test_few_contacted_or_with_the_outcome():
    """As in the demo: nine of a segment were mailed, seven of another redeemed."""
    groups = (695, 632, 152), (600, 348, 60), (548, 227, 7), (296, 173, 59), (291, 9, 0)
    profiles, found = answered(*groups)
    assert found.chosen.segment_id == 4
    kept_back = withheld(profiles, 10, found)
    assert kept_back.contacted == kept_back.rates == {3, 5}
    assert kept_back.nearly_all == kept_back.sizes == frozenset()
    assert not kept_back.whole_rate


def test_the_segment_to_consider_is_withheld_last():
    groups = (100, 60, 6), (100, 50, 25), (200, 90, 30)
    profiles, found = answered(*groups)
    assert found.chosen.segment_id == 2
    kept_back = withheld(profiles, 10, found)
    assert kept_back.rates == {1, 3}  # though the segment to consider has fewer with the outcome
    assert kept_back.contacted == frozenset()


def test_how_few_were_not_contacted():
    profiles, found = answered((100, 95, 40), (100, 60, 25), (100, 50, 30))
    kept_back = withheld(profiles, 10, found)
    assert 1 in kept_back.nearly_all
    assert len(kept_back.nearly_all) == 2
    assert kept_back.rates == kept_back.contacted == frozenset()


def test_an_outcome_of_few_is_not_told_at_all():
    profiles, found = answered((100, 60, 6), (100, 50, 2))
    kept_back = withheld(profiles, 10, found)
    assert kept_back.whole_rate
    assert kept_back.rates == {1, 2}
    said = findings(profiles, {1: "a", 2: "b"}, made_up.found().certainty, Wording(), found, kept_back)
    assert "its rate would tell of too few who came" in said[1]
    assert not re.search(r"\b6\b|\b2 of|10 %", said[1])


def page_with(min_cell, found=None):
    report = made_up.report_of(found or made_up.answered(), "Whom to invite")
    return Page(render_report(dataclasses.replace(report, min_cell=min_cell)))


def test_the_page_tells_no_few():
    """Ten of thirty had the outcome, or had it not, and ten of forty were not invited: with eleven as the least, no
    segment's rate may be told, nor how many were invited, and everybody's may."""
    found = made_up.answered()
    whole = found.answer.rates.whole
    assert sorted(segment.rate.hits for segment in found.answer.rates.segments) == [10, 10, 10, 20]
    words = page_with(10).words.replace("\N{NO-BREAK SPACE}", " ")
    assert words.count("of 30 invited (75 % of the segment)") == 4
    assert "stands for what would tell" not in words
    words = page_with(11).words.replace("\N{NO-BREAK SPACE}", " ")
    assert f"over all segments {100 * whole.hits / whole.base:.0f} % of 120" in words
    assert f"“{FEW}” stands for what would tell of a group of fewer than 11" in words
    screen = words[: words.index("The segments Share of")]
    rows = words[words.index("Each segment with its size") : words.index("Names are proposals")]
    assert rows.count(f"{FEW}of nearly all invited") == 4
    assert "Its rate is not told: that would tell of a group of fewer than 11." in screen
    assert "were not invited from" not in screen
    assert "certainty" not in screen
    for hidden in ("33 %", "67 %", "of 30"):
        assert hidden not in rows + screen
    assert not re.search(r"\b(nan|None)\b", words)


def test_the_reason_for_k_tells_no_few():
    found = made_up.answered()
    said = (
        "No k of 4 to 5 meets the limits (at least 2,000 in each segment); k = 4 comes nearest "
        "(smallest segment {} < 2,000)."
    )
    for size, told in (("7", "under 10"), ("1,234", "1,234")):
        choice = dataclasses.replace(found.choice, reason=said.format(size))
        words = page_with(10, dataclasses.replace(found, choice=choice)).words
        assert words.count(said.format(told)) == 2


def test_review_and_findings_tell_nothing_of_a_small_segment():
    ids = segments(70, 60, 5)
    values = np.concatenate([np.arange(70), np.arange(60) + 500, np.arange(5) + 9000])
    profiles = profiles_of(ids, visits=values, spend=values.astype(float))
    kept_back = withheld(profiles, 10)
    assert kept_back.sizes == {2, 3}
    names = {1: "a", 2: "b", 3: "c"}
    text = review_bytes(profiles, names, "", kept_back).decode()
    assert "9,002" in review_bytes(profiles, names).decode()
    assert "9,002" not in text
    assert text.count("not shown: too few") == 2
    plain = findings(profiles, names, made_up.found().certainty, Wording())
    told = findings(profiles, names, made_up.found().certainty, Wording(), withheld=kept_back)
    assert '"c" holds 3.7 %' in plain[1]
    assert not any('"c"' in sentence for sentence in told)


def retention_of(first_months):
    """One purchase a month from a first month on, so many months, of each customer."""
    rows = [
        (f"K{number}", dt.date(2024, first + age, 15))
        for number, (first, ages) in enumerate(first_months)
        for age in ages
    ]
    table = pa.table(
        {"who": [key for key, _ in rows], "at": [at for _, at in rows], "paid": [1.0] * len(rows)}
    )
    tx = read_transactions(table, customer="who", time="at", amount="paid", time_zone="UTC")
    return cohort_retention(tx, "month", ("2024-01-01", "2024-04-30"))


def test_cohorts_tell_no_few():
    plans = (
        [(1, (0, 1, 2))] * 12 + [(1, (0, 1))] * 3 + [(2, (0, 2))] * 20 + [(3, (0, 1))] * 5 + [(4, (0,))] * 40
    )
    retention = retention_of(plans)
    kept_back = withheld_cohorts(retention, 10)
    # Five came in March, and the fifteen of January go with them; all 80 came in these months.
    assert kept_back.sizes.tolist() == [True, False, True, False]
    table = cohorts_table(retention, 10)
    assert table["size"].to_pylist()[4:8] == [20] * 4
    assert table["active"].to_pylist()[4:7] == [20, 0, 20]
    for first in (0, 8):
        assert table["active"].to_pylist()[first : first + 4] == [None] * 4
        assert table["revenue"].to_pylist()[first : first + 4] == [None] * 4
        assert table["size"].to_pylist()[first : first + 4] == [None] * 4
    assert table["withheld"].to_pylist()[8:12] == [
        True,
        True,
        False,
        False,
    ]  # what nobody can observe is not withheld
    smaller = cohorts_table(retention, 4)  # three of fifteen bought twice only
    assert smaller["size"].to_pylist()[0] == 15
    assert smaller["active"].to_pylist()[:4] == [15, 15, None, 0]
    exact = retention.to_arrow()
    assert cohorts_table(retention, 1).drop_columns("withheld").equals(exact)


def test_the_page_adds_up_told_cohorts_only():
    found = made_up.found()
    html = render_report(made_up.report_of(found))
    (row,) = re.findall(r'<tr class="together">(.*?)</tr>', html, flags=re.DOTALL)
    bases = [int(base) for base in re.findall(r"of ([\d,]+) observable", row)]
    sizes = [count for count in found.retention.counts[:, 0].tolist() if not math.isnan(count) and count]
    assert sorted(sizes) == [4.0, 20.0, 20.0]
    assert bases
    assert set(bases) == {20}


def test_one_segment_and_none_small():
    profiles = profiles_of(segments(30), visits=np.arange(30))
    assert not withheld(profiles, 10).any
    assert withheld(profiles_of(segments(5), visits=np.arange(5)), 10).whole == {"visits"}
