"""Marks that do not overlap, shares that fill the bar, curves that stay on the page, texts that are escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.insight.report import plots
from gpuseg.insight.report.plots import Curve, Mark


def drawn(svg: str, tag: str) -> list[dict[str, str]]:
    return [element.attrib for element in ET.fromstring(svg).iter(tag)]


def percent(text: str) -> float:
    return float(text.removesuffix("%"))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_dots_do_not_touch(shares):
    marks = [Mark(number, share) for number, share in enumerate(shares, 1)]
    svg = plots.dot_strip("label", marks)
    places = [(percent(dot["cx"]), float(dot["cy"])) for dot in drawn(svg, "circle")]
    assert len(places) == len(marks)
    for i, (x, y) in enumerate(places):
        assert 3 <= x <= 97
        assert 10 <= y <= float(re.search(r'height="(\d+)"', svg)[1]) - 10
        assert all(abs(x - x2) >= 6.4 or abs(y - y2) >= 20 for x2, y2 in places[:i])


def test_shares_fill_the_bar():
    svg = plots.stacked_bar("label", [(1, 0.5), (2, 0.48), (9, 0.02)])
    bars = drawn(svg, "rect")
    assert [percent(bar["x"]) for bar in bars] == [0, 50, 98]
    assert sum(percent(bar["width"]) for bar in bars) == pytest.approx(100)
    assert [bar["class"] for bar in bars] == ["s1", "s2", "s1"]
    assert svg.count("<text") == 2  # a sliver has no room for its number


def test_a_curve_stays_on_the_page():
    curve = Curve(
        "label", [("3", 0.1), ("4", 9.0), ("5", -1.0)], 0.5, [(0.0, "0", ""), (0.25, "x", "note")], 1, "k"
    )
    svg = plots.line_chart(curve)
    dots = drawn(svg, "circle")
    heights = [float(dot["cy"]) for dot in dots]
    assert heights[1] < heights[0] < heights[2]
    assert all(0 < height < 220 for height in heights)
    assert [dot["class"] for dot in dots] == ["point", "point chosen", "point"]
    assert ">note<" in svg


def test_one_point_stands_in_the_middle():
    (dot,) = drawn(plots.line_chart(Curve("label", [("3", 0.1)], 1.0, [], 0, "k")), "circle")
    assert 40 < percent(dot["cx"]) < 60


def test_a_range_marks_its_zero():
    svg = plots.range_strip("label", 2, -0.1, 0.2, 0.4, (-0.25, 0.5))
    lines = drawn(svg, "line")
    assert percent(lines[0]["x1"]) == pytest.approx(3 + 94 / 3, abs=0.01)
    assert percent(lines[1]["x1"]) < percent(lines[0]["x1"]) < percent(lines[1]["x2"])


def test_texts_are_escaped():
    svg = plots.line_chart(Curve('<a "b">', [("<k>", 0.1)], 1.0, [(0.0, "<0>", "<n>")], 0, "<x>"))
    assert ET.fromstring(svg).attrib["aria-label"] == '<a "b">'
    assert {text.text for text in ET.fromstring(svg).iter("text")} == {"<k>", "<0>", "<n>", "<x>"}
