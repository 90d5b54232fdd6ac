"""One part of a source, checked and normalised (room ``customers``, called by transactions and dask_frames).

A :class:`Reader` is a small record that travels to workers; :meth:`Reader.normalise` is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers.reading import local_time, values
from gpuseg.customers.reading.attribute_columns import (
    ATTRIBUTE,
    ATTRIBUTE_PREFIX,
    as_numbers,
    as_text,
    attribute_values,
    reads_as_numbers,
)
from gpuseg.customers.reading.audit import (
    CODE,
    ERASED,
    KIND,
    NOTE,
    PROBLEM,
    REJECT,
    TOTAL,
    TYPE,
    Audit,
    Finding,
    in_order,
)
from gpuseg.customers.reading.consented import ConsentKeys, consent_keys
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.parts import Raw
from gpuseg.customers.reading.rejected import rejected_rows
from gpuseg.customers.reading.roles import (
    CATEGORY,
    FLAG,
    KEY,
    MONEY,
    NUMBER,
    REQUIRED,
    ROLE_KINDS,
    TIME,
    Roles,
    fits_role,
    value_kind,
)
from gpuseg.customers.reading.roles import (
    CODE as CODE_KIND,
)
from gpuseg.errors import SchemaError

UNKNOWN = "unknown"
"""Category of the lines that have none."""

Mask = npt.NDArray[np.bool_]
Erased = Callable[[pa.Array | pa.ChunkedArray], Mask]
"""Says of customers' keys, whole numbers or text, which belong to customers who were erased."""

Consented = Callable[[pa.Array | pa.ChunkedArray], Mask]
"""Says of customers' keys which belong to customers who agreed; a missing key is a problem, not a refusal: true."""

_KIND_WORDS = {"integer": "whole numbers", "text": "text"}
_TIME_TYPE = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Checked:
    """One part, normalised, and what was found in it.

    Parameters
    ----------
    table : pyarrow.Table or None
        The rows that were kept; ``None`` where a required column cannot be used at all.
    audit : Audit
        Counts over all rows of the part.
    customer_type : pyarrow.DataType or None
        Type in which the customer keys came.
    whole_keys : frozenset of str
        Roles whose text keys, as far as there are any in this part, are all whole numbers (CSV).
    erased : frozenset of str
        Erased customers whose rows were left out, as text: only until they are counted.
    numeric : frozenset of str
        Attributes whose values, as far as there are any in this part, are all numbers.
    rejected : pyarrow.Table or None
        The rows that were left out, as text, if the reader collects them.
    consent : ConsentKeys or None
        Who gave consent, if the reader collects it and a column says so.
    """

    table: pa.Table | None
    audit: Audit
    customer_type: pa.DataType | None = None
    whole_keys: frozenset[str] = field(default_factory=frozenset)
    erased: frozenset[str] = field(default_factory=frozenset)
    numeric: frozenset[str] = field(default_factory=frozenset)
    rejected: pa.Table | None = None
    consent: ConsentKeys | None = None

    def with_whole_keys(self, roles: frozenset[str]) -> Checked:
        """The keys of these roles, all of which are the text of whole numbers, as int64."""
        if self.table is None:
            return self
        table = self.table
        for role in sorted(roles):
            index = table.column_names.index(role)
            table = table.set_column(index, role, table[role].cast(pa.int64()))
        kept = pa.int64() if "customer" in roles else self.customer_type
        return replace(self, table=table, customer_type=kept)

    def with_attributes(self, names: Sequence[str], numeric: frozenset[str], dialect: CsvDialect) -> Checked:
        """Attributes that are numbers in all parts as float64, all others as text."""
        if self.table is None:
            return self
        table = self.table
        for name in names:
            place = table.column_names.index(ATTRIBUTE_PREFIX + name)
            array = table.column(place).combine_chunks()
            alike = as_numbers(array, dialect) if name in numeric else as_text(array)
            table = table.set_column(place, ATTRIBUTE_PREFIX + name, alike)
        return replace(self, table=table)

    def require_table(self, where: str) -> pa.Table:
        """The table, or the problems for which there is none.

        Raises
        ------
        SchemaError
            A required column cannot be used.
        """
        if self.table is None:
            raise SchemaError(where, self.audit.problems())
        return self.table


