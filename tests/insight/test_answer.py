"""The answer to a decision: suggestions that follow from rates, and never from a cause."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from gpuseg.insight.answer import Asked, answer
from gpuseg.insight.outcome import Outcome

WINDOW = (dt.date(2024, 1, 1), dt.date(2024, 1, 31))


def found(groups, *, contacts=True):
    """An answer from (customers, contacted, with the outcome) of segments 1, 2, ..."""
    ids, contacted, happened, key = [], [], [], 0
    for number, (size, base, hits) in enumerate(groups, start=1):
        ids += [number] * size
        contacted += range(key, key + base)
        happened += range(key, key + hits)
        key += size
    outcome = Outcome(WINDOW, pa.array(contacted) if contacts else None, pa.array(happened), 0)
    asked = Asked(outcome, "came", "called", "call")
    table = pa.table({"visits": pa.array(np.arange(key) % 7)})
    return answer(asked, pa.array(range(key)), np.array(ids, np.int32), table)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([(100, 40, 30), (100, 60, 6)], "Consider first, as a randomised test."),
        ([(100, 90, 20), (100, 50, 30)], "Last in line: below the rest of those called."),
        ([(100, 90, 45), (200, 90, 60)], "Last in line: below the rest of those called."),
        ([(100, 95, 60), (300, 60, 30)], "Keep: most are called already, so few can be added."),
        ([(100, 20, 15), (300, 60, 30)], "Too few called to say: try a random sample before more."),
        (
            [(100, 60, 30), (300, 60, 29)],
            "No clear difference from the rest of those called: decide by cost.",
        ),
    ],
)
def test_what_to_do_about_a_segment(groups, said):
    assert found(groups).suggestion(1) == said


def test_without_contacts_nobody_is_said_to_be_contacted():
    told = found([(100, 0, 60), (300, 0, 60)], contacts=False)
    assert told.asked.counted == "observed"
    assert told.rates.whole.base == 400
    assert not any("called" in told.suggestion(number) for number in (1, 2))


def test_truths_are_known_of_those_contacted():
    asked = found([(3, 2, 1), (3, 2, 0)]).asked
    truths = asked.truths(pa.array(range(6)))
    assert truths[[0, 1, 3, 4]].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert np.isnan(truths[[2, 5]]).all()
