"""Every choice behind the segments (room ``insight``; the page calls it): what, why, and what changes otherwise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gpuseg.customers.attribute_encoding import attribute_of
from gpuseg.insight.attribute_measures import attribute_label
from gpuseg.insight.groups import SHARES, group_of
from gpuseg.insight.report.answers import chosen_by, feature_label, features_until, reason, shown_count
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
    return [
        _window(report),
        _row(
            "Features",
            f"{len(report.feature_names)} figures of each {report.wording.customer}, listed under “How this was made”",
            _what_they_say(report),
            [
                (f"without “{_left_out(entry.what, report)}”", entry.agreement)
                for entry in by_choice.get("feature", [])
            ],
        ),
        _row(
            "Scaling",
            f"Each feature to mean 0 and standard deviation 1{weighing_as_one(report)}{_without_effect(report)}",
            "Feature groups weigh equally: otherwise whatever is split into most columns would decide."
            if weighing_as_one(report)
            else "Otherwise the feature with the largest numbers would decide.",
            [("each column counts alone", entry.agreement) for entry in by_choice.get("scaling", [])],
        ),
        _outliers(report, by_choice.get("outliers", [])),
        _row(
            "Number of segments",
            f"{report.choice.k}",
            f"{reason(report)} {chosen_by(report)}".rstrip(),
            [(f"{entry.what} segments", entry.agreement) for entry in by_choice.get("k", [])],
        ),
        _row(
            "Random draws",
            f"Seed {report.seed}",
            "Any seed is as good as another; a stated one gives the same answer again.",
            [("the next seed", entry.agreement) for entry in by_choice.get("draw", [])],
        ),
    ]


def weighing_as_one(report: Report) -> str:
    """The groups of columns that weigh as one feature, in words; empty where there is none."""
    sizes = Counter(group_of(name) for name in report.feature_names)
    said = [
        f"the {size} {_left_out(group, report)}"
        if group == SHARES
        else f"the {size} columns of {_left_out(group, report)}"
        for group, size in sizes.items()
        if size > 1
    ]
    return (
        f"; {list_words(said)}{' each' if len(said) > 1 else ''} together weigh as one feature"
        if said
        else ""
    )


def _what_they_say(report: Report) -> str:
    """What kind of knowledge builds the segments."""
    attributes = list(dict.fromkeys(filter(None, map(attribute_of, report.feature_names))))
    did = any(attribute_of(name) is None for name in report.feature_names)
    said = ["how often, how regularly, how much and what is bought, and how far at a discount"] if did else []
    if not attributes:
        return f"They say {said[0]}; nothing about who somebody is."
    said.append(f"who somebody is, by {list_words([attribute_label(name) for name in attributes])}")
    return f"They say {', and '.join(said)}."


def _window(report: Report) -> dict[str, Any]:
    if report.answer is None:
        why = "Everything that is known."
    else:
        why = f"The outcome lies after it, {report.answer.asked.outcome.words}: features must not know it."
    return _row("Window", f"What was known up to {features_until(report)}", why, [])


def _without_effect(report: Report) -> str:
    """Features that tell nobody apart here; a reader would look for them in vain."""
    same = [feature_label(name, report) for name in report.facts.get("constant_features", ())]
    return f"; the same for everybody, so without effect: {list_words(same)}" if same else ""


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
