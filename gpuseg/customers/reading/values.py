"""From columns as they come to exact values (room ``customers``, called by the reader).

Each converter takes one Arrow array and returns :class:`Converted`: values without nulls where the role needs one, and
a mask of rows for each problem. Nothing is dropped here. Money becomes int64 minor units, times int64 microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.reading import local_time
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.roles import value_kind
from gpuseg.customers.reading.texts import numbers_from_text, times_from_text

Mask = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

LARGEST_MINOR = 1 << 53
"""Amounts up to here are the same number in float64 and in int64."""
NEAR = 1e-6
"""An amount this close to a whole number of minor units is that number (binary fractions are never exact)."""

_PLAIN = CsvDialect()
_TRUE = pa.array(["true", "1", "yes", "y", "t", "ja", "oui", "si", "sí", "sì", "sim"], pa.large_string())
_FALSE = pa.array(["false", "0", "no", "n", "f", "nein", "non", "não", "nee"], pa.large_string())

_WHOLE = r"^(0|-?[1-9]\d{0,17})$"


@dataclass(frozen=True)
class Converted:
    """One column as its role needs it.

    Parameters
    ----------
    values : pyarrow.Array or ndarray
        One value a row; arbitrary where a row is ``bad``.
    bad : mapping of str to mask
        Rows with which the table cannot be used, by reason.
    notes : mapping of str to int
        Rows of which something is worth knowing.
    """

    values: Any
    bad: Mapping[str, Mask] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)


def plain(array: pa.Array) -> pa.Array:
    """The array without dictionary encoding, text as large_string."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.large_string()) if value_kind(array.type) == "text" else array


def nulls(array: pa.Array) -> Mask:
    """Which rows are null."""
    mask = array.is_null().to_numpy(zero_copy_only=False)
    return np.asarray(mask, dtype=np.bool_)


def identifiers(array: pa.Array, *, required: bool) -> Converted:
    """Keys as int64 or text; a missing or blank one is bad where the role is required."""
    array = plain(array)
    if value_kind(array.type) == "integer":
        if pa.types.is_uint64(array.type):
            too_large = pc.greater(array, pa.scalar((1 << 63) - 1, pa.uint64())).fill_null(False)
            mask = too_large.to_numpy(zero_copy_only=False)
            array = pc.if_else(too_large, pa.scalar(0, pa.uint64()), array)
            found = _masks({"null": nulls(array)} if required else {}) | _masks({"too large": mask})
            return Converted(array.cast(pa.int64()), found)
        array = array.cast(pa.int64())
    if not required:
        return Converted(array)
    bad = {"null": nulls(array)}
    if value_kind(array.type) == "text":  # "" and "  " would be one customer made of everyone without a name
        blank = pc.equal(pc.utf8_trim_whitespace(array), "").fill_null(False)
        bad["blank"] = np.asarray(blank.to_numpy(zero_copy_only=False), np.bool_)
    return Converted(array, _masks(bad))


def whole_numbers(array: pa.Array) -> bool:
    """Whether text identifiers are all whole numbers without leading zeros, so that nothing is lost as int64."""
    fits = pc.match_substring_regex(array, _WHOLE)
    return bool(pc.all(fits, min_count=0).as_py())


def money(array: pa.Array, minor_units: int, *, required: bool, dialect: CsvDialect = _PLAIN) -> Converted:
    """Amounts in minor units, int64.

    A float amount is accepted when it lies within :data:`NEAR` minor units of a whole number, or is the number of its
    own type that lies nearest to one. A missing amount is bad where the role is required; elsewhere it is 0, counted.
    """
    array = plain(array)
    missing = nulls(array)
    bad: dict[str, Mask] = {"null": missing} if required else {}
    notes = {} if required else {"null taken as 0": int(np.count_nonzero(missing))}
    kind = value_kind(array.type)
    if kind == "text":
        array, found = numbers_from_text(array, dialect)
        bad |= found
        kind = "float"
    if kind == "null":
        minor = np.zeros(len(array), np.int64)
    elif kind == "float":
        minor, found = _float_money(array, minor_units)
        bad |= found
    elif kind == "integer":
        minor, bad["too large"] = _integer_money(array, minor_units)
    else:
        minor, found = _decimal_money(array, minor_units)
        bad |= found
    return Converted(minor, _masks(bad), notes)


