"""Weight files and their linter (room ``personality``; called by ``TraitWeights.from_csv`` and by jobs).

A weight file is a CSV in UTF-8 with a line a category and trait::

    category,trait,weight,source,evidence_class,verified
    restaurants,extraversion,1.0,Gladstone Matz Lemaire 2019,measured,yes

``verified`` is "yes" or "no"; a weight whose source is not verified is 0. Columns may stand in any order.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection
from dataclasses import astuple
from pathlib import Path

from gpuseg.errors import SchemaError, SourceError
from gpuseg.personality.weights import TraitWeight, TraitWeights

COLUMNS = ("category", "trait", "weight", "source", "evidence_class", "verified")
"""Of a weight file; all of them are needed."""


def lint(path: str | Path, categories: Collection[str] | None = None) -> list[str]:
    """Everything that is wrong with a weight file.

    Parameters
    ----------
    path : str or Path
        The file.
    categories : collection of str, optional
        Categories that there are; any other is then a mistake.

    Returns
    -------
    list of str
        A sentence a problem, each beginning with its line; empty if the file can be used.

    Raises
    ------
    SourceError
        The file cannot be read.
    """
    _, problems = _parse(_text(Path(path)), categories)
    return problems


def read(path: Path, construct: str | None, categories: Collection[str] | None) -> TraitWeights:
    """Weights of a file: see :meth:`gpuseg.personality.weights.TraitWeights.from_csv`.

    Parameters
    ----------
    path : Path
        The file.
    construct : str or None
        What the traits are of; None: the file's name.
    categories : collection of str or None
        Categories that there are.

    Raises
    ------
    SourceError
        The file cannot be read.
    SchemaError
        Lists every problem with its line.
    """
    entries, problems = _parse(_text(path), categories)
    if problems:
        raise SchemaError(str(path), problems)
    return TraitWeights.of(path.stem if construct is None else construct, map(astuple, entries))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); name a weight file") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _parse(text: str, categories: Collection[str] | None) -> tuple[list[TraitWeight], list[str]]:
    """Entries that could be read, and the problems in order of their lines."""
    reader = csv.reader(text.splitlines(), strict=True)
    entries: list[TraitWeight] = []
    problems: list[str] = []
    first: dict[tuple[str, str], int] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if header.count(name) != 1]
        if missing:
            return [], [
                f"line 1: column {missing[0]!r} is not there once; the columns are {', '.join(COLUMNS)}"
            ]
        for fields in reader:
            line = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            found = _entry(header, fields)
            problem = found if isinstance(found, str) else _misfit(found, line, first, categories)
            if problem is not None:
                problems.append(f"line {line}: {problem}")
            elif isinstance(found, TraitWeight):
                entries.append(found)
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: {error}; quote fields with a comma and close every quote")
    if not problems and not entries:
        problems.append("line 2: there are no weights; write a line a category and trait")
    return entries, problems


def _entry(header: list[str], fields: list[str]) -> TraitWeight | str:
    """An entry, or what keeps a line from being one."""
    if len(fields) != len(header):
        return f"{len(fields)} fields where the header has {len(header)}"
    row = dict(zip(header, fields, strict=True))
    try:
        weight = float(row["weight"])
    except ValueError:
        return f"weight {row['weight']!r} is no number; write it like 0.5"
    if row["verified"] not in {"yes", "no"}:
        return f"verified {row['verified']!r} is neither yes nor no"
    verified = row["verified"] == "yes"
    return TraitWeight(
        row["category"], row["trait"], weight, row["source"], row["evidence_class"], verified=verified
    )


def _misfit(
    entry: TraitWeight,
    line: int,
    first: dict[tuple[str, str], int],
    categories: Collection[str] | None,
) -> str | None:
    """What is wrong with an entry by itself, or beside the ones before."""
    problem = entry.problem()
    if problem is not None:
        return problem
    before = first.setdefault((entry.category, entry.trait), line)
    if before != line:
        return f"{entry.category!r} and {entry.trait!r} stand in line {before} already; keep one of them"
    if categories is not None and entry.weight and entry.category not in categories:
        near = difflib.get_close_matches(entry.category, list(categories), 1)
        hint = f"; is {near[0]!r} meant?" if near else ""
        return f"category {entry.category!r} is none of the {len(categories)} there are{hint}"
    return None
