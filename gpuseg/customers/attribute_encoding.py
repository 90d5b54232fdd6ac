"""From what customers are to features (room ``customers``, called by jobs and models): numbers, and one column a level.

An :class:`Encoding` is decided once, on the customers that segments are made of, and kept with the model, so that new
customers are encoded alike.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.core import detmath
from gpuseg.customers.reading.attribute_columns import ATTRIBUTE_PREFIX, as_numbers, as_text, reads_as_numbers
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.errors import InputError

logger = logging.getLogger("gpuseg.customers")

Float64 = npt.NDArray[np.float64]

MOST_LEVELS = 50
"""Levels of a category: one with more splits customers into groups too small to tell."""
NOT_KNOWN = "not known"
"""Level of those whose value is missing, where that is an answer of its own."""
_LEVEL = "="


@dataclass(frozen=True)
class AttributeRule:
    """What a job declares of an attribute.

    Parameters
    ----------
    name : str
        Column of the source.
    builds : bool
        Whether segments are built from it; else it only describes them.
    kind : {"number", "category"} or None
        What its values are; None: numbers where all values are numbers.
    missing : {"error", "fallback", "median", "indicator", "constant"}
        What becomes of customers without a value, where it builds: the run stops, they are not placed, they get the
        median, they are told apart by a column of their own, or they get ``constant``.
    constant : float, str or None
        The value for "constant".
    log : bool
        Whether ln(1 + x) is taken of a number: for money and counts.
    """

    name: str
    builds: bool
    kind: str | None = None
    missing: str = "error"
    constant: float | str | None = None
    log: bool = False


@dataclass(frozen=True)
class Encoding:
    """How the values of an attribute become columns.

    Parameters
    ----------
    name : str
        Column of the source.
    builds : bool
        Whether segments are built from it.
    kind : str
        "number" or "category".
    levels : tuple of str
        Of a category, in the order in which people count.
    fill : float, str or None
        Stands for a missing value; None: it stays missing.
    tells_missing : bool
        Whether a column says that the value is missing.
    log : bool
        Whether ln(1 + x) is taken.
    """

    name: str
    builds: bool
    kind: str
    levels: tuple[str, ...] = ()
    fill: float | str | None = None
    tells_missing: bool = False
    log: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features: ``attribute_X``, or ``attribute_X=level``."""
        own = ATTRIBUTE_PREFIX + self.name
        missing = (f"{own}{_LEVEL}{NOT_KNOWN}",) if self.tells_missing else ()
        if self.kind == "number":
            return (own, *missing)
        return (*(f"{own}{_LEVEL}{level}" for level in self.levels), *missing)

    def encode(self, values: pa.Array, where: str) -> dict[str, Float64]:
        """The features of customers; NaN where a value is missing and nothing stands for it.

        Parameters
        ----------
        values : pyarrow.Array
            Text or float64, a value a customer.
        where : str
            Words for the table in messages.

        Raises
        ------
        InputError
            The values are text, and the encoding is of numbers.
        """
        unknown = np.asarray(values.is_null().to_numpy(zero_copy_only=False), np.bool_)
        if self.kind == "number":
            found = [self._numbers(values, unknown, where)]
        else:
            found = self._levels(values, unknown, where)
        if self.tells_missing:
            found.append(unknown.astype(np.float64))
        return dict(zip(self.columns, found, strict=True))

    def _numbers(self, values: pa.Array, unknown: npt.NDArray[np.bool_], where: str) -> Float64:
        values = _numbers_of(values)
        if not pa.types.is_floating(values.type):
            raise InputError(
                f"{where}: column {self.name!r} holds text such as {_odd(values)!r}, and the attribute is a number"
            )
        numbers = np.array(values.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)
        if self.fill is not None:
            numbers[unknown] = self.fill
        return numbers if not self.log else _log(numbers, self.name, where)

    def _levels(self, values: pa.Array, unknown: npt.NDArray[np.bool_], where: str) -> list[Float64]:
        text = as_text(values)
        if self.fill is not None:
            text = text.fill_null(str(self.fill))
        code = pc.index_in(text, value_set=pa.array(self.levels, pa.large_string())).fill_null(-1).to_numpy()
        told = ~unknown | (self.fill is not None)
        new = int(np.count_nonzero(told & (code < 0)))
        if new:
            logger.warning(
                "%s: %d customers with a value of %r that is new to the model", where, new, self.name
            )
        columns = [(code == level).astype(np.float64) for level in range(len(self.levels))]
        if not self.tells_missing:
            for column in columns:
                column[~told] = np.nan
        return columns


def attribute_of(column: str) -> str | None:
    """The attribute behind a feature ``attribute_X`` or ``attribute_X=level``; None for any other feature."""
    if not column.startswith(ATTRIBUTE_PREFIX):
        return None
    return column.removeprefix(ATTRIBUTE_PREFIX).split(_LEVEL, 1)[0]


def level_of(column: str) -> str | None:
    """The level of a feature ``attribute_X=level``; None where there is none."""
    _, mark, level = column.partition(_LEVEL)
    return level if mark and column.startswith(ATTRIBUTE_PREFIX) else None