def numbers(array: pa.Array, dialect: CsvDialect = _PLAIN) -> Converted:
    """A plain number a row, float64; nulls stay, counted."""
    array = plain(array)
    bad: dict[str, Mask] = {}
    if value_kind(array.type) == "text":
        array, found = numbers_from_text(array, dialect)
        bad |= found
    array = array.cast(pa.float64(), safe=False)
    bad["not finite"] = ~np.isfinite(_filled(array, 0.0))
    return Converted(array, _masks(bad), {"null": int(array.null_count)})


def times(array: pa.Array, zone: str, naive: str, dialect: CsvDialect = _PLAIN) -> Converted:
    """Instants in int64 microseconds since 1970-01-01 UTC; smaller fractions are cut off.

    Times without a zone are instants in UTC (``naive="utc"``) or wall clocks in ``zone`` (``naive="local"``); a date is
    the start of that day in ``zone``.
    """
    array = plain(array)
    bad = {"null": nulls(array)}
    if value_kind(array.type) == "text":
        array, found = times_from_text(array, dialect)
        bad |= found
    kind = value_kind(array.type)
    if kind == "null":
        return Converted(np.zeros(len(array), np.int64), _masks(bad))
    stamps, bad["out of range"] = _micros(array)
    notes = {"taken as UTC": 0}
    if kind == "date" or (kind == "time without zone" and naive == "local"):
        stamps, unsure = local_time.local_to_utc(stamps, zone)
        notes["clock shown twice or never"] = unsure
    elif kind == "time without zone":
        notes["taken as UTC"] = int(len(array) - np.count_nonzero(bad["null"]))
    return Converted(stamps, _masks(bad), notes)


def times_out_of_range(array: pa.Array) -> int:
    """How many times or dates lie before 1900 or after 2199, and are taken for errors of entry."""
    return int(np.count_nonzero(_micros(array)[1]))


def line_amounts(prices: Int64, pieces: pa.Array) -> Converted:
    """Amounts of lines from prices of one piece and numbers of pieces, in minor units.

    Exact for whole numbers of pieces; of a weight, the nearest minor unit, ties to even as on a receipt, counted.
    """
    missing = nulls(pieces)
    counts = np.where(np.isfinite(_filled(pieces, 0.0)), _filled(pieces, 0.0), 0.0)
    with np.errstate(over="ignore"):
        products = prices * counts
    too_large = ~(np.abs(products) <= LARGEST_MINOR)
    whole = (counts == np.rint(counts)) & ~too_large
    exact = prices * np.where(whole, counts, 0.0).astype(np.int64)
    rounded = np.rint(np.where(too_large, 0.0, products)).astype(np.int64)
    notes = {"rounded to minor units": int(np.count_nonzero(~whole & ~too_large & (products != rounded)))}
    return Converted(
        np.where(whole, exact, rounded), _masks({"no quantity": missing, "too large": too_large}), notes
    )


def flags(array: pa.Array, *, when_null: str) -> Converted:
    """True or false a row; nulls are false, counted under ``when_null``."""
    array = plain(array)
    kind = value_kind(array.type)
    missing = nulls(array)
    bad: dict[str, Mask] = {}
    if kind == "null":
        array = array.cast(pa.bool_())
    elif kind == "text":
        lower = pc.utf8_lower(array)
        true = pc.is_in(lower, value_set=_TRUE)
        false = pc.is_in(lower, value_set=_FALSE)
        bad["not a flag"] = ~(pc.or_(true, false).to_numpy(zero_copy_only=False) | missing)
        array = true
    elif kind == "integer":
        wide = _filled(array.cast(pa.int64(), safe=False), 0)
        bad["not a flag"] = (wide != 0) & (wide != 1)
        array = pa.array(wide == 1)
    values = array.fill_null(False).to_numpy(zero_copy_only=False) & ~missing
    return Converted(np.asarray(values, np.bool_), _masks(bad), {when_null: int(np.count_nonzero(missing))})


