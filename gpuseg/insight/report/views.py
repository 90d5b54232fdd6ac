"""The segments in words and figures (room ``insight``; the page calls it): first screen, names, profiles.

Views are plain dictionaries of finished text: the template decides nothing but where it stands.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from gpuseg.insight.disclosure import is_small
from gpuseg.insight.findings import findings, not_placed
from gpuseg.insight.naming import Difference
from gpuseg.insight.profile import HIGH_INDEX, MIN_BASE, Figures, MeasureProfile, SegmentFigures
from gpuseg.insight.report import plots
from gpuseg.insight.report.answers import features_until, shown_count, told_differences
from gpuseg.insight.words import (
    FEW,
    NONE,
    format_day,
    format_figure,
    format_percent,
    format_score,
    list_words,
)

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
        "largest": FEW if _largest(report) in report.withheld.sizes else f"{max(profiles.sizes):,}",
        "until": features_until(report),
        "unplaced": not_placed(report.unplaced, wording, report.min_cell),
        "findings": findings(profiles, report.names, certainty, wording, withheld=report.withheld)[:-1],
        "verdict": certainty.verdict,
        "silhouette": format_score(certainty.silhouette),
        "elsewhere": format_percent(elsewhere / profiles.n_customers),
        "largest_share": FEW
        if _largest(report) in report.withheld.sizes
        else format_percent(certainty.largest_share),
        "effective": FEW if report.withheld.sizes else f"{certainty.effective_segments:.1f}",
        "withheld": report.withheld.any,
        "min_cell": report.min_cell,
    }


def _largest(report: Report) -> int:
    return report.profiles.segment_ids[report.profiles.sizes.index(max(report.profiles.sizes))]


def covered_days(report: Report) -> tuple[Any, Any]:
    """First and last day of the records."""
    return report.retention.coverage


def segments(report: Report) -> dict[str, Any]:
    """A row a segment, and how customers and spend split into segments."""
    profiles, kept_back = report.profiles, report.withheld
    told = [number for number in profiles.segment_ids if number not in kept_back.sizes]
    shares = [(segment_id, profiles.share(segment_id)) for segment_id in told]
    spend = [
        (segment_id, profiles.share_of("spend", segment_id) or 0.0)
        for segment_id in told
        if segment_id not in kept_back.measure("spend")
    ]
    return {
        "rows": [
            {
                "id": segment_id,
                "colour": plots.colour(segment_id),
                "name": report.names[segment_id],
                "size": f"{profiles.size(segment_id):,}" if segment_id in told else FEW,
                "share": format_percent(dict(shares)[segment_id]) if segment_id in told else FEW,
                "spend": format_percent(dict(spend)[segment_id]) if segment_id in dict(spend) else FEW,
                "withheld": segment_id not in told,
                "differences": [
                    _difference(found, report)
                    for found in told_differences(report, segment_id)[:N_DIFFERENCES]
                ],
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
    """For each measure on a scale that may name a segment, where each segment stands against the rest."""
    strips = []
    for entry in report.profiles.measures:
        if not entry.measure.family or entry.measure.binary:
            continue
        marks = [
            plots.Mark(found.segment_id, found.superiority)
            for found in entry.segments
            if not math.isnan(found.superiority)
            and found.segment_id not in report.withheld.measure(entry.measure.column)
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
            "all": FEW
            if entry.measure.column in report.withheld.whole
            else format_percent(entry.population.mean),
            "cells": [
                {"share": FEW, "index": None}
                if found.segment_id in report.withheld.measure(entry.measure.column)
                else {
                    "share": format_figure(found.figures.mean, entry.measure.unit),
                    "index": _index(entry, found, report),
                }
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
                "all": _score(found.population, few=is_small(found.population.known, report.min_cell)),
                "cells": [
                    _score(figures, few=segment_id in report.withheld.styles[found.style.name])
                    for segment_id, figures in found.segments
                ],
                "width": FEW if math.isnan(found.half_width) else f"± {format_score(found.half_width)}",
                "halves": FEW if few else format_score(steady.correlation),
                "base": shown_count(steady.n_customers, report),
            }
        )
    return rows


def _in_words(formula: str, wording: Wording) -> str:
    own = {"customer": wording.customer, "customers": wording.customers}
    return re.sub(r"\bcustomers?\b", lambda match: own[match[0]], formula)


def _score(figures: Figures, *, few: bool) -> str:
    return FEW if few else NONE if not figures.known else format_score(figures.median)


def _difference(found: Difference, report: Report) -> dict[str, str]:
    unit, sign = found.measure.unit, report.wording.currency
    return {
        "phrase": found.phrase[:1].upper() + found.phrase[1:],
        "figure": "mean " if found.figure == "mean" else "",
        "own": format_figure(found.typical, unit, sign),
        "all": format_figure(found.population_typical, unit, sign),
    }


def _figure(entry: MeasureProfile, found: SegmentFigures | None, report: Report) -> dict[str, Any]:
    shown = entry.population if found is None else found.figures
    column, kept_back = entry.measure.column, report.withheld
    if column in kept_back.whole or (found is not None and found.segment_id in kept_back.measure(column)):
        return {"median": FEW, "mean": FEW, "index": None}
    unit, sign = entry.measure.unit, report.wording.currency
    return {
        "median": format_figure(shown.median, unit, sign),
        "mean": format_figure(shown.mean, unit, sign),
        "index": None if found is None else _index(entry, found, report),
    }


def _index(entry: MeasureProfile, found: SegmentFigures, report: Report) -> dict[str, str] | None:
    if found.index is None:
        return None
    if found.figures.known < MIN_BASE:
        if found.segment_id in report.withheld.number_known(entry.measure.column):
            return {"text": "too few to say", "mark": ""}
        return {"text": f"too few to say (n = {found.figures.known:,})", "mark": ""}
    mark = ("high" if round(found.index) >= HIGH_INDEX else "low") if found.stands_out else ""
    return {"text": f"{found.index:,.0f}", "mark": mark}


def _listed(parts: list[tuple[int, float]]) -> str:
    return list_words([f"segment {number} {format_percent(share)}" for number, share in parts])
