"""Profiles as a workbook (jobs; for the files of a run): what people open in a spreadsheet, the same bytes again."""

from __future__ import annotations

import io
import math
from datetime import datetime
from typing import Any

import xlsxwriter

from gpuseg.insight.answer import Answer
from gpuseg.insight.profile import Profiles

_FORMATS = {"count": "#,##0.0", "money": "#,##0.00", "days": "#,##0.0", "share": "0.0%", "score": "0.00"}


def profiles_workbook(
    profiles: Profiles, names: dict[int, str], answer: Answer | None, started: datetime
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
        _segments(book.add_worksheet("Segments"), profiles, names, answer, styles)
        _figures(book.add_worksheet("Figures"), profiles, names, styles)
    return buffer.getvalue()


def _segments(
    sheet: Any, profiles: Profiles, names: dict[int, str], answer: Answer | None, styles: dict[str, Any]
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
        sheet.write_row(row, 0, [segment_id, names[segment_id], profiles.size(segment_id)])
        sheet.write(row, 3, profiles.share(segment_id), styles["share"])
        if answer is None:
            continue
        rate = answer.rates.segment(segment_id).rate
        sheet.write_row(row, 4, [rate.base, rate.hits])
        if rate.base:
            sheet.write_row(row, 6, [rate.value, *rate.interval], styles["share"])
        sheet.write(row, 9, answer.suggestion(segment_id))
    sheet.set_column(1, 1, 36)
    sheet.set_column(9, 9, 60)
    sheet.freeze_panes(1, 2)


def _figures(sheet: Any, profiles: Profiles, names: dict[int, str], styles: dict[str, Any]) -> None:
    """A row a measure: median, mean and index of everybody and of each segment."""
    heads = ["Measure", "Figure", "All"]
    sheet.write_row(
        0, 0, heads + [f"{number} {names[number]}" for number in profiles.segment_ids], styles["head"]
    )
    row = 1
    for entry in profiles.measures:
        style = styles[entry.measure.unit.value]
        for what in ("median", "mean"):
            values = [
                getattr(figures, what) for figures in (entry.population, *(s.figures for s in entry.segments))
            ]
            _write(sheet, row, [entry.measure.label, what], values, style)
            row += 1
        if any(found.index is not None for found in entry.segments):
            indices = [math.nan if found.index is None else found.index for found in entry.segments]
            _write(sheet, row, [entry.measure.label, "index (all = 100)"], [100.0, *indices], styles["count"])
            row += 1
    sheet.set_column(0, 1, 26)
    sheet.set_column(2, 2 + len(profiles.segment_ids), 16)
    sheet.freeze_panes(1, 3)


def _write(sheet: Any, row: int, heads: list[str], values: list[float], style: Any) -> None:
    sheet.write_row(row, 0, heads)
    for column, value in enumerate(values, start=len(heads)):
        if not math.isnan(value):
            sheet.write_number(row, column, value, style)
