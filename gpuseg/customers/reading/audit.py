"""What was found in the records (room ``customers``, called by the reader): counts that add, and their sentences.

An :class:`Audit` is a partial state: each partition makes one, they merge in any order, and only the merged one says
whether the table may be used. So a problem is reported once, with its count over all files and partitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuseg.customers.reading.roles import ROLE_KINDS, type_cure
from gpuseg.errors import SchemaError, SourceError

PROBLEM, TYPE, REJECT, NOTE, KIND, CODE, TOTAL = "problem", "type", "reject", "note", "kind", "code", "total"

ERASED = "erased"
"""Reject of the rows of customers who were erased."""
LARGEST_TOTAL = (1 << 63) - 1
"""Sum of absolute amounts, in minor units, up to which no sum of any part of them can leave int64."""


class Finding(NamedTuple):
    """One thing that is counted, in rows (:data:`TOTAL`: in minor units).

    PROBLEM and TYPE refuse the table; a REJECT row is left out, as declared; a NOTE row is kept. KIND counts the rows
    whose identifier is of this kind, CODE those of this currency, TOTAL sums absolute values.
    """

    kind: str
    role: str
    column: str
    what: str

    @property
    def words(self) -> str:
        """The finding as a reason: "amount null"."""
        return f"{self.role} {self.what}"


def in_order(finding: Finding) -> tuple[int, str, str]:
    """Where a finding is listed: by role, those that play none last, and then by name."""
    order = list(ROLE_KINDS)
    place = order.index(finding.role) if finding.role in order else len(order)
    return place, finding.column, finding.what


@dataclass(frozen=True)
class Audit:
    """Counts of what was found in some of the records.

    ``merge`` is associative and commutative, ``Audit()`` is neutral.

    Parameters
    ----------
    n_rows : int
        Rows read, the rejected ones included.
    n_rejected : int
        Rows left out; a row with two reasons counts once here and under both reasons in ``found``.
    found : mapping of Finding to int
        Rows (or minor units) for each finding.
    days : (int, int) or None
        First and last local day of the rows that were kept, counted from 1970-01-01.
    """

    n_rows: int = 0
    n_rejected: int = 0
    found: Mapping[Finding, int] = field(default_factory=dict)
    days: tuple[int, int] | None = None

    def merge(self, other: Audit) -> Audit:
        """Counts over the rows of both."""
        found = dict(self.found)
        for finding, count in other.found.items():
            found[finding] = found.get(finding, 0) + count
        spans = [days for days in (self.days, other.days) if days is not None]
        days = (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else None
        return Audit(self.n_rows + other.n_rows, self.n_rejected + other.n_rejected, found, days)

    def counts(self, kind: str) -> dict[Finding, int]:
        """Findings of one kind, by role and then by name."""
        chosen = [f for f in self.found if f.kind == kind and self.found[f]]
        chosen.sort(key=in_order)
        return {finding: self.found[finding] for finding in chosen}

    def rejects(self) -> dict[str, int]:
        """Rows left out, by reason; a row may have several, but one without consent is counted as that alone."""
        return {f.words: count for f, count in self.counts(REJECT).items()}

    def note(self, role: str, what: str) -> int:
        """Rows kept of which something is worth knowing."""
        return sum(n for f, n in self.found.items() if (f.kind, f.role, f.what) == (NOTE, role, what))

    def currency(self) -> str | None:
        """The currency of the rows, if there is a currency column."""
        return next((finding.what for finding in self.counts(CODE)), None)

    def problems(self) -> list[str]:
        """A sentence for each reason for which the table cannot be used."""
        sentences = [
            f"column {f.column!r} ({f.role}) holds {f.what} in {count:,} of {self.n_rows:,} rows; {type_cure(f.role)}"
            for f, count in self.counts(TYPE).items()
        ]
        sentences += [
            f"column {f.column!r} ({f.role}) {_PHRASES[f.what][0]} in {count:,} of {self.n_rows:,} rows; "
            f"{_PHRASES[f.what][1]}"
            for f, count in self.counts(PROBLEM).items()
        ]
        sentences += _mixed_identifiers(self.counts(KIND))
        sentences += _two_currencies(self.counts(CODE))
        for f, total in self.counts(TOTAL).items():
            if total > LARGEST_TOTAL:
                sentences.append(
                    f"column {f.column!r} ({f.role}) adds up to {total:,} minor units, past the range of int64; "
                    "use a smaller minor_units"
                )
        return sentences

    def require_usable(self, where: str) -> None:
        """Refuse a table with problems.

        Raises
        ------
        SchemaError
            Lists every problem with its count.
        SourceError
            There are no rows, or none is left.
        """
        problems = self.problems()
        if problems:
            raise SchemaError(where, problems)
        if self.n_rows == 0:
            raise SourceError(f"{where}: 0 rows; a table with at least one record is needed")
        if self.n_rejected == self.n_rows:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in self.rejects().items())
            raise SourceError(
                f"{where}: all {self.n_rows:,} rows were rejected ({reasons}); nothing is left to use"
            )


_REJECT_CURE = "mend them, or leave such rows out with on_bad_rows='reject'"

_PHRASES = {
    "null": ("is missing (null)", _REJECT_CURE),
    "blank": ("is empty text", _REJECT_CURE),
    "not finite": ("is NaN or infinite", _REJECT_CURE),
    "too many decimals": (
        "has more decimals than minor_units allows",
        "round the column, raise minor_units, or leave such rows out with on_bad_rows='reject'",
    ),
    "too large": ("is beyond 2**53 minor units", "lower minor_units, " + _REJECT_CURE),
    "no quantity": (
        "is the price of one piece, and the quantity is missing (null)",
        _REJECT_CURE,
    ),
    "negative": (
        "is negative on a line that is not a return",
        "give the money taken off as a positive number (negate the column)",
    ),
    "out of range": ("lies before 1900 or after 2199", _REJECT_CURE),
    "not a number": ("is text that is not a number such as 1234.56", _REJECT_CURE),
    "not a time": ("is text that is not a time such as 2017-12-31T23:59:59", _REJECT_CURE),
    "decimal comma": (
        "is text with a decimal comma such as 1234,56",
        "declare it (csv={'decimal': ','}); if the comma stands between thousands, csv={'thousands': ','}",
    ),
    "grouped digits": (
        "is text with a mark between groups of digits such as 1.234.567 or 1 234 567",
        "declare the mark (csv={'thousands': '.'}), and the decimal one if it is not a point",
    ),
    "undeclared order": (
        "is a date such as 3/4/2024 whose order of day and month is not declared",
        "declare it (csv={'day_first': True} or False), or its form (csv={'time_format': '%d.%m.%Y'})",
    ),
    "not in declared order": (
        "is no date of the calendar in the order that day_first declares",
        "correct day_first, " + _REJECT_CURE,
    ),
    "not in time_format": (
        "is text that is not of the form that time_format declares, or no day of the calendar",
        "correct time_format, " + _REJECT_CURE,
    ),
    "not a flag": ("is neither true/false, yes/no nor 1/0", _REJECT_CURE),
    "mixed clocks": ("carries a time zone in some rows and none in others", "write all times in one form"),
    "not convertible": ("holds objects of several types", "give the column one type"),
    "no attribute": (
        "holds neither text, numbers nor flags",
        "convert it, such as a date of birth to an age in years",
    ),
    "no consent": ("is not true", "keep only the customers who consented"),
}


def _mixed_identifiers(kinds: Mapping[Finding, int]) -> list[str]:
    """Identifiers of two kinds: the number 1 and the text "1" are two customers, or one that was written twice."""
    columns = Counter((f.role, f.column) for f in kinds)
    sentences = []
    for role, column in (key for key, n_kinds in columns.items() if n_kinds > 1):
        found = [(f.what, n) for f, n in kinds.items() if (f.role, f.column) == (role, column)]
        listed = " and ".join(f"{n:,} rows of {what}" for what, n in found)
        sentences.append(
            f"column {column!r} ({role}) mixes types: {listed}; 1 and '1' are never merged, cast the column to one type"
        )
    return sentences


def _two_currencies(codes: Mapping[Finding, int]) -> list[str]:
    if len(codes) < 2:
        return []
    column = next(iter(codes)).column
    by_count = sorted(codes.items(), key=lambda item: (-item[1], item[0].what))
    listed = ", ".join(f"{f.what}: {n:,} rows" for f, n in by_count[:5])
    return [
        f"column {column!r} (currency) has {len(codes)} currencies ({listed}); convert the amounts to one of them"
    ]