@dataclass(frozen=True)
class Reader:
    """How columns become records.

    Parameters
    ----------
    roles : Roles
        Which column plays which role.
    time_zone : str
        Calendar in which days are counted.
    naive : str
        What a time without a zone means: "utc" or "local".
    minor_units : int
        Decimals of the currency.
    on_bad_rows : str
        "error" or "reject".
    as_text : bool
        All values are text (CSV).
    skip : frozenset of str
        Roles whose columns are unusable, already reported.
    dialect : CsvDialect
        What the text of CSV means.
    amount_of : str
        What an amount is for: "line", or one "piece" of the quantity.
    erased : callable or None
        Which customers were erased; nothing is counted of their rows but how many they are.
    attributes : tuple of str
        Columns that say what customers are, and play no role.
    consented : callable or None
        Which customers agreed, where a table of customers says so.
    collect : int or None
        How many rejected rows to keep as text, and whether to tell who gave consent; None: neither (Dask).
    """

    roles: Roles
    time_zone: str
    naive: str
    minor_units: int
    on_bad_rows: str
    as_text: bool = False
    skip: frozenset[str] = field(default_factory=frozenset)
    dialect: CsvDialect = field(default_factory=CsvDialect)
    amount_of: str = "line"
    erased: Erased | None = None
    attributes: tuple[str, ...] = ()
    consented: Consented | None = None
    collect: int | None = None

    def usable(self) -> dict[str, str]:
        """Role to column, for the roles whose column can be read."""
        return {role: name for role, name in self.roles.declared().items() if role not in self.skip}

    def columns(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys([*self.role_columns(), *self.attributes]))

    def role_columns(self) -> list[str]:
        """Those of them that play a role."""
        return list(dict.fromkeys(self.usable().values()))

    def normalise(self, raw: Raw) -> Checked:
        """Check one part and turn it into exact values."""
        tally = _Tally(raw.table.num_rows)
        columns: dict[str, Any] = {}
        customer_type = None
        whole = set()
        gone: frozenset[str] = frozenset()
        for role, name in self.usable().items():
            if name in raw.mixed:
                tally.mixed(role, name, raw.mixed[name])
                continue
            array = _array(raw.table, name)
            if not self.as_text and not fits_role(role, value_kind(array.type)):
                tally.add(TYPE, role, name, value_kind(array.type), len(array))
                continue
            if self.as_text and ROLE_KINDS[role] == KEY and values.whole_numbers(array):
                whole.add(role)
            converted = self._convert(role, array)
            if role == "customer" and self.erased is not None:  # the first role: no other has been looked at
                gone = tally.leave_out(name, converted.values, self.erased)
            tally.take(role, name, converted)
            columns[role] = converted.values
            if role == "customer":
                customer_type = _own_type(raw.table[name].type, converted.values)
        if self.consented is not None and "customer" in columns:
            agreed = self.consented(columns["customer"])
            columns["consent"] = agreed & columns["consent"] if "consent" in columns else agreed
        numeric = self._take_attributes(raw, columns, tally)
        found = self._assemble(columns, tally, customer_type)
        checked = replace(found, whole_keys=frozenset(whole), erased=gone, numeric=numeric)
        refused = checked.table is None or not self.usable().keys() <= columns.keys()
        if self.collect is None or refused:
            return checked
        return self._collected(checked, raw, tally, columns)

    def _take_attributes(self, raw: Raw, columns: dict[str, Any], tally: _Tally) -> frozenset[str]:
        """Carry attribute columns along; those of them that are numbers."""
        numeric = set()
        for name in self.attributes:
            found = None if name in raw.mixed else attribute_values(_array(raw.table, name))
            if found is None:
                tally.add(PROBLEM, ATTRIBUTE, name, "no attribute", tally.n_rows)
                continue
            columns[ATTRIBUTE_PREFIX + name] = found
            typed = not self.as_text and not pa.types.is_floating(found.type)
            if not typed and reads_as_numbers(found, self.dialect):
                numeric.add(name)
        return frozenset(numeric)

    def _collected(self, checked: Checked, raw: Raw, tally: _Tally, columns: dict[str, Any]) -> Checked:
        """With what people look at: rows that can be mended, and who gave consent."""
        keys = None
        consent = columns.get("consent")
        if consent is not None:
            keys = consent_keys(columns["customer"], tally.good("customer") & ~tally.gone, consent)
        rejected = None
        if self.on_bad_rows == "reject" and self.collect:
            bad = ~tally.good() if consent is None else consent & ~tally.good()
            if not bad.any():
                return replace(checked, consent=keys)
            rejected = rejected_rows(
                raw.table.select(self.role_columns()), tally.reasons(), bad, self.collect
            )
        return replace(checked, rejected=rejected, consent=keys)

    def _convert(self, role: str, array: pa.Array) -> values.Converted:
        kind = ROLE_KINDS[role]
        if kind == KEY:
            return values.identifiers(array, required=role in {"customer", "basket"})
        if kind == MONEY:
            return values.money(array, self.minor_units, required=role in REQUIRED, dialect=self.dialect)
        if kind == TIME:
            return values.times(array, self.time_zone, self.naive, self.dialect)
        if kind == NUMBER:
            return values.numbers(array, self.dialect)
        if kind == FLAG:
            return values.flags(array, when_null="null taken as false")
        assert kind in {CATEGORY, CODE_KIND}
        return values.categories(array, UNKNOWN)

    def _assemble(self, columns: dict[str, Any], tally: _Tally, customer_type: pa.DataType | None) -> Checked:
        self._multiply(columns, tally)
        self._check_signs(columns, tally)
        keep = tally.rows_to_keep(self.on_bad_rows, columns.get("consent"))
        rejected = tally.n_rows - int(np.count_nonzero(keep))
        if any(role not in columns for role in REQUIRED):
            return Checked(None, Audit(tally.n_rows, rejected, tally.found), customer_type)
        days = local_time.local_days(columns["time"], self.time_zone)
        self._count(columns, keep, tally)
        kept_days = days[keep]
        span = (int(kept_days.min()), int(kept_days.max())) if len(kept_days) else None
        table = _table(columns, days)
        if rejected:
            table = table.filter(pa.array(keep))
        return Checked(table, Audit(tally.n_rows, rejected, tally.found, span), customer_type)

    def _multiply(self, columns: dict[str, Any], tally: _Tally) -> None:
        if self.amount_of == "piece" and {"amount", "quantity"} <= set(columns):
            lines = values.line_amounts(columns["amount"], columns["quantity"])
            tally.take("amount", self.usable()["amount"], lines)
            columns["amount"] = lines.values

    def _check_signs(self, columns: dict[str, Any], tally: _Tally) -> None:
        for role in ("discount", "coupon"):
            if role in columns and "amount" in columns:
                negative = (columns[role] < 0) & (columns["amount"] >= 0)
                tally.bad(role, self.usable()[role], "negative", negative)

    def _count(self, columns: dict[str, Any], keep: Mask, tally: _Tally) -> None:
        usable = self.usable()
        for role in ("amount", "discount", "coupon"):
            if role in columns:
                tally.add(
                    TOTAL, role, usable[role], "sum of absolute values", _exact_total(columns[role][keep])
                )
        low = int(np.count_nonzero(columns["amount"][keep] <= 0))
        tally.add(NOTE, "amount", usable["amount"], "zero or negative", low)
        if "quantity" in columns:
            quantity = columns["quantity"].fill_null(1).to_numpy(zero_copy_only=False)[keep]
            low = int(np.count_nonzero(quantity <= 0))
            tally.add(NOTE, "quantity", usable["quantity"], "zero or negative", low)
        if "currency" in columns:
            for entry in columns["currency"].filter(pa.array(keep)).value_counts().to_pylist():
                tally.add(CODE, "currency", usable["currency"], entry["values"], entry["counts"])


