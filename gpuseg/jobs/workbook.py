"""Profiles as a workbook (jobs; for the files of a run): what people open in a spreadsheet, the same bytes again."""

from __future__ import annotations

import io
import math
from datetime import datetime
from typing import Any

import xlsxwriter

from gpuseg.insight.answer import Answer
from gpuseg.insight.outcome import SegmentOutcome
from gpuseg.insight.profile import Profiles
from gpuseg.insight.withheld import Withheld
from gpuseg.insight.words import FEW

_FORMATS = {"count": "#,##0.0", "money": "#,##0.00", "days": "#,##0.0", "share": "0.0%", "score": "0.00"}


def profiles_workbook(
    profiles: Profiles,
    names: dict[int, str],
    answer: Answer | None,
    withheld: Withheld,
    started: datetime,
) -> bytes:
    """A workbook of two sheets: the segments, and their figures in original units.

    Parameters
    ----------
    profiles : Profiles
        Of all segments.
    names : dict of int to str
        By segment id.
    answer : Answer or None
        The outcome in each segment.
    withheld : Withheld
        What is not told of them: a mark stands there.
    started : datetime
        When the run began: the creation date of the workbook, so that the same run gives the same bytes.

    Returns
    -------
    bytes
        An XLSX file.
    """
    buffer = io.BytesIO()
    options = {
        "in_memory": True,
        "nan_inf_to_errors": False,
        "strings_to_formulas": False,
        "strings_to_urls": False,
    }
    with xlsxwriter.Workbook(buffer, options) as book:
        book.set_properties({"created": started.replace(tzinfo=None)})
        styles = {unit: book.add_format({"num_format": text}) for unit, text in _FORMATS.items()}
        styles["head"] = book.add_format({"bold": True, "bottom": 1, "text_wrap": True})
        styles["few"] = book.add_format({"align": "right"})
        _segments(book.add_worksheet("Segments"), profiles, names, answer, withheld, styles)
        _figures(book.add_worksheet("Figures"), profiles, names, withheld, styles)
    return buffer.getvalue()


def _segments(
    sheet: Any,
    profiles: Profiles,
    names: dict[int, str],
    answer: Answer | None,
    withheld: Withheld,
    styles: dict[str, Any],
) -> None:
    heads = ["Segment", "Name", "Customers", "Share"]
    if answer is not None:
        heads += [
            "Contacted",
            "With the outcome",
            "Rate of those contacted",
            "Low (95 %)",
            "High (95 %)",
            "Suggestion",
        ]
    sheet.write_row(0, 0, heads, styles["head"])
    for row, segment_id in enumerate(profiles.segment_ids, start=1):
        sheet.write_row(row, 0, [segment_id, names[segment_id]])
        if segment_id in withheld.sizes:
            sheet.write_row(row, 2, [FEW, FEW], styles["few"])
        else:
            sheet.write(row, 2, profiles.size(segment_id))
            sheet.write(row, 3, profiles.share(segment_id), styles["share"])
        if answer is not None:
            _outcome(sheet, row, answer.rates.segment(segment_id), withheld, styles)
            sheet.write(row, 9, answer.suggestion(segment_id))
    sheet.set_column(1, 1, 36)
    sheet.set_column(9, 9, 60)
    sheet.freeze_panes(1, 2)


def _outcome(sheet: Any, row: int, found: SegmentOutcome, withheld: Withheld, styles: dict[str, Any]) -> None:
    rate, number = found.rate, found.segment_id
    counted = number not in withheld.contacted | withheld.nearly_all
    told = number not in withheld.rates
    sheet.write(row, 4, rate.base if counted else FEW, None if counted else styles["few"])
    exact = counted and told
    sheet.write(row, 5, rate.hits if exact else FEW, None if exact else styles["few"])
    if not told:
        sheet.write_row(row, 6, [FEW] * 3, styles["few"])
    elif rate.base:
        shares = (rate.value, *rate.interval)
        # To the percent where the base is not told: the exact share would tell it.
        sheet.write_row(row, 6, shares if counted else [round(end, 2) for end in shares], styles["share"])


def _figures(
    sheet: Any, profiles: Profiles, names: dict[int, str], withheld: Withheld, styles: dict[str, Any]
) -> None:
    """A row a measure: median, mean and index of everybody and of each segment."""
    heads = ["Measure", "Figure", "All"]
    sheet.write_row(
        0, 0, heads + [f"{number} {names[number]}" for number in profiles.segment_ids], styles["head"]
    )
    row = 1
    for entry in profiles.measures:
        style, column = styles[entry.measure.unit.value], entry.measure.column
        few = [column in withheld.whole] + [s.segment_id in withheld.measure(column) for s in entry.segments]
        for what in ("median", "mean"):
            values = [
                getattr(figures, what) for figures in (entry.population, *(s.figures for s in entry.segments))
            ]
            _write(sheet, row, [entry.measure.label, what], _told(values, few), style)
            row += 1
        if any(found.index is not None for found in entry.segments):
            indices = [math.nan if found.index is None else found.index for found in entry.segments]
            told = _told([100.0, *indices], few)
            _write(sheet, row, [entry.measure.label, "index (all = 100)"], told, styles["count"])
            row += 1
    sheet.set_column(0, 1, 26)
    sheet.set_column(2, 2 + len(profiles.segment_ids), 16)
    sheet.freeze_panes(1, 3)


def _told(values: list[float], few: list[bool]) -> list[float | str]:
    return [FEW if hidden else value for value, hidden in zip(values, few, strict=True)]


def _write(sheet: Any, row: int, heads: list[str], values: list[float | str], style: Any) -> None:
    sheet.write_row(row, 0, heads)
    for column, value in enumerate(values, start=len(heads)):
        if isinstance(value, str):
            sheet.write_string(row, column, value, style)
        elif not math.isnan(value):
            sheet.write_number(row, column, value, style)
