"""The message groups on the page (room ``insight``; the page calls it): who would be told what, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuseg.insight.disclosure import hide_line, is_small
from gpuseg.insight.messages import BEFORE_ALL
from gpuseg.insight.words import FEW, format_day, format_percent
from gpuseg.personality.use_limits import NOT_FOR

if TYPE_CHECKING:
    from gpuseg.insight.messages import Messages
    from gpuseg.insight.report.record import Report

_WORDS = {"monthly": "every month", "quarterly": "every quarter", "yearly": "every year"}


def messages(report: Report) -> dict[str, Any] | None:
    """The groups with their shares and modules; None where a run has none."""
    found = report.messages
    if found is None:
        return None
    n = sum(found.assigned.sizes.values())
    # Beside the segments' total, that of the groups would tell how few are in no segment.
    beyond = is_small(n - report.profiles.n_customers, report.min_cell)
    sizes, whole = _told(list(found.assigned.sizes.values()), report, hide_total=beyond)
    return {
        "note": NOT_FOR,
        "by": "spending styles" if found.by == "styles" else "estimated scores",
        "customers": report.wording.count(n) if whole else f"{FEW} {report.wording.customers}",
        "rule": _rule(found),
        "learned": _learned(found, report),
        "rows": [
            {
                "name": name,
                "asks": _asks(found, number, report),
                "size": FEW if size is None else f"{size:,}",
                "share": FEW if size is None or not whole else format_percent(size / max(n, 1)),
                "module": None if found.modules is None else found.modules[name]._asdict(),
            }
            for number, (name, size) in enumerate(zip(found.groups.names, sizes, strict=True))
        ],
        "why": _why_fallback(found, sizes[-1], report),
        "moved": _moved(found, n, report),
        "opted_in": [f"{name}: {purpose}" for name, purpose in found.groups.opt_in],
        "left_out": list(found.groups.left_out),
    }


def _told(counts: list[int], report: Report, *, hide_total: bool = False) -> tuple[list[int | None], bool]:
    """Counts of a line that may be told, None for the others; and whether their total may."""
    some = [place for place, count in enumerate(counts) if count]
    first = {min(some, key=lambda place: counts[place])} if hide_total and some else set()
    hidden = hide_line(counts, report.min_cell, hidden=first)
    told = [None if place in hidden.places else count for place, count in enumerate(counts)]
    return told, not (hidden.totals or hide_total)


def _asks(found: Messages, number: int, report: Report) -> str:
    if number < len(found.groups.groups):
        return found.groups.groups[number].words().replace("_", " ")
    return f"all other {report.wording.customers}"


def _rule(found: Messages) -> str:
    """When groups may change, and when they last did."""
    often = found.groups.review
    when = _WORDS[often] if isinstance(often, str) else "on the declared days"
    last = (
        "not reviewed yet" if found.reviewed_on == BEFORE_ALL else f"last on {format_day(found.reviewed_on)}"
    )
    margin = f"{found.groups.margin:g}"
    return f"Groups may change {when} ({last}), and only if another group is nearer by more than {margin}."


def _learned(found: Messages, report: Report) -> str:
    n = found.groups.learned_from
    if not n:
        return ""
    told = FEW if is_small(n, report.min_cell) else f"{n:,}"
    return f"The groups were found by k-means among {told} {report.wording.customers}, and stay as they are."


def _why_fallback(found: Messages, told: int | None, report: Report) -> list[dict[str, str]]:
    """Why customers are in the fallback; how many, where the size of the fallback is told."""
    reasons = found.assigned.fallback_reasons
    counts, whole = _told(list(reasons.values()), report)
    return [
        {
            "why": why.replace("_", " "),
            "count": FEW if count is None or told is None or not whole else f"{count:,}",
        }
        for why, count in zip(reasons, counts, strict=True)
    ]


def _moved(found: Messages, n: int, report: Report) -> str:
    """How many moved since the earlier run; "" where nobody had a group before."""
    customers = report.wording.customers
    if found.anew:
        return f"Nobody kept a group: {found.anew}."
    known = int((found.assigned.before >= 0).sum())
    if not known:
        return ""
    moved = found.assigned.n_moved
    small = any(is_small(count, report.min_cell) for count in (moved, known - moved, n - known))
    told = (FEW, FEW) if small else (f"{moved:,}", f"{known:,}")
    return f"{told[0]} of the {told[1]} {customers} who had a group before are in another one now."