class _Tally:
    """Findings of one part while it is being read."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.found: dict[Finding, int] = {}
        self.masks: dict[Finding, Mask] = {}
        self.gone: Mask = np.zeros(n_rows, np.bool_)

    def leave_out(self, name: str, keys: pa.Array, erased: Erased) -> frozenset[str]:
        """Leave out the rows of erased customers, whatever else is in them; returns who these customers are."""
        self.gone = erased(keys)
        self.add(REJECT, "customer", name, ERASED, int(np.count_nonzero(self.gone)))
        return frozenset(map(str, keys.filter(pa.array(self.gone)).unique().to_pylist()))

    def add(self, kind: str, role: str, name: str, what: str, count: int) -> None:
        if count:
            finding = Finding(kind, role, name, what)
            self.found[finding] = self.found.get(finding, 0) + count

    def bad(self, role: str, name: str, what: str, mask: Mask) -> None:
        mask = mask & ~self.gone
        if mask.any():
            finding = Finding(PROBLEM, role, name, what)
            self.masks[finding] = self.masks[finding] | mask if finding in self.masks else mask

    def good(self, *roles: str) -> Mask:
        """Rows without a problem in these roles, or in any."""
        found = np.ones(self.n_rows, np.bool_)
        for finding, mask in self.masks.items():
            if not roles or finding.role in roles:
                found &= ~mask
        return found

    def reasons(self) -> dict[str, Mask]:
        """The rows of each problem, in the words and the order of the counts."""
        return {finding.words: self.masks[finding] for finding in sorted(self.masks, key=in_order)}

    def take(self, role: str, name: str, converted: values.Converted) -> None:
        for what, mask in converted.bad.items():
            self.bad(role, name, what, mask)
        for what, count in converted.notes.items():
            self.add(NOTE, role, name, what, count)
        if ROLE_KINDS[role] == KEY and self.n_rows:
            kind = _KIND_WORDS.get(value_kind(converted.values.type))
            if kind is not None:
                self.add(KIND, role, name, kind, self.n_rows - converted.values.null_count)

    def mixed(self, role: str, name: str, kinds: Mapping[str, int]) -> None:
        if ROLE_KINDS[role] != KEY or len(kinds) < 2:
            self.add(PROBLEM, role, name, "not convertible", sum(kinds.values()))
            return
        for kind, count in kinds.items():
            self.add(KIND, role, name, kind, count)

    def rows_to_keep(self, on_bad_rows: str, consent: Mask | None) -> Mask:
        """Which rows stay; one without consent is left out for that alone, whatever else is wrong with it."""
        keep = ~self.gone
        for finding, mask in self.masks.items():
            if on_bad_rows == "reject":
                keep &= ~mask
                told = mask if consent is None or finding.role == "consent" else mask & consent
                self.found[finding._replace(kind=REJECT)] = int(np.count_nonzero(told))
            else:
                self.found[finding] = int(np.count_nonzero(mask))
        if consent is not None:
            keep &= consent
            self.found[Finding(REJECT, "consent", "", "not given")] = int(
                np.count_nonzero(~consent & ~self.gone)
            )
        return keep


def _array(table: pa.Table, name: str) -> pa.Array:
    """One column as one array; text with 64-bit offsets, which hold any amount of it."""
    column = table[name]
    if value_kind(column.type) == "text" and not pa.types.is_dictionary(column.type):
        column = column.cast(pa.large_string())
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _own_type(came: pa.DataType, converted: pa.Array) -> pa.DataType:
    own = came.value_type if pa.types.is_dictionary(came) else came
    same = value_kind(own) == value_kind(converted.type)
    return own if same else converted.type


def _table(columns: dict[str, Any], days: npt.NDArray[np.int32]) -> pa.Table:
    arrays: dict[str, Any] = {}
    for role, column in columns.items():
        if role in {"currency", "consent"}:
            continue
        arrays[role] = column if isinstance(column, pa.Array) else pa.array(column)
        if role == "time":
            arrays[role] = arrays[role].cast(_TIME_TYPE)
            arrays["day"] = pa.array(days, pa.int32()).cast(pa.date32())
    return pa.table(arrays)


def _exact_total(minor: npt.NDArray[np.int64]) -> int:
    """Sum of absolute values as a Python integer: no order of additions, no overflow."""
    absolute = np.abs(minor)
    high = int((absolute >> 26).sum(dtype=np.int64))
    return (high << 26) + int((absolute & ((1 << 26) - 1)).sum(dtype=np.int64))
