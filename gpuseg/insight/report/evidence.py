"""The evidence in words and figures (room ``insight``; the page calls it): choice of k, firmness, cohorts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.insight.disclosure import hide_line, is_small
from gpuseg.insight.report import plots
from gpuseg.insight.report.answers import reason, shown_count, stability_of
from gpuseg.insight.withheld import WithheldCohorts, withheld_cohorts
from gpuseg.insight.words import FEW, MONTHS, format_day, format_percent, format_score

if TYPE_CHECKING:
    from gpuseg.customers.cohorts import CohortRetention
    from gpuseg.insight.report.record import Report
    from gpuseg.quality.stability import Stability

_NEAR = 0.05
"""Silhouettes that lie within so little of each other hardly prefer one k."""
_BAND_LINES = (
    (0.25, "0.25", "above this line: weak structure"),
    (0.5, "0.5", "above this line: reasonable structure"),
    (0.7, "0.7", "above this line: strong structure"),
)


def choice(report: Report) -> dict[str, Any]:
    """Every k that was tried, with its scores."""
    found = report.choice
    scores = [entry.silhouette for entry in found.evidence]
    spread = max(scores) - min(scores)
    said = ", ".join(f"k = {entry.k}: {entry.silhouette:.3f}" for entry in found.evidence)
    top = max(0.3, max(scores) * 1.1)
    tested = all(entry.stability is not None for entry in found.evidence)
    separated = all(entry.separation is not None for entry in found.evidence)
    bands = _BAND_LINES if found.metric == "euclidean" else ()
    curve = plots.Curve(
        label=f"Mean silhouette by number of segments. {said}",
        points=[(str(entry.k), entry.silhouette) for entry in found.evidence],
        top=top,
        ticks=[(0.0, "0", ""), *(line for line in bands if line[0] <= top)],
        chosen=[entry.k for entry in found.evidence].index(found.k),
        x_title="number of segments",
    )
    return {
        "k": found.k,
        "reason": reason(report),
        "euclidean": found.metric == "euclidean",
        "near": spread < _NEAR and len(scores) > 1,
        "spread": f"{spread:.3f}",
        "by_silhouette": found.rule == "silhouette",
        "stability": tested,
        "separation": separated,
        "chart": plots.line_chart(curve),
        "rows": [
            {
                "k": entry.k,
                "chosen": entry.k == found.k,
                "silhouette": f"{entry.silhouette:.3f}",
                "largest": FEW
                if entry.k == 2 and is_small(entry.smallest, report.min_cell)
                else format_percent(entry.largest_share),
                "effective": FEW
                if is_small(entry.smallest, report.min_cell)
                else format_score(entry.effective_segments),
                "inertia": f"{entry.inertia:,.0f}",
                "smallest": shown_count(entry.smallest, report),
                "stability": "" if entry.stability is None else f"{entry.stability.lowest:.3f}",
                "separation": "" if entry.separation is None else f"{entry.separation:.3f}",
                "fails": "; ".join(entry.fails),
            }
            for entry in found.evidence
        ],
    }


def firmness(report: Report) -> dict[str, Any]:
    """How firmly each segment holds its customers."""
    certainty = report.certainty
    low = min(0.0, *(found.tenth for found in certainty.segments))
    high = max(0.0, *(found.ninetieth for found in certainty.segments))
    axis = (math.floor(low * 4) / 4, max(0.25, math.ceil(high * 4) / 4))
    rows = []
    stability = stability_of(report)
    for found in certainty.segments:
        if found.segment_id in report.withheld.sizes:
            continue
        figures = [format_score(value) for value in (found.tenth, found.median, found.ninetieth)]
        label = (
            f"Silhouettes of segment {found.segment_id}: a tenth below {figures[0]}, median {figures[1]}, "
            f"a tenth above {figures[2]}"
        )
        strip = plots.range_strip(label, found.segment_id, found.tenth, found.median, found.ninetieth, axis)
        rows.append(
            {
                "id": found.segment_id,
                "colour": plots.colour(found.segment_id),
                "name": report.names[found.segment_id],
                "strip": strip,
                "median": figures[1],
                "elsewhere": format_percent(found.nearer_elsewhere),
                "jaccard": _jaccard(stability, report.clusters, found.segment_id),
            }
        )
    return {
        "rows": rows,
        "axis": [format_score(value) for value in axis],
        "euclidean": format_score(certainty.silhouette),
        "squared": format_score(certainty.silhouette_squared),
        "stability": None
        if stability is None
        else {"n_boot": stability.n_boot, "ari": format_score(stability.ari), "band": stability.band},
    }


def _jaccard(stability: Stability | None, clusters: dict[int, int], segment_id: int) -> str:
    if stability is None:
        return ""
    found = stability.segment(clusters[segment_id])
    return f"{found.jaccard:.3f} ({found.band})"


def cohorts(report: Report) -> dict[str, Any]:
    """The triangle of retention; what cannot be observed yet has no figure."""
    found = report.retention
    followed = [row for row in range(len(found.starts)) if not math.isnan(found.counts[row, 0])]
    n_ages = max((int(np.count_nonzero(~np.isnan(found.counts[row]))) for row in followed), default=0)
    kept_back = withheld_cohorts(found, report.min_cell)
    together = _together(found, followed, n_ages, kept_back)
    outside = [found.n_in_cohorts, found.n_already_customers, found.n_incomplete_cohort]
    few = hide_line(outside, report.min_cell, ranks=[2, 1, 0]).places
    return {
        "period": found.period,
        "n_in": f"Some {report.wording.customers}" if 0 in few else report.wording.count(found.n_in_cohorts),
        "n_in_cohorts": FEW if 0 in few else f"{found.n_in_cohorts:,}",
        "n_incomplete": ("Some" if 2 in few else f"{found.n_incomplete_cohort:,}")
        if found.n_incomplete_cohort
        else "",
        "n_already": "Some" if 1 in few else f"{found.n_already_customers:,}",
        "already_share": ""
        if 1 in few
        else f" ({format_percent(found.n_already_customers / found.n_customers)})",
        "lookback": found.lookback,
        "start": format_day(found.coverage[0]),
        "ages": list(range(n_ages)),
        "rows": [
            {
                "name": _period_name(found, row),
                "size": FEW if kept_back.sizes[row] else f"{int(found.counts[row, 0]):,}",
                "cells": [_cell(found, row, age, kept_back) for age in range(n_ages)],
            }
            for row in followed
            if found.counts[row, 0]
        ],
        "n_empty": sum(not found.counts[row, 0] for row in followed),
        "together": together,
        "chart": _retention_chart(found, together),
        "min_cell": report.min_cell,
    }


def _cell(found: CohortRetention, row: int, age: int, kept_back: WithheldCohorts) -> dict[str, str]:
    if math.isnan(found.counts[row, age]):
        return {"kind": "unseen", "text": ""}
    if kept_back.cells[row, age]:
        return {"kind": "few", "text": ""}
    rate = float(found.rates[row, age])
    return {"kind": f"rate r{min(int(rate * 10), 9)}", "text": f"{100 * rate:.0f}"}


def _together(
    found: CohortRetention, rows: list[int], n_ages: int, kept_back: WithheldCohorts
) -> list[dict[str, Any]]:
    """All cohorts together at each age: of those that are told there, so that no total tells the others."""
    cells: list[dict[str, Any]] = []
    for age in range(n_ages):
        told = ~np.isnan(found.counts[:, age]) & ~kept_back.cells[:, age]
        seen = [row for row in rows if told[row]]
        size = int(sum(found.counts[row, 0] for row in seen))
        active = int(sum(found.counts[row, age] for row in seen))
        if not size:
            cells.append({"kind": "few", "text": "", "rate": None, "base": ""})
            continue
        rate = active / size
        kind = f"rate r{min(int(rate * 10), 9)}"
        cells.append({"kind": kind, "text": f"{100 * rate:.0f}", "rate": rate, "base": f"{size:,}"})
    return cells


def _retention_chart(found: CohortRetention, together: list[dict[str, Any]]) -> Any:
    points = [(str(age), cell["rate"]) for age, cell in enumerate(together) if cell["rate"] is not None]
    if len(points) < 2:
        return None
    said = ", ".join(f"{age}: {format_percent(rate)}" for age, rate in points)
    return plots.line_chart(
        plots.Curve(
            label=f"Share still buying, by {found.period}s since the first purchase. {said}",
            points=points,
            top=1.0,
            ticks=[(0.0, "0", ""), (0.5, "50\N{NO-BREAK SPACE}%", ""), (1.0, "100\N{NO-BREAK SPACE}%", "")],
            chosen=None,
            x_title=f"{found.period}s since the first purchase",
        )
    )


def _period_name(found: CohortRetention, row: int) -> str:
    start = found.starts[row]
    match found.period:
        case "month":
            return f"{MONTHS[start.month - 1]} {start.year}"
        case "quarter":
            return f"{start.year} Q{(start.month + 2) // 3}"
        case _:
            return format_day(start)
