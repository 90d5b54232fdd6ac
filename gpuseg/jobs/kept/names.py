"""Names that people approve (jobs; for ``gpuseg names``): ``review.csv`` out, approved names back into a run.

A run proposes names; who knows the customers changes them in ``review.csv`` and signs. A name without ``approved_by``
stays a proposal.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from gpuseg.errors import SchemaError, SourceError
from gpuseg.insight.naming import differences
from gpuseg.insight.profile import Profiles
from gpuseg.insight.report.named import rename_in_sentences
from gpuseg.insight.withheld import Withheld
from gpuseg.insight.words import format_figure
from gpuseg.jobs.kept.formats import BOM
from gpuseg.jobs.kept.renaming import REVIEW, in_tables, in_what_people_read, shows
from gpuseg.jobs.kept.runs import Run, locked, rewrite_run

COLUMNS = ("segment", "proposed_name", "evidence", "approved_by", "date", "comment")
LONGEST = 80
"""Characters of a name."""
LOADED = frozenset(
    {
        "bad",
        "best",
        "cheap",
        "cheapskates",
        "dumb",
        "freeloaders",
        "good",
        "greedy",
        "hopeless",
        "ignorant",
        "lazy",
    }
    | {
        "losers",
        "poor",
        "rich",
        "stingy",
        "stupid",
        "unprofitable",
        "useless",
        "valuable",
        "worst",
        "worthless",
    }
)
"""Words that judge people: a segment is named by what its customers do."""
_N_EVIDENCE = 3


@dataclass(frozen=True)
class Approved:
    """One approved name."""

    segment_id: int
    name: str
    by: str
    date: str
    comment: str


@dataclass(frozen=True)
class Named:
    """What ``review.csv`` changed.

    Parameters
    ----------
    run : Run
        As it is now.
    approved : tuple of Approved
        All names that somebody signed.
    changed : dict of int to (str, str)
        Old and new name of the segments that have another name now.
    waiting : tuple of int
        Segments whose name is a proposal still.
    renewed, stale : tuple of str
        Files that carry the new names now; files that show the names of the day of the run.
    """

    run: Run
    approved: tuple[Approved, ...]
    changed: dict[int, tuple[str, str]]
    waiting: tuple[int, ...]
    renewed: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What was done, and what is left to do; a line each."""
        lines = [f'{number}: "{old}" is now "{new}".' for number, (old, new) in self.changed.items()]
        if not self.changed:
            lines.append("No name is changed.")
        if self.approved:
            lines.append(f"Approved: segments {', '.join(str(found.segment_id) for found in self.approved)}.")
        if self.waiting:
            lines.append(
                f"Waiting for approval (approved_by is empty): segments {', '.join(map(str, self.waiting))}."
            )
        if self.changed:
            lines.append(f"Renamed in: {', '.join(self.renewed)}.")
        if self.changed and self.stale:
            lines.append(
                f"Still with the names of the day of the run: {', '.join(self.stale)}; run the job again with "
                f"--refresh {self.run.path} to render them anew."
            )
        return "\n".join(lines)


def review_bytes(
    profiles: Profiles, names: Mapping[int, str], currency: str = "", withheld: Withheld | None = None
) -> bytes:
    """The contents of ``review.csv``: a row a segment, to be changed and signed by people.

    Parameters
    ----------
    profiles : Profiles
        Of all segments.
    names : mapping of int to str
        Proposed names, by segment id.
    currency : str, default ""
        Sign before an amount.
    withheld : Withheld, optional
        What is not told of the segments.

    Returns
    -------
    bytes
        CSV, UTF-8 with a byte order mark.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for segment_id in profiles.segment_ids:
        apart = [
            one
            for one in differences(profiles, segment_id)
            if withheld is None or segment_id not in withheld.measure(one.measure.column)
        ]
        evidence = "; ".join(
            f"{one.measure.label}: {one.figure} {format_figure(one.typical, one.measure.unit, currency)} against "
            f"{format_figure(one.population_typical, one.measure.unit, currency)}"
            for one in apart[:_N_EVIDENCE]
        )
        hidden = withheld is not None and segment_id in withheld.sizes
        told = evidence or ("not shown: too few" if hidden else "close to average in every measure")
        writer.writerow((segment_id, names[segment_id], told.replace("\N{NO-BREAK SPACE}", " "), "", "", ""))
    return BOM + text.getvalue().encode()


def apply_names(folder: Path, review: Path | None = None) -> Named:
    """Read ``review.csv`` back and put the approved names into the run.

    Parameters
    ----------
    folder : Path
        Of the run.
    review : Path, optional
        The reviewed file; default: the run's own ``review.csv``.

    Returns
    -------
    Named

    Raises
    ------
    SchemaError
        The file has problems; all are listed, nothing was changed.
    SourceError
        There is no such file, or the run is damaged.
    OutputError
        The run cannot be rewritten; nothing was changed.
    """
    with locked(folder) as run:
        after = run
        path = run.path / REVIEW if review is None else review
        content = _read(path)
        approved = _approved(_rows(content, path), path, run)
        names = run.names
        changed = {
            found.segment_id: (names[found.segment_id], found.name)
            for found in approved
            if names[found.segment_id] != found.name
        }
        waiting = tuple(sorted({*_own(run)} - {found.segment_id for found in approved}))
        new = {number: name for number, (_, name) in changed.items()}
        contents = in_tables(run, new) if changed else {}
        contents |= (
            in_what_people_read(run, new, [found.segment_id for found in approved], waiting)
            if approved
            else {}
        )
        renewed = tuple(contents)
        old_names = [old for old, _ in changed.values()]
        stale = tuple(name for name in run.files if name not in contents and shows(run, name, old_names))
        if approved:
            contents[REVIEW] = content
            after = rewrite_run(run, contents, _note(run, approved, changed, stale), without_ids=(REVIEW,))
    return Named(after, approved, changed, waiting, renewed, stale)


def _own(run: Run) -> dict[int, str]:
    """Segments that may be named: all but the fallback."""
    fallback = run.manifest["counts"]["fallback_segment"]
    return {number: name for number, name in run.names.items() if number != fallback}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SourceError(
            f"{path}: no such file; this run has no {REVIEW} to be reviewed, or give yours with --review"
        ) from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error


def _rows(content: bytes, path: Path) -> list[dict[str, str]]:
    """Rows of the review; a spreadsheet may have put semicolons or tabs between the fields."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8 text (byte {error.start}); save it as 'CSV UTF-8'") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise SchemaError(str(path), [f"column {name!r} is missing" for name in missing])
    return [{name: (row[name] or "").strip() for name in COLUMNS} for row in reader]


