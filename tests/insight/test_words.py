"""Figures as people write them."""

from __future__ import annotations

import datetime as dt
import math

import pytest

from gpuseg.insight.words import (
    NONE,
    Unit,
    Wording,
    format_day,
    format_figure,
    format_percent,
    format_score,
    list_words,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (27.344, Unit.MONEY, "$27.34"),
        (1209.6, Unit.MONEY, "$1,210"),
        (-3.5, Unit.MONEY, "\N{MINUS SIGN}$3.50"),
        (0.153, Unit.SHARE, "15\N{NO-BREAK SPACE}%"),
        (6.0, Unit.DAYS, "6\N{NO-BREAK SPACE}days"),
        (1.0, Unit.DAYS, "1\N{NO-BREAK SPACE}day"),
        (1210.0, Unit.COUNT, "1,210"),
        (87.5, Unit.COUNT, "87.5"),
        (-0.123, Unit.SCORE, "\N{MINUS SIGN}0.12"),
        (-0.001, Unit.SCORE, "0.00"),
        (None, Unit.SHARE, NONE),
        (math.nan, Unit.DAYS, NONE),
    ],
)
def test_figures(value, unit, text):
    assert format_figure(value, unit, "$") == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "< 0.1 %"), (0.0006, "0.1 %"), (0.0994, "9.9 %"), (0.0999, "10 %"), (1, "100 %")],
)
def test_percentages(share, text):
    assert format_percent(share).replace("\N{NO-BREAK SPACE}", " ") == text


def test_sentences():
    assert Wording("household", "households").count(1) == "1 household"
    assert Wording("household", "households").count(2469) == "2,469 households"
    assert format_day(dt.date(2017, 1, 9)) == "9\N{NO-BREAK SPACE}January 2017"
    assert [list_words(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert format_score(1) == "1.00"