def encoding_of(rule: AttributeRule, values: pa.Array, where: str) -> Encoding:
    """Decide how an attribute is encoded, from the values of the customers that segments are made of.

    Parameters
    ----------
    rule : AttributeRule
        What the job declares.
    values : pyarrow.Array
        Text or float64, a value a customer.
    where : str
        Words for the table in messages.

    Returns
    -------
    Encoding

    Raises
    ------
    InputError
        No value is known, values are missing and nothing is declared for them, there are too many levels, or the
        declaration does not fit the values.
    """
    n, missing = len(values), values.null_count
    if missing == n:
        raise InputError(
            f"{where}: column {rule.name!r} is missing (null) for all {n:,} customers; let it be ignored"
        )
    if missing and rule.builds and rule.missing == "error":
        raise InputError(
            f"{where}: column {rule.name!r} is missing (null) for {missing:,} of {n:,} customers; declare what becomes "
            f"of them, columns: {{{rule.name}: {{use: build, missing: fallback}}}} (or median, indicator, "
            "{constant: ...})"
        )
    if rule.kind == "number":
        values = _numbers_of(values)
    kind = rule.kind or ("number" if pa.types.is_floating(values.type) else "category")
    _require_fitting(rule, kind, values, where)
    plain = Encoding(rule.name, rule.builds, kind, log=rule.log)
    if kind == "category":
        return _with_levels(plain, rule, values, where)
    if not rule.builds:
        return plain
    fill = {"median": _median(values), "indicator": _median(values), "constant": rule.constant}.get(
        rule.missing
    )
    return replace(plain, fill=fill, tells_missing=bool(missing) and rule.missing == "indicator")


def _require_fitting(rule: AttributeRule, kind: str, values: pa.Array, where: str) -> None:
    if kind == "number" and not pa.types.is_floating(values.type):
        raise InputError(
            f"{where}: column {rule.name!r} is declared a number and holds text such as {_odd(values)!r}; declare it a "
            "category"
        )
    if kind == "category" and rule.missing == "median":
        raise InputError(
            f"{where}: column {rule.name!r} is a category, which has no median; use missing: indicator, fallback or "
            "{constant: ...}"
        )
    if kind == "category" and rule.log:
        raise InputError(
            f"{where}: column {rule.name!r} is a category, which has no logarithm; leave log out"
        )
    if kind == "number" and isinstance(rule.constant, str):
        raise InputError(
            f"{where}: column {rule.name!r} holds numbers, and the constant for missing ones is {rule.constant!r}; "
            "give a number"
        )


def _with_levels(plain: Encoding, rule: AttributeRule, values: pa.Array, where: str) -> Encoding:
    text = as_text(values)
    levels = set(text.drop_null().unique().to_pylist())
    fill = str(rule.constant) if rule.builds and rule.missing == "constant" else None
    if fill is not None:
        levels.add(fill)
    if len(levels) > MOST_LEVELS:
        raise InputError(
            f"{where}: column {rule.name!r} has {len(levels):,} different values, at most {MOST_LEVELS} can be told "
            "apart; group them, or let it be ignored"
        )
    if NOT_KNOWN in levels and rule.missing == "indicator":
        raise InputError(
            f"{where}: column {rule.name!r} has the value {NOT_KNOWN!r}, which stands for missing ones; rename it"
        )
    tells = rule.builds and rule.missing == "indicator" and bool(values.null_count)
    return replace(
        plain, levels=tuple(sorted(levels, key=_in_counting_order)), fill=fill, tells_missing=tells
    )


def _in_counting_order(level: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """People count "9-11" before "100-124"; levels that count alike go by their characters."""
    pieces = re.findall(r"\d+|\D+", level)
    key = tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
    return key, level


def _numbers_of(values: pa.Array) -> pa.Array:
    """Text as numbers, where all of it is that; a column of nothing is numbers too."""
    return as_numbers(values, CsvDialect()) if reads_as_numbers(values, CsvDialect()) else values


def _odd(values: pa.Array) -> str:
    """The first text, in order, that is no number."""
    texts: list[str] = sorted(values.drop_null().unique().to_pylist())
    return next(
        text for text in texts if not reads_as_numbers(pa.array([text], pa.large_string()), CsvDialect())
    )


def _median(values: pa.Array) -> float:
    """The lower of the two middle values: a value that somebody has."""
    known = np.sort(values.drop_null().to_numpy())
    return float(known[(len(known) - 1) // 2])


def _log(numbers: Float64, name: str, where: str) -> Float64:
    low = int(np.count_nonzero(numbers <= -1.0))
    if low:
        raise InputError(
            f"{where}: column {name!r} is -1 or less for {low:,} customers, where ln(1 + x) is not defined; leave log "
            "out"
        )
    known = ~np.isnan(numbers)
    found = np.full(len(numbers), np.nan)
    found[known] = detmath.log1p(numbers[known])
    return found


def encode_all(encodings: Sequence[Encoding], values: Any, customers: Any, where: str) -> dict[str, Float64]:
    """The features of customers from all encodings that build.

    Parameters
    ----------
    encodings : sequence of Encoding
        In the order of the features.
    values : AttributeValues
        What customers are.
    customers : Arrow array
        Whose features.
    where : str
        Words for the table in messages.
    """
    found: dict[str, Float64] = {}
    for encoding in encodings:
        if encoding.builds:
            found |= encoding.encode(values.of(encoding.name, customers), where)
    return found
