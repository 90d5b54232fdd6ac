"""Which column plays which role (room ``customers``, called by the reader): the record, its kinds, its checks."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.types as pat

from gpuseg.errors import SchemaError

KEY, TIME, MONEY, NUMBER, CATEGORY, FLAG, CODE = "key", "time", "money", "number", "category", "flag", "code"

ROLE_KINDS = {
    "customer": KEY,
    "time": TIME,
    "amount": MONEY,
    "basket": KEY,
    "quantity": NUMBER,
    "product": KEY,
    "category": CATEGORY,
    "discount": MONEY,
    "coupon": MONEY,
    "own_label": FLAG,
    "currency": CODE,
    "consent": FLAG,
}
"""Every role and the kind of values that it takes, in the order in which problems are listed."""

_SEPARATORS = (";", "\t", "|", ",")

REQUIRED = ("customer", "time", "amount")

_NUMERIC = frozenset({"integer", "float", "decimal"})
_ALLOWED = {
    KEY: frozenset({"integer", "text"}),
    TIME: frozenset({"time without zone", "time with zone", "date"}),
    MONEY: _NUMERIC,
    NUMBER: _NUMERIC,
    CATEGORY: frozenset({"integer", "text"}),
    FLAG: frozenset({"flag", "integer"}),
    CODE: frozenset({"text"}),
}
_CURES = {
    KEY: "identifiers must be whole numbers or text: cast the column, for example to int64 or str",
    TIME: "convert it to a timestamp or a date, for example with pandas.to_datetime",
    MONEY: "convert it to numbers (a decimal comma is not read as a number)",
    NUMBER: "convert it to numbers",
    CATEGORY: "categories must be text or whole numbers",
    FLAG: "it must be true or false (or 1 and 0)",
    CODE: "it must be text such as 'EUR'",
}


@dataclass(frozen=True)
class Roles:
    """The column name that plays each role, ``None`` where no column does."""

    customer: str
    time: str
    amount: str
    basket: str | None = None
    quantity: str | None = None
    product: str | None = None
    category: str | None = None
    discount: str | None = None
    coupon: str | None = None
    own_label: str | None = None
    currency: str | None = None
    consent: str | None = None

    def declared(self) -> dict[str, str]:
        """Role to column name, only the roles that are played, in the order of :data:`ROLE_KINDS`."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {role: named[role] for role in ROLE_KINDS if named[role] is not None}


def declare_roles(**columns: object) -> Roles:
    """Roles from what the user wrote; ``None`` for the roles that no column plays.

    Raises
    ------
    SchemaError
        A required role is missing or a name is not text.
    """
    problems = [
        f"the role {role!r} needs a column; give {role}=" for role in REQUIRED if columns.get(role) is None
    ]
    given = {role: name for role, name in columns.items() if name is not None}
    problems += [
        f"{role}={name!r} is not a column name; give it as text"
        for role, name in given.items()
        if not isinstance(name, str)
    ]
    if problems:
        raise SchemaError("roles", problems)
    return Roles(**{role: str(name) for role, name in given.items()})


def role_problems(roles: Roles) -> list[str]:
    """Problems of the declaration itself: one column in two roles."""
    declared = roles.declared()
    problems = []
    for name, uses in Counter(declared.values()).items():
        if uses > 1:
            sharing = [role for role, column in declared.items() if column == name]
            listed = " and ".join(repr(role) for role in sharing)
            problems.append(f"column {name!r} plays the roles {listed}; one column may play one role only")
    return problems


def column_problems(roles: Roles, names: Sequence[str], where: str = "") -> list[str]:
    """Problems of the columns that a table has: missing (with the nearest known name), or there twice."""
    if _unparted(names) and names[0] not in roles.declared().values():
        return [f"no column has the name of a role{where}; {nearest_column('', names)}"]
    problems = []
    twice = {name for name, uses in Counter(names).items() if uses > 1}
    for role, column in roles.declared().items():
        if column in twice:
            problems.append(f"column {column!r} ({role}) occurs more than once{where}; rename one of them")
        elif column not in names:
            problems.append(f"column {column!r} ({role}) is missing{where}; {nearest_column(column, names)}")
    return problems


def nearest_column(column: str, names: Sequence[str]) -> str:
    """The remedy for a column that is not there: the nearest name, or the names that are."""
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(column.casefold(), list(folded), n=1, cutoff=0.5)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    if _unparted(names):
        return (
            f"the only column is {names[0]!r}: are the fields separated by something else? "
            f"If so, state csv={{'separator': {_separator_in(names[0])!r}}}"
        )
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"the table has: {shown}" if names else "the table has no columns"


def _unparted(names: Sequence[str]) -> bool:
    """Whether the only column looks like a whole header line."""
    return len(names) == 1 and any(mark in names[0] for mark in _SEPARATORS)


def _separator_in(line: str) -> str:
    return max(_SEPARATORS, key=line.count)


def fits_role(role: str, kind: str) -> bool:
    """Whether values of this kind can play the role; a column of nulls alone can play any."""
    return kind == "null" or kind in _ALLOWED[ROLE_KINDS[role]]


def type_cure(role: str) -> str:
    """What to do about a column of the wrong kind."""
    return _CURES[ROLE_KINDS[role]]


def value_kind(dtype: pa.DataType) -> str:
    """Plain word for an Arrow type: what a user would say that the column holds."""
    if pat.is_dictionary(dtype):
        dtype = dtype.value_type
    tests = (
        (pat.is_boolean, "flag"),
        (pat.is_integer, "integer"),
        (pat.is_floating, "float"),
        (pat.is_decimal, "decimal"),
        (_is_text, "text"),
        (pat.is_date, "date"),
        (pat.is_null, "null"),
    )
    for test, kind in tests:
        if test(dtype):
            return kind
    if pat.is_timestamp(dtype):
        return "time without zone" if dtype.tz is None else "time with zone"
    return str(dtype)


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pat.is_string(dtype) or pat.is_large_string(dtype) or pat.is_string_view(dtype))


def mixed_kind_problems(roles: Roles, schemas: Iterable[tuple[str, pa.Schema]]) -> list[str]:
    """Problems between the files of one source: a role column whose kind differs from file to file.

    Widths, units and dictionary encodings may differ; numbers of any kind may meet in a money or number role.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    declared = roles.declared()
    for label, schema in schemas:
        for role, column in declared.items():
            if schema.get_field_index(column) < 0:
                continue  # reported as missing
            kind = value_kind(schema.field(column).type)
            if ROLE_KINDS[role] in {MONEY, NUMBER} and kind in _NUMERIC:
                kind = "numbers"
            if kind == "time with zone":
                kind = f"time in {schema.field(column).type.tz}"
            if kind != "null":
                kinds.setdefault(role, {}).setdefault(kind, []).append(label)
    return [
        f"column {declared[role]!r} ({role}) differs between files: {_files(found)}; write them with one schema"
        for role, found in kinds.items()
        if len(found) > 1
    ]


def _files(found: dict[str, list[str]]) -> str:
    parts = []
    for kind, labels in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        shown = ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
        parts.append(f"{kind} in {shown}")
    return "; ".join(parts)
