"""Every choice behind the segments (room ``insight``; the page calls it): what, why, and what changes otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuseg.insight.groups import SHARES
from gpuseg.insight.measures import CATEGORY_PREFIX
from gpuseg.insight.report.answers import chosen_by, feature_label, features_until, shown_count
from gpuseg.insight.words import format_score, list_words

if TYPE_CHECKING:
    from gpuseg.insight.alternatives import Alternative
    from gpuseg.insight.report.record import Report

_NOT_TRIED = "not tried in this run"
_MADE = {
    "flag": "Kept and marked",
    "winsorise": "Pulled in to that bound and marked",
    "drop": "Left out and marked",
}
_WHY = {
    "flag": "Extreme {customers} are {customers}: they are put on a scale where they do not outweigh all others, and "
    "none is dropped.",
    "winsorise": "Extreme {customers} are {customers}, and none is dropped; but how far out they are would draw "
    "centres away from all others. Figures are of the values as they are.",
    "drop": "Extreme {customers} would draw centres away from all others; they are counted and listed, in no segment.",
}


def decisions(report: Report) -> list[dict[str, Any]]:
    """A row a choice: what was chosen, why, and the agreement of the alternatives."""
    by_choice: dict[str, list[Alternative]] = {}
    for found in report.alternatives:
        by_choice.setdefault(found.choice, []).append(found)
    shares = sum(name.startswith(CATEGORY_PREFIX) for name in report.feature_names)
    return [
        _window(report),
        _row(
            "Features",
            f"{len(report.feature_names)} figures of each {report.wording.customer}, listed under “How this was made”",
            "They say how often, how regularly, how much and what is bought, and how far at a discount; "
            "nothing about who somebody is.",
            [
                (f"without “{_left_out(entry.what, report)}”", entry.agreement)
                for entry in by_choice.get("feature", [])
            ],
        ),
        _row(
            "Scaling",
            "Each feature to mean 0 and standard deviation 1"
            + (
                f"; the {shares} shares of {report.wording.categories} together weigh as one feature"
                if shares
                else ""
            ),
            "Feature groups weigh equally: otherwise whatever is split into most columns would decide."
            if shares
            else "Otherwise the feature with the largest numbers would decide.",
            [("each column counts alone", entry.agreement) for entry in by_choice.get("scaling", [])],
        ),
        _outliers(report, by_choice.get("outliers", [])),
        _row(
            "Number of segments",
            f"{report.choice.k}",
            f"{report.choice.reason} {chosen_by(report)}".rstrip(),
            [(f"{entry.what} segments", entry.agreement) for entry in by_choice.get("k", [])],
        ),
        _row(
            "Random draws",
            f"Seed {report.seed}",
            "Any seed is as good as another; a stated one gives the same answer again.",
            [("the next seed", entry.agreement) for entry in by_choice.get("draw", [])],
        ),
    ]


def _window(report: Report) -> dict[str, Any]:
    if report.answer is None:
        why = "Everything that is known."
    else:
        why = f"The outcome lies after it, {report.answer.asked.outcome.words}: features must not know it."
    return _row("Window", f"What was known up to {features_until(report)}", why, [])


def _outliers(report: Report, tried: list[Alternative]) -> dict[str, Any]:
    customers = report.wording.customers
    action, made = "flag", "Kept"
    if report.outliers is not None:
        action = report.outliers.rule.action
        count = shown_count(report.outliers.n_marked, report)
        far = f"{customers} more than {report.outliers.rule.words} of a feature"
        made = f"{_MADE[action]}: {count} {far}"
    words = {
        "flag": f"such {customers} kept as they are",
        "winsorise": f"such {customers} pulled in to that bound",
        "drop": f"such {customers} left out (agreement of those who stay)",
    }
    return _row(
        "Outliers",
        f"{made}; counts, money and days as logarithms, the coupon share as its square root",
        _WHY[action].format(customers=customers),
        [(words[entry.what], entry.agreement) for entry in tried],
    )


def _left_out(name: str, report: Report) -> str:
    return (
        f"{SHARES.split()[0]} of {report.wording.categories}"
        if name == SHARES
        else feature_label(name, report)
    )


def _row(choice: str, made: str, why: str, otherwise: list[tuple[str, float]]) -> dict[str, Any]:
    weakest = sorted(otherwise, key=lambda entry: entry[1])
    return {
        "choice": choice,
        "made": made,
        "why": why,
        "otherwise": [{"what": what, "agreement": format_score(value)} for what, value in weakest],
        "none": _NOT_TRIED,
    }


def moved_most(report: Report) -> str:
    """The choices on which the segments depend most, in words; empty where none was tried otherwise."""
    features = sorted(
        (found for found in report.alternatives if found.choice == "feature"),
        key=lambda found: found.agreement,
    )
    if not features:
        return ""
    named = list_words([f"“{_left_out(found.what, report)}”" for found in features[:2]])
    return f"The segments lean most on {named}: without either of them they would be cut differently."
