"""Plots as inline SVG, written by hand (room ``insight``; the report calls it).

No plotting library: a few marks need none, and the bytes are the same everywhere. Positions are percentages, so a plot
fills the width of a phone or a page while its text keeps its size; colours are classes of the page's style sheet.
Each plot is one image to a screen reader, with all of its figures in the label. Every text is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

N_COLOURS = 8
"""Classes ``s1`` ... of the style sheet; a ninth segment starts again, its number still tells it apart."""

_RADIUS = 10
_LANE = 22
_APART = 6.5
"""Marks nearer than this (percent of the width) get lanes of their own: they would touch on a phone."""
_LEFT, _RIGHT = 11.0, 96.0


@dataclass(frozen=True)
class Mark:
    """A numbered dot at ``share`` (0 to 1) of the width."""

    number: int
    share: float


def colour(number: int) -> str:
    """Class of a segment's colour."""
    return f"s{(number - 1) % N_COLOURS + 1}"


def stacked_bar(label: str, shares: Sequence[tuple[int, float]]) -> str:
    """One bar cut into numbered shares.

    Parameters
    ----------
    label : str
        Says all that the bar shows.
    shares : sequence of (int, float)
        Number and share of each part, from left to right.
    """
    parts, left = [], 0.0
    for number, share in shares:
        width = 100.0 * share
        parts.append(
            f'<rect class="{colour(number)}" x="{left:.2f}%" y="0" width="{width:.2f}%" height="26"/>'
        )
        if share >= 0.04:
            parts.append(f'<text class="on" x="{left + width / 2:.2f}%" y="18">{number}</text>')
        left += width
    return _image(label, 26, parts)


def dot_strip(label: str, marks: Sequence[Mark]) -> str:
    """Numbered dots on a line from 0 to 1, with the middle marked.

    Parameters
    ----------
    label : str
        Says all that the strip shows.
    marks : sequence of Mark
        The dots; those that would touch stand in lanes.
    """
    lanes = _lanes(marks)
    height = _LANE * (max(lanes.values(), default=0) + 1) + 4
    parts = [
        f'<line class="rule" x1="3%" x2="97%" y1="{height / 2:.0f}" y2="{height / 2:.0f}"/>',
        f'<line class="middle" x1="50%" x2="50%" y1="0" y2="{height}"/>',
    ]
    for mark in marks:
        x = f"{3 + 94 * mark.share:.2f}%"
        y = lanes[mark.number] * _LANE + _LANE // 2 + 2
        parts.append(f'<circle class="{colour(mark.number)}" cx="{x}" cy="{y}" r="{_RADIUS}"/>')
        parts.append(f'<text class="on" x="{x}" y="{y + 4}">{mark.number}</text>')
    return _image(label, height, parts)


def range_strip(
    label: str, number: int, low: float, middle: float, high: float, axis: tuple[float, float]
) -> str:
    """A line from ``low`` to ``high`` with a dot at ``middle``, and 0 marked.

    Parameters
    ----------
    label : str
        Says all that the strip shows.
    number : int
        Of the segment: its colour.
    low, middle, high : float
        Within the axis.
    axis : (float, float)
        Values at the two ends; 0 lies between them.
    """

    def place(value: float) -> str:
        return f"{3 + 94 * (value - axis[0]) / (axis[1] - axis[0]):.2f}%"

    return _image(
        label,
        24,
        [
            f'<line class="middle" x1="{place(0)}" x2="{place(0)}" y1="0" y2="24"/>',
            f'<line class="reach {colour(number)}" x1="{place(low)}" x2="{place(high)}" y1="12" y2="12"/>',
            f'<circle class="{colour(number)}" cx="{place(middle)}" cy="12" r="7"/>',
        ],
    )


@dataclass(frozen=True)
class Curve:
    """What a line chart shows.

    Parameters
    ----------
    label : str
        Says all that the chart shows.
    points : sequence of (str, float)
        Words on the axis and value (0 or more), evenly spaced.
    top : float
        Value at the upper edge.
    ticks : sequence of (float, str, str)
        Values with a line across, their words on the axis, and a note above the line's end.
    chosen : int or None
        Position of the point to stress.
    x_title : str
        Under the axis.
    """

    label: str
    points: Sequence[tuple[str, float]]
    top: float
    ticks: Sequence[tuple[float, str, str]]
    chosen: int | None
    x_title: str


def line_chart(curve: Curve) -> str:
    """Points joined by straight lines over a few marked values."""
    height, floor, ceiling = 220, 176.0, 18.0
    n = len(curve.points)

    def across(position: int) -> float:
        return (_LEFT + _RIGHT) / 2 if n == 1 else _LEFT + 4 + (_RIGHT - _LEFT - 8) * position / (n - 1)

    def up(value: float) -> float:
        return floor - (floor - ceiling) * min(max(value, 0.0), curve.top) / curve.top

    parts = []
    for value, words, note in curve.ticks:
        y = up(value)
        parts.append(f'<line class="rule" x1="{_LEFT}%" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 1.5}%" y="{y + 4:.1f}">{escape(words)}</text>')
        if note:
            parts.append(f'<text class="aside" x="100%" y="{y - 6:.1f}">{escape(note)}</text>')
    places = [(across(position), up(value)) for position, (_, value) in enumerate(curve.points)]
    for (x1, y1), (x2, y2) in pairwise(places):
        parts.append(f'<line class="curve" x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}"/>')
    for position, ((x, y), (words, _)) in enumerate(zip(places, curve.points, strict=True)):
        stressed = position == curve.chosen
        parts.append(
            f'<circle class="{"point chosen" if stressed else "point"}" cx="{x:.2f}%" cy="{y:.1f}" '
            f'r="{8 if stressed else 5}"/>'
        )
        parts.append(
            f'<text class="{"word chosen" if stressed else "word"}" x="{x:.2f}%" y="{floor + 20:.0f}">'
            f"{escape(words)}</text>"
        )
    parts.append(
        f'<text class="word" x="{(_LEFT + _RIGHT) / 2:.1f}%" y="{height - 4}">{escape(curve.x_title)}</text>'
    )
    return _image(curve.label, height, parts)


def _lanes(marks: Sequence[Mark]) -> dict[int, int]:
    """A lane for each dot, from the left: the first in which it touches no other."""
    last: list[float] = []
    lanes = {}
    for mark in sorted(marks, key=lambda mark: (mark.share, mark.number)):
        place = 94 * mark.share
        lane = next((i for i, end in enumerate(last) if place - end >= _APART), len(last))
        last[lane : lane + 1] = [place]
        lanes[mark.number] = lane
    return lanes


def _image(label: str, height: int, parts: Sequence[str]) -> str:
    opening = f'<svg role="img" aria-label="{escape(label)}" width="100%" height="{height}">'
    return opening + "".join(parts) + "</svg>"
