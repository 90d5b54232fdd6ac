"""The answer to the decision in words (room ``insight``; the page calls it): first screen, outcome, associations."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from gpuseg.customers.attribute_encoding import attribute_of, level_of
from gpuseg.insight.attribute_measures import attribute_label
from gpuseg.insight.measures import CATEGORY_PREFIX
from gpuseg.insight.naming import Difference, differences
from gpuseg.insight.report import plots
from gpuseg.insight.words import FEW, format_day, format_figure, format_percent, list_words

if TYPE_CHECKING:
    from gpuseg.insight.answer import Answer
    from gpuseg.insight.outcome import SegmentOutcome
    from gpuseg.insight.report.record import Report
    from gpuseg.quality.stability import Stability

FEATURE_LABELS = {
    "log_visits": "Visits",
    "log_basket_value": "Basket value",
    "log_recency": "Days since last purchase",
    "discount_share": "Discount share",
    "root_coupon_share": "Coupon share",
    "own_label_share": "Own-label share",
    "category_diversity": "Variety",
    "regularity": "Regularity of visits",
}


def feature_label(name: str, report: Report) -> str:
    """What people call a feature."""
    if name.startswith(CATEGORY_PREFIX):
        code = name.removeprefix(CATEGORY_PREFIX)
        return f"Share of {report.wording.category_names.get(code, code)}"
    attribute = attribute_of(name)
    if attribute is None:
        return FEATURE_LABELS.get(name, name)
    level = level_of(name)
    return attribute_label(attribute) if level is None else f"{attribute_label(attribute)}: {level}"


def shown_count(count: int, report: Report) -> str:
    """A number of customers; small ones are not told."""
    return f"{count:,}" if count == 0 or count >= report.min_cell else f"under {report.min_cell}"


def reason(report: Report) -> str:
    """Why so many segments; how few the smallest holds is not told."""

    def smallest(match: re.Match[str]) -> str:
        return f"smallest segment {shown_count(int(match[1].replace(',', '')), report)}"

    return re.sub(r"smallest segment ([\d,]+)", smallest, report.choice.reason)


def stability_of(report: Report) -> Stability | None:
    """Stability of the chosen segments, where it was looked at."""
    return next(found.stability for found in report.choice.evidence if found.k == report.choice.k)


def chosen_by(report: Report) -> str:
    """How the outcome helped to choose the number of segments, in a sentence; empty where it did not."""
    found, choice = report.answer, report.choice
    if found is None or not choice.met or len(choice.evidence) < 2:
        return ""
    if found.asked.validation is None:
        return (
            "The same outcome helped to choose the number of segments, so its rates look a little better here than "
            "they will."
        )
    return (
        f"The number of segments was chosen by the outcome from {found.asked.validation.words}; the outcome from "
        f"{found.asked.outcome.words}, which is told here, was not looked at before."
    )


def answer(report: Report) -> dict[str, Any] | None:
    """The decision: which segment to consider, with its rate, the test, and what to do on Monday."""
    found = report.answer
    if found is None:
        return None
    chosen, asked = found.chosen, found.asked
    whole = found.rates.whole
    return {
        "did": asked.did,
        "contacted": asked.counted,
        "known": asked.outcome.contacted is not None,
        "window": asked.outcome.words,
        "whole": FEW if report.withheld.whole_rate else f"{format_percent(whole.value)} of {whole.base:,}",
        "outside": shown_count(found.rates.outside.hits, report),
        "consider": None if chosen is None else _consider(chosen, found, report),
        "steps": _steps(found, report),
        "rates": {segment.segment_id: _rate(segment, found, report) for segment in found.rates.segments},
        "associations": _associations(found, report),
        "floor": found.rates.base_floor,
        "chosen_by": chosen_by(report),
    }


def _consider(chosen: SegmentOutcome, found: Answer, report: Report) -> dict[str, Any]:
    low, high = chosen.rate.interval
    kept_back, number = report.withheld, chosen.segment_id
    sized, counted = number not in kept_back.sizes, number not in kept_back.contacted | kept_back.nearly_all
    return {
        "id": chosen.segment_id,
        "told": number not in kept_back.rates,
        "colour": plots.colour(chosen.segment_id),
        "name": report.names[chosen.segment_id],
        "size": report.wording.count(chosen.n_customers) if sized else "",
        "share": format_percent(chosen.n_customers / report.profiles.n_customers) if sized else "",
        "rate": format_percent(chosen.rate.value),
        "interval": f"{format_percent(low)} to {format_percent(high)}",
        "base": f"{chosen.rate.base:,}" if counted else "",
        "rest": format_percent(chosen.rest.value),
        "rest_base": f"{chosen.rest.base:,}" if counted else "",
        "left": f"{chosen.n_not_contacted:,}" if counted else "",
        "left_share": format_percent(1.0 - chosen.contacted_share),
        "contacted": found.asked.counted,
        "because": list_words([_told(entry, report) for entry in told_differences(report, number)[:2]]),
        "stability": _comes_back(chosen.segment_id, report),
    }


def told_differences(report: Report, segment_id: int) -> list[Difference]:
    """What sets a segment apart, strongest first, as far as it may be told."""
    return [
        entry
        for entry in differences(report.profiles, segment_id)
        if segment_id not in report.withheld.measure(entry.measure.column)
    ]


def _told(entry: Difference, report: Report) -> str:
    unit, sign = entry.measure.unit, report.wording.currency
    own, everybody = (
        format_figure(entry.typical, unit, sign),
        format_figure(entry.population_typical, unit, sign),
    )
    return f"{entry.phrase} ({entry.figure} {own}, all {everybody})"


def _comes_back(segment_id: int, report: Report) -> str:
    stability = stability_of(report)
    if stability is None:
        return ""
    found = stability.segment(report.clusters[segment_id])
    verdict = {
        "stable": "it comes back reliably",
        "valid": "it comes back well",
        "uncertain": "its core comes back, its edges move",
        "doubtful": "it hardly comes back: do not build on it",
    }[found.band]
    return (
        f"In {stability.n_boot} repeats with {report.wording.customers} drawn again, {verdict} (mean overlap "
        f"{found.jaccard:.3f}; from 0.75 on a group counts as valid, below 0.6 as doubtful)."
    )


def _steps(found: Answer, report: Report) -> list[str]:
    test = found.test
    if test is None or found.chosen is None or test.segment_id in report.withheld.sizes:
        return []
    name, asked = report.names[test.segment_id], found.asked
    size = test.per_arm if test.feasible and test.per_arm is not None else test.available
    first, last = asked.outcome.window
    if test.control == "held out":
        draw = f"Draw two groups of {size:,} at random from “{name}”"
        treat = f"{asked.act.capitalize()} one and leave the other out"
    else:
        draw = f"Draw {size:,} at random from “{name}” and {size:,} from all other {report.wording.customers}"
        treat = f"{asked.act.capitalize()} both alike"
    told = f"{format_percent(test.expected)} against {format_percent(test.baseline)}"
    sure = format_percent(test.power)
    power = f"That many would show a difference of {100 * test.detectable:.0f} percentage points with {sure} certainty."
    if test.feasible and test.per_arm_half is not None:
        power = (
            f"If {told} is true, the test shows it with {sure} certainty; half that difference needs "
            f"{test.per_arm_half:,} each."
        )
    if test.segment_id in report.withheld.rates:
        power = (
            f"That many may or may not be enough: too few {found.asked.did} for the rates to be told here."
        )
    days = (last - first).days + 1
    return [
        f"{draw} (segments.csv says who is in which).",
        f"{treat}, and count who {asked.did} within {days} days, the time that the rates here are of.",
        f"{power} Extend to the rest of “{name}” only if it shows.",
    ]


def _rate(segment: SegmentOutcome, found: Answer, report: Report) -> dict[str, str]:
    verb = found.asked.counted
    kept_back, number = report.withheld, segment.segment_id
    told = {"suggestion": found.suggestion(number), "interval": "", "note": ""}
    base = f"of {segment.rate.base:,} {verb} ({format_percent(segment.contacted_share)} of the segment)"
    if number in kept_back.contacted:
        base = f"fewer than {report.min_cell} {verb}, or needed to hide such a group"
    elif number in kept_back.nearly_all:
        base = f"of nearly all {verb}"
    if number in kept_back.rates:
        return told | {"rate": FEW, "base": base}
    low, high = segment.rate.interval
    return told | {
        "rate": format_percent(segment.rate.value),
        "interval": f"{format_percent(low)} to {format_percent(high)}",
        "base": base,
        "note": "" if segment.enough else "too few to say",
    }


def _associations(found: Answer, report: Report) -> list[dict[str, Any]]:
    rows = []
    for entry in found.associations:
        if math.isnan(entry.auc):
            continue
        low, high = (f"{100 * end:.0f}" for end in entry.interval)
        if min(entry.n_with, entry.n_without) < report.min_cell:
            rows.append(
                {"label": feature_label(entry.feature, report), "pairs": FEW, "interval": "", "way": ""}
            )
            continue
        way = "no clear direction" if not entry.clear else ("more often" if entry.auc > 0.5 else "less often")
        rows.append(
            {
                "label": feature_label(entry.feature, report),
                "pairs": f"{100 * entry.auc:.0f}",
                "interval": f"{low} to {high}",
                "way": way,
            }
        )
    return rows


def features_until(report: Report) -> str:
    """Last day that the features know, in words."""
    return format_day(dt.date.fromisoformat(report.facts["as_of"]))