def _approved(rows: list[dict[str, str]], path: Path, run: Run) -> tuple[Approved, ...]:
    """The signed rows; every problem of the file is listed."""
    known = {str(number): number for number in _own(run)}
    problems, found = [], []
    for line, row in enumerate(rows, 2):
        if row["segment"] not in known:
            listed = ", ".join(known)
            problems.append(f"line {line}: no segment {row['segment']!r} to be named; the run has {listed}")
            continue
        if row["approved_by"]:
            problems += [f"line {line}: {problem}" for problem in _problems(row)]
            number = known[row["segment"]]
            found.append(
                Approved(number, row["proposed_name"], row["approved_by"], row["date"], row["comment"])
            )
    twice = [number for number, count in Counter(one.segment_id for one in found).items() if count > 1]
    problems += [f"segment {number} is approved more than once; keep one row" for number in twice]
    after = run.names | {one.segment_id: one.name for one in found}
    shared = Counter(name.casefold() for name in after.values())
    problems += [
        f"segment {number}: another segment is called {name!r} too; give each a name of its own"
        for number, name in after.items()
        if shared[name.casefold()] > 1
    ]
    if problems:
        raise SchemaError(str(path), problems)
    return tuple(sorted(found, key=lambda one: one.segment_id))


def _problems(row: Mapping[str, str]) -> list[str]:
    name, found = row["proposed_name"], []
    if not name:
        found.append("proposed_name is empty; write the name that is approved")
    if len(name) > LONGEST:
        found.append(f"the name has {len(name)} characters; at most {LONGEST}")
    if not name.isprintable():
        found.append("the name has line breaks or control characters; use one plain line")
    if name.isdecimal():
        found.append(f"the name {name!r} is a number, which could be taken for a segment id; use words")
    words = "".join(letter if letter.isalpha() else " " for letter in name.casefold()).split()
    loaded = [word for word in words if word in LOADED]
    if loaded:
        found.append(f"the name {name!r} judges people ({', '.join(loaded)}); say what these customers do")
    try:
        dt.date.fromisoformat(row["date"])
    except ValueError:
        found.append(f"date {row['date']!r} is no day; write it as YYYY-MM-DD")
    return found


def _note(
    run: Run, approved: tuple[Approved, ...], changed: Mapping[int, tuple[str, str]], stale: tuple[str, ...]
) -> dict[str, Any]:
    """What the manifest says about it."""
    counts = json.loads(json.dumps(run.manifest["counts"]))
    for number, (_, new) in changed.items():
        if str(number) in counts.get("segments", {}):
            counts["segments"][str(number)]["name"] = new
    entry = {
        "when": f"{dt.datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "approved": [
            {
                "segment": one.segment_id,
                "name": one.name,
                "by": one.by,
                "date": one.date,
                "comment": one.comment,
            }
            for one in approved
        ],
        "changed": {str(number): {"from": old, "to": new} for number, (old, new) in changed.items()},
        "not_renamed": [*stale] if changed else [],
    }
    renamed = {number: name for number, (_, name) in changed.items()}
    return {
        "counts": counts,
        "findings": rename_in_sentences(run.manifest["findings"], run.names, renamed),
        "names": [*run.manifest.get("names", []), entry],
    }
