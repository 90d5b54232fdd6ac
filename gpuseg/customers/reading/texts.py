"""Numbers and times that come as text (room ``customers``, called by values): CSV fields, as their dialect says.

Each function returns an array without the bad values and a mask of rows for each kind of badness. A value in another
form than the declared one is bad, with a reason that names the form: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.time_patterns import DAY_FIRST, MONTH_FIRST, MONTHS, compile_format

Mask = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

_EXPONENT = r"([eE][+-]?\d+)?"
_COMMA = rf"^\s*[+-]?(\d{{1,3}}([.' \x{{A0}}\x{{202F}}]\d{{3}})+|\d+)?,\d*{_EXPONENT}\s*$"
_GROUPED = r"^\s*[+-]?\d{1,3}([.,' \x{2019}\x{A0}\x{202F}]\d{3})+([.,]\d*)?\s*$"
_CLOCK = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}(:\d{2}(:\d{2}(\.\d{1,9})?)?)?)?$"
_CLOCK_IN_ZONE = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)$"
_SPACES = "[ \u00a0\u202f]"
_MICROS = {"H": 3_600_000_000, "M": 60_000_000, "S": 1_000_000}


def numbers_from_text(array: pa.Array, dialect: CsvDialect) -> tuple[pa.Array, dict[str, Mask]]:
    """Float64 from text in the declared form; 0 where a row is bad."""
    mark, group = re.escape(dialect.decimal), _group_pattern(dialect.thousands)
    whole = rf"\d{{1,3}}({group}\d{{3}})+|\d+" if group else r"\d+"
    pattern = rf"^\s*[+-]?(({whole})({mark}\d*)?|{mark}\d+){_EXPONENT}\s*$"
    fits = pc.match_substring_regex(array, pattern).fill_null(True)
    plain = pc.replace_substring_regex(array, group, "") if group else array
    if dialect.decimal != ".":
        plain = pc.replace_substring(plain, dialect.decimal, ".")
    kept = pc.if_else(fits, pc.utf8_trim_whitespace(plain), pa.scalar("0", pa.large_string()))
    bad = ~_mask(fits)
    reasons = {"not a number": bad}
    if bad.any():
        comma = bad & _matches(array, _COMMA) & (dialect.decimal == ".")
        grouped = bad & _matches(array, _GROUPED) & ~comma
        reasons = {"not a number": bad & ~comma & ~grouped, "decimal comma": comma, "grouped digits": grouped}
    return kept.cast(pa.float64()), reasons


def times_from_text(array: pa.Array, dialect: CsvDialect) -> tuple[pa.Array, dict[str, Mask]]:
    """Timestamps from text in the declared form, all in a zone or none; 1970 where a row is bad."""
    if dialect.time_format is not None:
        stamps, read = _by_pattern(array, compile_format(dialect.time_format))
        return stamps, {"not in time_format": ~(read | _nulls(array))}
    if dialect.day_first is None:
        return _iso_times(array)
    stamps, read = _by_pattern(array, DAY_FIRST if dialect.day_first else MONTH_FIRST)
    if (read | _nulls(array)).all():
        return stamps, {"not a time": np.zeros(len(array), np.bool_)}
    rest, bad = _iso_times(pc.if_else(pa.array(read), pa.scalar(None, array.type), array))
    if "undeclared order" in bad:
        bad["not in declared order"] = bad.pop("undeclared order")
    if rest.type.tz is not None and read.any():
        zoned = ~(read | np.logical_or.reduce(list(bad.values())) | _nulls(array))
        bad["mixed clocks"] = zoned if zoned.sum() <= read.sum() else read
        rest = rest.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).cast(pa.timestamp("us"))
    return pc.if_else(pa.array(read), stamps.cast(rest.type), rest), bad


def _iso_times(array: pa.Array) -> tuple[pa.Array, dict[str, Mask]]:
    """Timestamps from ISO 8601 text: all in a zone, or none."""
    clock, zoned = _matches(array, _CLOCK), _matches(array, _CLOCK_IN_ZONE)
    odd = ~(clock | zoned | _nulls(array))
    bad = {"not a time": odd}
    if odd.any():
        other = _matches(array, DAY_FIRST) | _matches(array, MONTH_FIRST)
        bad["undeclared order"] = odd & other
        bad["not a time"] = odd & ~other
    if clock.any() and zoned.any():
        bad["mixed clocks"] = clock if clock.sum() < zoned.sum() else zoned
    keep = zoned if zoned.sum() > clock.sum() else clock
    target = pa.timestamp("us", "UTC") if zoned.sum() > clock.sum() else pa.timestamp("us")
    kept = pc.if_else(pa.array(keep), array, pa.scalar(None, array.type))
    try:
        stamps = kept.cast(target)
    except pa.ArrowInvalid:  # the form is right and the date is not (2017-02-31): find those rows one by one
        stamps, impossible = _castable(kept, target)
        bad["not a time"] |= impossible
    return stamps.fill_null(pa.scalar(0, stamps.type)), bad


def _castable(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    unique = array.unique()
    good = []
    for value in unique:
        try:
            good.append(value.cast(target).as_py())
        except pa.ArrowInvalid:
            good.append(None)
    stamps = pa.array(good, target).take(pc.index_in(array, value_set=unique))
    return stamps, _nulls(stamps) & ~_nulls(array)


def _by_pattern(array: pa.Array, pattern: str) -> tuple[pa.Array, Mask]:
    """Timestamps of the rows that fit a pattern and name a real day and clock time, and which rows those are."""
    found = pc.extract_regex(array, pattern)
    read = ~_nulls(found)
    groups = {found.type.field(i).name: found.field(i) for i in range(found.type.num_fields)}
    parts = {name: _whole(text) for name, text in groups.items() if name not in "pbBfz"}
    months = _months(parts, groups)
    years = parts["Y"] if "Y" in parts else _centuries(parts["y"])
    hours, possible = _hours(parts, groups)
    read &= possible & (months >= 1) & (months <= 12) & (years >= 1)
    months, years = np.where(read, months, 1), np.where(read, years, 1970)
    first = (years - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (months - 1)
    days = first.astype("datetime64[D]") + (parts["d"] - 1)
    read &= (parts["d"] >= 1) & (days.astype("datetime64[M]") == first)
    micros = days.astype(np.int64) * 86_400_000_000 + hours * _MICROS["H"]
    for name in ("M", "S"):
        if name in parts:
            read &= parts[name] < 60
            micros += parts[name] * _MICROS[name]
    if "f" in groups:
        micros += _whole(pc.utf8_slice_codeunits(pc.utf8_rpad(groups["f"], 6, "0"), 0, 6))
    if "z" in groups:
        micros -= _offset(groups["z"])
    zone = "UTC" if "z" in groups else None
    return pa.array(np.where(read, micros, 0)).cast(pa.timestamp("us", zone)), read


def _whole(text: pa.Array) -> Int64:
    digits = pc.if_else(pc.equal(text, "").fill_null(True), pa.scalar("0", text.type), text)
    return np.asarray(digits.cast(pa.int64()).to_numpy(zero_copy_only=False))


def _months(parts: Mapping[str, Int64], groups: Mapping[str, pa.Array]) -> Int64:
    if "m" in parts:
        return parts["m"]
    names = MONTHS if "B" in groups else tuple(name[:3] for name in MONTHS)
    lower = pc.utf8_lower(groups["B" if "B" in groups else "b"])
    index = pc.index_in(lower, value_set=pa.array(names, lower.type)).fill_null(-1)
    return np.asarray(index.to_numpy(zero_copy_only=False)).astype(np.int64) + 1


def _centuries(short: Int64) -> Int64:
    """The years of two digits: 69 to 99 are of the last century, as POSIX has it."""
    return short + np.where(short >= 69, 1900, 2000)


def _hours(parts: Mapping[str, Int64], groups: Mapping[str, pa.Array]) -> tuple[Int64, Mask]:
    """Hours from midnight, and which are possible; with am or pm they run from 1 to 12."""
    hours = parts.get("H", parts.get("I", np.zeros(len(parts["d"]), np.int64)))
    if "p" not in groups:
        return hours, hours < 24
    half = pc.utf8_lower(groups["p"])
    pm, am = (_mask(pc.equal(half, mark).fill_null(False)) for mark in "pa")
    either = am | pm
    possible = np.where(either, (hours >= 1) & (hours <= 12), hours < 24)
    return np.where(either, hours % 12 + np.where(pm, 12, 0), hours), possible


def _offset(zone: pa.Array) -> Int64:
    """Microseconds east of Greenwich; Z and nothing are 0."""
    padded = pc.if_else(
        pc.match_substring_regex(zone, r"^[+-]").fill_null(False), zone, pa.scalar("+0000", zone.type)
    )
    digits = _whole(pc.replace_substring_regex(padded, "[+:-]", ""))
    sign = np.where(_mask(pc.starts_with(padded, "-")), -1, 1)
    minutes = digits // 100 * 60 + digits % 100
    return np.asarray(sign * minutes * _MICROS["M"], np.int64)


def _group_pattern(thousands: str | None) -> str:
    if thousands is None:
        return ""
    return {" ": _SPACES, "'": "['\u2019]"}.get(thousands, re.escape(thousands))


def _matches(array: pa.Array, pattern: str) -> Mask:
    return _mask(pc.match_substring_regex(array, pattern).fill_null(False))


def _mask(flags: pa.Array) -> Mask:
    return np.asarray(flags.to_numpy(zero_copy_only=False), np.bool_)


def _nulls(array: pa.Array) -> Mask:
    return _mask(array.is_null())