def categories(array: pa.Array, unknown: str) -> Converted:
    """Category names, dictionary-coded (int32); rows without one are in the category ``unknown``."""
    array = plain(array).cast(pa.large_string())
    missing = int(array.null_count)
    filled = array.fill_null(unknown) if missing else array
    coded = filled.dictionary_encode()
    return Converted(
        pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.cast(pa.string())),
        {},
        {"null": missing},
    )


def _masks(bad: Mapping[str, Mask]) -> dict[str, Mask]:
    return {reason: mask for reason, mask in bad.items() if mask.any()}


def _filled(array: pa.Array, value: float) -> npt.NDArray[Any]:
    filled = array.fill_null(value) if array.null_count else array
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _float_money(array: pa.Array, minor_units: int) -> tuple[Int64, dict[str, Mask]]:
    own = _filled(array, 0.0)
    amounts = own.astype(np.float64)
    finite = np.isfinite(amounts)
    amounts = np.where(finite, amounts, 0.0)
    scale = float(10**minor_units)
    with np.errstate(over="ignore"):
        scaled = amounts * scale
    nearest = np.rint(scaled)
    too_large = ~(np.abs(nearest) <= LARGEST_MINOR)
    nearest = np.where(too_large, 0.0, nearest)
    off = (np.abs(scaled - nearest) >= NEAR) & ~too_large
    if (
        off.any()
    ):  # large amounts: the product above was rounded, so ask for the nearest number of the column's type
        off &= (nearest / scale).astype(own.dtype) != own
    bad = {"not finite": ~finite, "too large": too_large, "too many decimals": off}
    return nearest.astype(np.int64), bad


def _integer_money(array: pa.Array, minor_units: int) -> tuple[Int64, Mask]:
    limit = LARGEST_MINOR // 10**minor_units
    wide = _filled(array, 0)
    mask = wide > limit
    if not pa.types.is_unsigned_integer(array.type):
        mask |= wide < -limit
    return np.where(mask, 0, wide).astype(np.int64) * np.int64(10**minor_units), np.asarray(mask, np.bool_)


def _decimal_money(array: pa.Array, minor_units: int) -> tuple[Int64, dict[str, Mask]]:
    exact = array.fill_null(Decimal(0)).cast(pa.decimal256(76, array.type.scale))
    too_large = np.abs(_filled(exact.cast(pa.float64()), 0.0)) > LARGEST_MINOR / 10**minor_units
    off = np.zeros(len(array), np.bool_)
    if array.type.scale > minor_units:
        rounded = pc.round(exact, ndigits=minor_units)
        off = np.asarray(pc.not_equal(rounded, exact).to_numpy(zero_copy_only=False), np.bool_) & ~too_large
    kept = pc.if_else(pa.array(off | too_large), pa.scalar(Decimal(0), exact.type), exact)
    whole = kept.cast(pa.decimal128(38, minor_units))
    words = np.frombuffer(whole.buffers()[1], "<i8").reshape(-1, 2)  # low word first; what is left fits in it
    minor = words[whole.offset : whole.offset + len(whole), 0].astype(np.int64)
    return minor, {"too many decimals": off, "too large": too_large}


def _micros(array: pa.Array) -> tuple[Int64, Mask]:
    """Microseconds of timestamps and dates, and which lie outside the range that is taken for real."""
    if pa.types.is_date(array.type):
        array = array.cast(pa.date32()).cast(pa.timestamp("s"))
    unit = array.type.unit
    raw = _filled(array.cast(pa.int64()), 0)
    per_micro = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[unit]
    low, high = local_time.FIRST_INSTANT // per_micro, local_time.LAST_INSTANT // per_micro
    if unit == "ns":
        raw = raw // 1_000
    outside = (raw < low) | (raw >= high)
    return np.where(outside, 0, raw) * np.int64(per_micro), np.asarray(outside, np.bool_)
