"""Estimated traits on the page (room ``insight``; the page calls it): what can be measured, and what it is for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gpuseg.insight.words import FEW, NONE, list_words
from gpuseg.personality.intervals import VALIDITY
from gpuseg.personality.use_limits import NOT_FOR

if TYPE_CHECKING:
    from gpuseg.insight.report.record import Report
    from gpuseg.insight.traits import Traits


def traits(report: Report) -> dict[str, Any] | None:
    """A row a trait, measurable or not; None where nobody is scored. No customer's score is on the page."""
    found = report.traits
    if found is None:
        return None
    few = len(found.table) < report.min_cell
    return {
        "note": NOT_FOR,
        "construct": found.construct,
        "purpose": found.purpose,
        "legal_basis": found.legal_basis,
        "validity": f"{VALIDITY:g}",
        "variance": round(100 * VALIDITY * VALIDITY),
        "mapped": f"{100 * found.mapped:.2f} %",
        "n_measurable": len(found.measurable),
        "n_traits": len(found.names),
        "at_most": list_words([*found.at_most]),
        "kept": found.kept,
        "level": f"{100 * found.level:g} %",
        "rows": [
            {
                "trait": about.trait,
                "covered": f"{100 * about.covered:.2f} %",
                "categories": list_words([_words(name) for name in about.categories]) or NONE,
                "says": "estimated" if about.measurable else _why(about.reason, about.trait),
                "width": FEW if few else _width(found, about.trait),
            }
            for about in found.measurability
        ],
        "opted_in": [f"{name}: {purpose}" for name, purpose in found.opt_in.items()],
        "unused": sorted({_words(entry.category) for entry in found.unused}),
    }


def _why(reason: str, trait: str) -> str:
    return reason.removeprefix(f"{trait} is ")


def _width(found: Traits, trait: str) -> str:
    width = found.half_width(trait)
    return NONE if math.isnan(width) else f"± {width:.0f}"


def _words(name: str) -> str:
    return name.replace("_", " ")
