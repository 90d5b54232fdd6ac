"""A job file in the making, and its text (jobs, called by init): declarations, what to look at, what could be added."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gpuseg.customers.reading.reader import UNKNOWN
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.customers.sensitive import allowed_categories
from gpuseg.jobs.declared.guess_roles import Column

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS_OF_YAML = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
TO_BE_SAID = {
    "objective": "what the decision is to achieve",
    "decision": "who does what to whom",
    "owner": "who decides",
}
"""Words of the use case that only people can say."""

_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Draft:
    """A job file in the making.

    Parameters
    ----------
    values : dict
        As the file will say it.
    notes : dict of str to str
        Comments, by key ("roles.amount").
    """

    values: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)


def job_lines(draft: Draft, tx: Transactions, others: list[Column]) -> Iterator[str]:
    """The text of a job file.

    Parameters
    ----------
    draft : Draft
        What it says.
    tx : Transactions
        The records that it was seen to fit.
    others : list of Column
        Columns that play no role.

    Yields
    ------
    str
        Its lines.
    """
    yield "# A job file, written by `gpuseg init`. All that it says of your data is a guess, stated as a declaration to"
    yield "# correct; `gpuseg check` says what it leads to. The package's job.example.yaml shows every key."
    yield ""
    for key, value in draft.values.items():
        if key in {"source", "roles", "time_zone", "bad_rows", "words"}:
            yield ""
        yield from _entry(draft, key, key, value, 0)
    yield ""
    yield "# Customers who did not agree to profiling are left out: name the column that says so, and what it is for"
    if "consent" in draft.notes:
        yield f"# {draft.notes['consent']}"
    yield 'consent: {not_recorded: "not stated at init"}'
    yield from _sensitive_lines(tx)
    yield from _attribute_lines(others)
    yield ""
    yield "# What the segments are for. Without it the segmentation is generic, and the report says so"
    yield "# use_case:"
    yield from (f"#   {key}: {words}" for key, words in TO_BE_SAID.items())
    yield from _outcome_lines(draft, tx)
    if "words" not in draft.values:
        yield ""
        yield "# What the report calls things; without a currency its money has no sign"
        yield '# words: {customer: member, customers: members, currency: "€"}'
    yield ""
    yield "segments: {clusters: [3, 4, 5, 6, 7, 8], seed: 0}"


def _entry(draft: Draft, place: str, key: str, value: Any, depth: int) -> Iterator[str]:
    note = draft.notes.get(place)
    comment = f"  # {note}" if note else ""
    indent = "  " * depth
    if isinstance(value, dict):
        yield f"{indent}{key}:{comment}"
        for inner, inner_value in value.items():
            yield from _entry(draft, f"{place}.{inner}", inner, inner_value, depth + 1)
    else:
        yield f"{indent}{key}: {_scalar(value)}{comment}"


def _scalar(value: Any) -> str:
    """A value as YAML that reads back as the same, plain where that is safe."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or not value.isprintable())


def _sensitive_lines(tx: Transactions) -> Iterator[str]:
    _, excluded = allowed_categories(category_names(tx))
    if excluded:
        shown = ", ".join(list(excluded)[:8]) + (" ..." if len(excluded) > 8 else "")
        yield ""
        yield f"# Sensitive spend builds no segment unless opted in with a purpose; found: {shown}"
        yield "# sensitive: {opt_in: [...], purpose: why it may be used}"


def _attribute_lines(others: list[Column]) -> Iterator[str]:
    """What might be done with the columns that play no role: nothing, unless somebody says so."""
    if others:
        shown = ", ".join(column.name for column in others[:12]) + (" ..." if len(others) > 12 else "")
        likely = next((column for column in others if column.kind in {"text", "flag"}), others[0])
        yield ""
        yield f"# Columns without a role are not read: {shown}"
        yield "# One that says what customers are (age, region) may describe segments; to build them, the type is mixed"
        yield f"# columns: {{{_scalar(likely.name)}: describe}}"


def _outcome_lines(draft: Draft, tx: Transactions) -> Iterator[str]:
    """An outcome that every file of purchases has: who bought in the last quarter of its time, 91 days at most."""
    if tx.audit is None or tx.audit.days is None:
        return
    first, last = (_EPOCH + dt.timedelta(day) for day in tx.audit.days)
    length = min(91, (last - first).days // 4)
    if not length:
        return
    until, roles = last - dt.timedelta(days=length), draft.values["roles"]
    path = _scalar(draft.values["source"]["path"])
    yield "#   # Judged by who did what afterwards. Here: bought in the last days that init saw. A file of yours"
    yield "#   # with customers and times (who answered, who ordered) is better: name its path, or a section"
    yield f"#   features_until: {until}"
    yield f"#   outcome_window: [{until + dt.timedelta(days=1)}, {last}]"
    yield (
        f"#   outcome: {{name: bought again, source: {path}, customer: {_scalar(roles['customer'])}, "
        f"time: {_scalar(roles['time'])}}}"
    )


def category_names(tx: Transactions) -> list[str]:
    """The categories of the records, by name; without the one of the lines that have none."""
    if tx.roles.category is None:
        return []
    found: set[str] = set()
    for table in tx.tables():
        found.update(table["category"].unique().to_pylist())
    return sorted(found - {UNKNOWN})
