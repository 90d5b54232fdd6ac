"""First guesses about a CSV file (jobs, called by init): encoding, separator, header, marks in numbers, order of dates.

A guess is only ever written into a job file, as a declaration to correct; a run reads what is declared.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa

from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.texts import numbers_from_text, times_from_text
from gpuseg.errors import SourceError

SAMPLE_BYTES = 1 << 18
"""Bytes from the head of the file that guesses rest on (the encoding: on all of it)."""

_SEPARATORS = (",", ";", "\t", "|")
_MARKS: tuple[tuple[str, str | None], ...] = (
    (".", None),
    (".", ","),
    (",", None),
    (",", "."),
    (",", " "),
    (".", " "),
    (".", "'"),
)
_DAYS = ("%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y")
_SHORT_DAYS = ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMS = (
    *tuple(day + clock for day in (*_DAYS, *_SHORT_DAYS) for clock in _CLOCKS),
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d %H:%M:%S %z",
)


@dataclass(frozen=True)
class GuessedText:
    """What a CSV file seems to be.

    Parameters
    ----------
    dialect : CsvDialect
        Without the form of times.
    names : tuple of str
        Columns.
    rows : tuple of tuple of str
        The first records.
    notes : dict of str to str
        Comments, by key of the dialect.
    """

    dialect: CsvDialect
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: dict[str, str]

    def column(self, name: str) -> list[str]:
        """The values of a column in the first records, without the empty ones."""
        position = self.names.index(name)
        return [row[position] for row in self.rows if position < len(row) and row[position] != ""]


def guess_text(filesystem: object, path: str) -> GuessedText:
    """Look at a CSV file.

    Raises
    ------
    SourceError
        It cannot be opened, or there is no record in it.
    """
    head, encoding = _decoded(filesystem, path)
    separator = _separator(head)
    rows = [row for row in csv.reader(io.StringIO(head), delimiter=separator) if row]
    if len(head) >= SAMPLE_BYTES // 2 and len(rows) > 2:
        rows.pop()  # it may be cut off
    if not rows:
        raise SourceError(f"{path}: the file is empty; a header line and at least one record are needed")
    header = _has_header(rows)
    names = rows[0] if header else [f"column_{number}" for number in range(1, len(rows[0]) + 1)]
    records = tuple(tuple(row) for row in (rows[1:] if header else rows))
    if not records:
        raise SourceError(f"{path}: 0 rows; a table with at least one record is needed")
    plain = CsvDialect(separator=separator, encoding=encoding, header=header)
    found = GuessedText(plain, tuple(names), records, {})
    decimal, thousands, note = _marks(found)
    notes = {"encoding": "assumed: the text is not UTF-8"} if encoding in {"cp1252", "latin-1"} else {}
    if not header:
        notes["header"] = "the first line looks like a record"
    if note:
        notes["thousands"] = note
    return replace(found, dialect=replace(plain, decimal=decimal, thousands=thousands), notes=notes)


def guess_times(values: Sequence[str]) -> tuple[dict[str, object], str] | None:
    """How a column's times are written: what to declare, and a comment; None if they are no times.

    Parameters
    ----------
    values : sequence of str
        Some values.
    """
    if not values:
        return None
    texts = pa.array(list(values), pa.large_string())
    if _all_times(texts, CsvDialect()):
        return {}, ""
    fits = [first for first in (True, False) if _all_times(texts, CsvDialect(day_first=first))]
    if fits:
        return {"day_first": fits[0]}, "" if len(fits) == 1 else _uncertain("false if the month comes first")
    forms = [form for form in FORMS if _all_times(texts, CsvDialect(time_format=form))]
    if not forms:
        return None
    orders = {"".join(re.findall(r"%[dmbByY]", form)) for form in forms}
    return {"time_format": forms[0]}, "" if len(orders) == 1 else _uncertain(f"or is it {forms[1]}?")


def is_numbers(values: Sequence[str], dialect: CsvDialect) -> bool:
    """Whether all values are numbers in this dialect."""
    if not values:
        return False
    _, bad = numbers_from_text(pa.array(list(values), pa.large_string()), dialect)
    return not any(mask.any() for mask in bad.values())


def _uncertain(otherwise: str) -> str:
    return f"NOT CERTAIN: no date read has a day above 12 that would tell; {otherwise}"


def _all_times(texts: pa.Array, dialect: CsvDialect) -> bool:
    stamps, bad = times_from_text(texts, dialect)
    if any(mask.any() for mask in bad.values()):
        return False
    years = (
        stamps.cast(pa.timestamp("us"))
        .to_numpy(zero_copy_only=False)
        .astype("datetime64[Y]")
        .astype(np.int64)
    )
    return bool(np.all((years >= 1980 - 1970) & (years <= 2099 - 1970)))


def _decoded(filesystem: object, path: str) -> tuple[str, str]:
    """The head of the file as text, and the encoding of all of it."""
    try:
        with filesystem.open(path, "rb", compression="infer") as file:  # type: ignore[attr-defined]
            head = file.read(SAMPLE_BYTES)
            if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return head[: len(head) // 2 * 2].decode("utf-16", "replace"), "utf-16"
            decoder = codecs.getincrementaldecoder("utf-8-sig")()
            block, text, undefined, is_utf8 = head, "", False, True
            while block:
                undefined |= any(mark in block for mark in _UNDEFINED)
                if is_utf8:
                    is_utf8 = _decodes(decoder, block)
                block = file.read(1 << 22)
    except (OSError, EOFError, ValueError) as error:
        raise SourceError(f"{path}: cannot be opened ({error})") from error
    if is_utf8:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
        return text, "utf-8"
    encoding = "latin-1" if undefined else "cp1252"
    return head.decode(encoding), encoding


_UNDEFINED = (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d")  # bytes that cp1252 does not have


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _separator(text: str) -> str:
    """The mark that cuts most lines into the same number of fields, more than one; ties go to more fields."""

    def score(mark: str) -> tuple[float, int]:
        lengths = [len(row) for row in islice(csv.reader(io.StringIO(text), delimiter=mark), 200) if row]
        usual, count = Counter(lengths).most_common(1)[0] if lengths else (1, 0)
        return (count / max(len(lengths), 1), usual) if usual > 1 else (0.0, 0)

    return max(_SEPARATORS, key=score)


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    first = rows[0]
    if len(set(first)) < len(first) or "" in first:
        return False
    plain = [CsvDialect(), CsvDialect(decimal=",")]
    return not any(is_numbers([cell], form) for cell in first for form in plain) and not any(
        guess_times([cell]) for cell in first
    )


def _marks(found: GuessedText) -> tuple[str, str | None, str]:
    """Decimal and thousands mark with which most columns are numbers, and a comment."""
    columns = [found.column(name) for name in found.names]

    def fitting(marks: tuple[str, str | None]) -> list[bool]:
        dialect = CsvDialect(decimal=marks[0], thousands=marks[1])
        return [is_numbers(values, dialect) for values in columns]

    fits = {marks: fitting(marks) for marks in _MARKS}
    best = max(_MARKS, key=lambda marks: sum(fits[marks]))
    rival = (",", None)
    if best == (".", ",") and fits[rival] == fits[best]:
        return (
            *best,
            "NOT CERTAIN: 1,234 was taken for a thousand; if the comma is a decimal mark, say so above",
        )
    return (*best, "")
