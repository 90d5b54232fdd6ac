"""How CSV files are written (room ``customers``, called by the reader and by job files): declared, never guessed."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gpuseg.customers.reading.time_patterns import compile_format
from gpuseg.errors import InputError

GROUPS = (".", ",", " ", "'")
"""Marks between groups of three digits; a blank stands for a no-break space as well, ' for a typographic one."""


@dataclass(frozen=True)
class CsvDialect:
    """How the text of CSV files means what it means.

    Parameters
    ----------
    separator : str or None
        One character between fields; None: a tab in ``.tsv`` files, else a comma.
    decimal : {".", ","}
        The mark before the fraction of a number.
    thousands : {".", ",", " ", "'"} or None
        The mark between groups of three digits; None: there is none, and a number that has one is a problem.
    encoding : str
        Any that Python knows: "utf-8", "cp1252", "latin-1", "utf-16" ...
    header : bool
        Whether the first line names the columns; else they are column_1, column_2, ...
    day_first : bool or None
        Order of dates such as 3/4/2024: True: 3 April, False: 4 March, None: there are none, times are ISO 8601.
    time_format : str or None
        Form of all times, with the directives of strptime, such as ``"%d.%m.%y %H:%M"``.

    Raises
    ------
    InputError
        A value cannot be used, or two of them contradict each other.

    Examples
    --------
    >>> CsvDialect(separator=";", decimal=",", day_first=True).encoding
    'utf-8'
    """

    separator: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"
    header: bool = True
    day_first: bool | None = None
    time_format: str | None = None

    def __post_init__(self) -> None:
        problem = _mark_problem(self) or _text_problem(self)
        if problem:
            raise InputError(problem)


def csv_dialect(given: CsvDialect | Mapping[str, Any] | None) -> CsvDialect:
    """The dialect that a user wrote, as a record or a mapping.

    Raises
    ------
    InputError
        A key is unknown (the message has the nearest known one) or a value cannot be used.
    """
    if given is None:
        return CsvDialect()
    if isinstance(given, CsvDialect):
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"csv={given!r} is no dialect; give a mapping such as {{'separator': ';'}}")
    known = [field.name for field in fields(CsvDialect)]
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
            raise InputError(f"csv has no option {key!r}; {hint}")
    return CsvDialect(**given)


def _mark_problem(dialect: CsvDialect) -> str | None:
    separator, thousands = dialect.separator, dialect.thousands
    if separator is not None and (
        len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in '"\r\n'
    ):
        return f"separator={separator!r} is not one mark; use ',', ';', '|' or a tab ('\\t')"
    if dialect.decimal not in {".", ","}:
        return f"decimal={dialect.decimal!r} is not a decimal mark; use '.' or ','"
    if thousands is not None and thousands not in GROUPS:
        return f"thousands={thousands!r} is no mark between groups of digits; use one of {', '.join(map(repr, GROUPS))}"
    if thousands == dialect.decimal:
        return f"thousands and decimal are both {thousands!r}; one number would have two meanings"
    return None


def _text_problem(dialect: CsvDialect) -> str | None:
    try:
        codecs.lookup(dialect.encoding)
    except (LookupError, TypeError):
        return f"encoding={dialect.encoding!r} is unknown; use 'utf-8', 'cp1252', 'latin-1' or another of Python's"
    if dialect.time_format is None:
        return None
    if dialect.day_first is not None:
        return "day_first and time_format are both given; time_format alone says the order"
    try:
        compile_format(dialect.time_format)
    except ValueError as error:
        return str(error)
    return None
