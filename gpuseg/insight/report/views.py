"""The segments in words and figures (room ``insight``; the page calls it): first screen, names, profiles.

Views are plain dictionaries of finished text: the template decides nothing but where it stands.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from gpuseg.insight.findings import findings
from gpuseg.insight.naming import Difference, differences
from gpuseg.insight.profile import HIGH_INDEX, MIN_BASE, Figures, MeasureProfile, SegmentFigures
from gpuseg.insight.report import plots
from gpuseg.insight.report.answers import features_until, shown_count
from gpuseg.insight.words import FEW, format_day, format_figure, format_percent, format_score, list_words

if TYPE_CHECKING:
    from gpuseg.insight.report.record import Report
    from gpuseg.insight.words import Wording

N_DIFFERENCES = 3


def summary(report: Report) -> dict[str, Any]:
    """The first screen: what was asked, what came out, how sure."""
    profiles, certainty, wording = report.profiles, report.certainty, report.wording
    first, last = (format_day(day) for day in covered_days(report))
    elsewhere = sum(found.nearer_elsewhere * profiles.size(found.segment_id) for found in certainty.segments)
    return {
        "period": f"{first} to {last}",
        "customers": wording.count(profiles.n_customers),
        "n_segments": len(profiles.segment_ids),
        "smallest": shown_count(min(profiles.sizes), report),
        "largest": shown_count(max(profiles.sizes), report),
        "until": features_until(report),
        "findings": findings(profiles, report.names, certainty, wording)[:-1],
        "verdict": certainty.verdict,
        "silhouette": format_score(certainty.silhouette),
        "elsewhere": format_percent(elsewhere / profiles.n_customers),
        "largest_share": format_percent(certainty.largest_share),
        "effective": f"{certainty.effective_segments:.1f}",
    }


def covered_days(report: Report) -> tuple[Any, Any]:
    """First and last day of the records."""
    return report.retention.coverage


def segments(report: Report) -> dict[str, Any]:
    """A row a segment, and how customers and spend split into segments."""
    profiles = report.profiles
    told = [number for number in profiles.segment_ids if profiles.size(number) >= report.min_cell]
    shares = [(segment_id, profiles.share(segment_id)) for segment_id in told]
    spend = [(segment_id, profiles.share_of("spend", segment_id) or 0.0) for segment_id in told]
    return {
        "rows": [
            {
                "id": segment_id,
                "colour": plots.colour(segment_id),
                "name": report.names[segment_id],
                "size": shown_count(profiles.size(segment_id), report),
                "share": format_percent(dict(shares)[segment_id]) if segment_id in told else FEW,
                "spend": format_percent(dict(spend)[segment_id]) if segment_id in told else FEW,
                "differences": [
                    _difference(found, report) for found in differences(profiles, segment_id)[:N_DIFFERENCES]
                ]
                if segment_id in told
                else [],
            }
            for segment_id in profiles.segment_ids
        ],
        "bars": [
            {"what": what, "bar": plots.stacked_bar(f"{what}: {_listed(parts)}", parts)}
            for what, parts in (
                (f"Share of {report.wording.customers}", shares),
                ("Share of spend", spend),
            )
        ],
    }


def difference_strips(report: Report) -> list[dict[str, Any]]:
    """For each measure that may name a segment, where each segment stands against the rest."""
    strips = []
    for entry in report.profiles.measures:
        if not entry.measure.family:
            continue
        marks = [
            plots.Mark(found.segment_id, found.superiority)
            for found in entry.segments
            if not math.isnan(found.superiority) and found.figures.known >= report.min_cell
        ]
        said = ", ".join(f"segment {mark.number} {100 * mark.share:.0f}" for mark in marks)
        label = f"{entry.measure.label}, in 100 random pairs: {said}"
        strips.append({"label": entry.measure.label, "strip": plots.dot_strip(label, marks)})
    return strips


def figures(report: Report) -> list[dict[str, Any]]:
    """Median, mean and index of each measure, for everybody and for each segment."""
    return [
        {
            "label": entry.measure.label,
            "note": entry.measure.note,
            "all": _figure(entry, None, report),
            "cells": [_figure(entry, found, report) for found in entry.segments],
        }
        for entry in report.profiles.measures
        if not entry.measure.is_category and not entry.measure.binary
    ]


def categories(report: Report) -> list[dict[str, Any]]:
    """Mean share and index of each category, for everybody and for each segment."""
    return _shares([entry for entry in report.profiles.measures if entry.measure.is_category], report)


def levels(report: Report) -> list[dict[str, Any]]:
    """Share and index of each value of an attribute, for everybody and for each segment."""
    return _shares([entry for entry in report.profiles.measures if entry.measure.binary], report)


def _shares(measures: list[MeasureProfile], report: Report) -> list[dict[str, Any]]:
    return [
        {
            "label": entry.measure.label,
            "all": format_percent(entry.population.mean),
            "cells": [
                {"share": format_figure(found.figures.mean, entry.measure.unit), "index": _index(found)}
                if found.figures.known >= report.min_cell
                else {"share": FEW, "index": None}
                for found in entry.segments
            ],
        }
        for entry in measures
    ]


def styles(report: Report) -> list[dict[str, Any]]:
    """Median of each spending style, for everybody and for each segment, and how far to trust one score."""
    rows = []
    for found in report.styles:
        steady = found.reliability
        few = math.isnan(steady.correlation) or steady.n_customers < report.min_cell
        rows.append(
            {
                "label": found.style.label,
                "means": f"low: {found.style.low}; high: {found.style.high}",
                "formula": _in_words(found.style.formula, report.wording),
                "all": _score(found.population, report),
                "cells": [_score(figures, report) for _, figures in found.segments],
                "width": FEW if math.isnan(found.half_width) else f"± {format_score(found.half_width)}",
                "halves": FEW if few else format_score(steady.correlation),
                "base": shown_count(steady.n_customers, report),
            }
        )
    return rows


def _in_words(formula: str, wording: Wording) -> str:
    own = {"customer": wording.customer, "customers": wording.customers}
    return re.sub(r"\bcustomers?\b", lambda match: own[match[0]], formula)


def _score(figures: Figures, report: Report) -> str:
    return format_score(figures.median) if figures.known >= report.min_cell else FEW


def _difference(found: Difference, report: Report) -> dict[str, str]:
    unit, sign = found.measure.unit, report.wording.currency
    return {
        "phrase": found.phrase[:1].upper() + found.phrase[1:],
        "own": format_figure(found.typical, unit, sign),
        "all": format_figure(found.population_typical, unit, sign),
    }


def _figure(entry: MeasureProfile, found: SegmentFigures | None, report: Report) -> dict[str, Any]:
    shown = entry.population if found is None else found.figures
    if shown.known < report.min_cell:
        return {"median": FEW, "mean": FEW, "index": None}
    unit, sign = entry.measure.unit, report.wording.currency
    return {
        "median": format_figure(shown.median, unit, sign),
        "mean": format_figure(shown.mean, unit, sign),
        "index": None if found is None else _index(found),
    }


def _index(found: SegmentFigures) -> dict[str, str] | None:
    if found.index is None:
        return None
    if found.figures.known < MIN_BASE:
        return {"text": f"too few to say (n = {found.figures.known:,})", "mark": ""}
    mark = ("high" if round(found.index) >= HIGH_INDEX else "low") if found.stands_out else ""
    return {"text": f"{found.index:,.0f}", "mark": mark}


def _listed(parts: list[tuple[int, float]]) -> str:
    return list_words([f"segment {number} {format_percent(share)}" for number, share in parts])
