"""Rows for a model (room ``insight``, called by model): the features of customers, from whatever a user has.

From transactions they are made as in training; from a table of features they are taken by name.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.attribute_encoding import Encoding, attribute_of, encode_all
from gpuseg.customers.attributes import (
    AttributeValues,
    attributes_of_records,
    attributes_of_table,
    require_known,
)
from gpuseg.customers.features import customer_state, customer_summary, day_number
from gpuseg.customers.finishing import feature_table
from gpuseg.customers.frames import CUSTOMER, FACTS
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.customers.sensitive import kept_out
from gpuseg.errors import InputError

logger = logging.getLogger("gpuseg.insight")

NO_PURCHASE = "no purchase"
"""Why a customer without a line above 0 has no features."""


@dataclass(frozen=True)
class Recipe:
    """How the features of a model were made of transactions.

    Parameters
    ----------
    roles : mapping of str to str
        Role to column name.
    time_zone : str
        The calendar in which days are counted.
    minor_units : int
        Decimals of the currency.
    reading : mapping of str to object
        Other options of :func:`gpuseg.read_transactions`, such as ``naive``, ``on_bad_rows`` or ``csv`` (a mapping):
        files to be assigned are read the same way. JSON values only.
    as_of : str or None
        The last local day that counts, as the job declared it; None: the last day with a record.
    trained_as_of : str
        The day that counted last in training.
    categories : tuple of str
        Categories with a share of their own.
    all_categories : tuple of str
        Every category of the training records that counts: the base of ``category_diversity``.
    left_out : tuple of str
        Their sensitive categories, which count in none of the features that tell what is bought.
    opt_in : tuple of str
        Kinds or names of sensitive categories that count all the same: for those that training did not meet.
    neutral : mapping of str to float
        Features of what is bought, for customers who bought nothing that counts: means of training.
    attributes : tuple of Encoding
        What customers are, as far as it builds segments, and how it becomes features.
    attribute_table : mapping of str to object or None
        How a table of customers was read, if some attributes came from one: ``customer`` and ``names`` (columns), and
        ``csv``. JSON values only.
    """

    roles: Mapping[str, str]
    time_zone: str
    minor_units: int
    reading: Mapping[str, Any]
    as_of: str | None
    trained_as_of: str
    categories: tuple[str, ...]
    all_categories: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    opt_in: tuple[str, ...] = ()
    neutral: Mapping[str, float] = field(default_factory=dict)
    attributes: tuple[Encoding, ...] = ()
    attribute_table: Mapping[str, Any] | None = None

    @property
    def attributes_of_records(self) -> tuple[str, ...]:
        """The attributes that came with the records."""
        elsewhere = () if self.attribute_table is None else self.attribute_table["names"]
        return tuple(found.name for found in self.attributes if found.name not in elsewhere)

    @property
    def customer(self) -> str:
        """Column of the customer's key."""
        return self.roles["customer"]


@dataclass(frozen=True)
class CustomerRows:
    """Customers and their features.

    Parameters
    ----------
    name : str
        Name of the key's column.
    keys : pyarrow.Array
        Of each customer, in its own type.
    values : ndarray of float64, shape (n, d)
        Features; NaN where one is not known.
    usable : ndarray of bool, shape (n,)
        Whether every feature is known.
    reasons : pyarrow.Array of string
        Why a customer is not usable; null for all others.
    from_transactions : bool
        Whether the features were made here.
    """

    name: str
    keys: pa.Array
    values: npt.NDArray[np.float64]
    usable: npt.NDArray[np.bool_]
    reasons: pa.Array
    from_transactions: bool


def recipe_of(
    tx: Transactions,
    state: Any,
    facts: Mapping[str, Any],
    as_of: str | None,
    reading: Mapping[str, Any] | None = None,
    encodings: Sequence[Encoding] = (),
    attribute_table: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe of features that were made of these transactions.

    Parameters
    ----------
    tx : Transactions
        The records.
    state : CustomerState
        From :func:`gpuseg.customers.features.customer_state`.
    facts : mapping
        Of the table of features.
    as_of : str or None
        As the job declared it.
    reading : mapping of str to object, optional
        Options with which the records were read; JSON values only.
    encodings : sequence of Encoding
        Of the attributes.
    attribute_table : mapping of str to object, optional
        How a table of customers was read; JSON values only.
    """
    left_out = tuple(facts["sensitive_left_out"])
    return Recipe(
        roles=tx.roles.declared(),
        time_zone=tx.time_zone,
        minor_units=tx.minor_units,
        reading=dict(reading or {}),
        as_of=as_of,
        trained_as_of=facts["as_of"],
        categories=tuple(facts["categories"]),
        all_categories=tuple(name for name in state.categories.to_pylist() if name not in left_out),
        left_out=left_out,
        opt_in=tuple(facts["opt_in"]),
        neutral=dict(facts["neutral"]),
        attributes=tuple(encoding for encoding in encodings if encoding.builds),
        attribute_table=attribute_table,
    )


def rows_of(
    customers: Any, recipe: Recipe, names: Sequence[str], as_of: str | dt.date | None, attributes: Any = None
) -> CustomerRows:
    """Features of customers by a recipe.

    Raises
    ------
    InputError
        They are no transactions and no table with these features, or an attribute is missing.
    """
    if isinstance(customers, Transactions):
        return _from_transactions(customers, recipe, names, as_of, attributes)
    if attributes is not None:
        raise InputError("attributes= is for transactions; a table of features has all columns already")
    if as_of is not None:
        raise InputError(
            f"as_of={as_of!r} is for transactions; features that are made have their day already"
        )
    key, table = _as_arrow(customers, recipe.customer)
    return _from_table(key, table, names)


def _from_transactions(
    tx: Transactions, recipe: Recipe, names: Sequence[str], as_of: str | dt.date | None, attributes: Any
) -> CustomerRows:
    if tx.kind == "dask":
        raise InputError(f"{tx.where}: a Dask frame; read the files, or assign a table of features")
    for role in ("basket", "category"):
        if (role in recipe.roles) != (getattr(tx.roles, role) is not None):
            given, had = ("without", "with") if role in recipe.roles else ("with", "without")
            raise InputError(
                f"{tx.where}: transactions {given} a {role} column, but the model was made {had} one; "
                f"read them with the same roles"
            )
    plain = replace(tx, kind="arrow")
    day = recipe.as_of if as_of is None else as_of
    state = _with_categories(customer_state(plain, day), recipe, tx.where)
    counts = state.categories.to_pylist()  # the recipe has decided on every category that is still there
    built = feature_table(
        plain, day_number(day), recipe.categories, state, opt_in=counts, neutral=recipe.neutral
    )
    _say_left_out(built, recipe, as_of, tx.where)
    built = _with_attributes(built, plain, recipe, attributes)
    found = _from_table(tx.roles.customer, built, names)
    everybody = customer_summary(plain, day, 0, opt_in=counts, state=state)[tx.roles.customer]
    rest = everybody.filter(pc.invert(pc.is_in(everybody, value_set=found.keys))).combine_chunks()
    keys = pa.concat_arrays([found.keys, _plain(rest).cast(found.keys.type)])
    values = np.concatenate([found.values, np.full((len(rest), len(names)), np.nan)])
    usable = np.concatenate([found.usable, np.zeros(len(rest), np.bool_)])
    reasons = pa.concat_arrays([found.reasons, pa.array([NO_PURCHASE] * len(rest), pa.string())])
    return CustomerRows(tx.roles.customer, keys, values, usable, reasons, from_transactions=True)


def _with_attributes(built: pa.Table, tx: Transactions, recipe: Recipe, given: Any) -> pa.Table:
    """The features with those that are made of attributes: of the records, and of the table that was given."""
    if not recipe.attributes:
        return built
    customer = tx.roles.customer
    known = attributes_of_records(tx, day_number(facts_of(built)["as_of"]))
    if given is not None:
        known = known.joined(_given(given, recipe), built[customer])
    require_known(known, [encoding.name for encoding in recipe.attributes], tx.where)
    for name, column in encode_all(recipe.attributes, known, built[customer], tx.where).items():
        built = built.append_column(name, pa.array(column))
    return built


def _given(attributes: Any, recipe: Recipe) -> AttributeValues:
    if isinstance(attributes, AttributeValues):
        return attributes
    table = recipe.attribute_table or {"customer": recipe.customer, "names": ()}
    key, found = _as_arrow(attributes, table["customer"])
    names = [
        encoding.name
        for encoding in recipe.attributes
        if encoding.name in (table["names"] or found.column_names)
    ]
    absent = [name for name in (key, *names) if name not in found.column_names]
    if absent:
        raise InputError(
            f"the table of customers has no column {absent[0]!r}; it has {', '.join(found.column_names[:12])}"
        )
    return attributes_of_table(found, key, names, "the table of customers")


def _with_categories(state: Any, recipe: Recipe, where: str) -> Any:
    """The state with the categories that count by the training: a small file may lack some, and diversity has one base.

    A category that training left out is left out by its name, whatever later versions take for sensitive.
    """
    if "category" not in recipe.roles:
        return state
    new = [name for name in state.categories.to_pylist() if name not in recipe.all_categories]
    left_out = kept_out(new, recipe.opt_in)
    if left_out:
        logger.info(
            "%s: %d sensitive categories are new to the model (%s); they count in visits and money only",
            where, len(left_out), ", ".join([*left_out][:5]),
        )  # fmt: skip
    state = state.without_categories({*recipe.left_out, *left_out})
    present = state.categories.to_pylist()
    unknown = [name for name in present if name not in recipe.all_categories]
    if unknown:
        logger.warning(
            "%s: %d categories are new to the model (%s); they count in the variety only",
            where, len(unknown), ", ".join(unknown[:5]),
        )  # fmt: skip
    missing = [name for name in recipe.all_categories if name not in present]
    extended = pa.array([*present, *missing], state.categories.type)
    return replace(state, categories=extended)


def _say_left_out(built: pa.Table, recipe: Recipe, as_of: Any, where: str) -> None:
    facts = facts_of(built)
    if as_of is None and recipe.as_of is not None and facts["n_records_after_as_of"]:
        logger.warning(
            "%s: %d records after %s, the day that the model's job declared, are left out; give as_of= for a later day",
            where, facts["n_records_after_as_of"], recipe.as_of,
        )  # fmt: skip


def facts_of(built: pa.Table) -> dict[str, Any]:
    """The facts in the metadata of a table of features."""
    found: dict[str, Any] = json.loads(built.schema.metadata[FACTS])
    return found


def _as_arrow(customers: Any, customer: str) -> tuple[str, pa.Table]:
    """The name of the key's column, and the table with it."""
    if isinstance(customers, pa.RecordBatch):
        customers = pa.Table.from_batches([customers])
    if hasattr(customers, "to_arrow"):
        customers = customers.to_arrow()  # polars
    if isinstance(customers, pa.Table):
        marked = (customers.schema.metadata or {}).get(CUSTOMER)
        key = customer if marked is None else marked.decode()
        return key, customers
    if hasattr(customers, "iloc") and hasattr(customers, "columns"):
        plain = {str(name): pa.array(customers[name]) for name in customers.columns}
        index = customers.index.name
        if index is not None and (customer not in plain or index == customer):
            return str(index), pa.table({str(index): pa.array(customers.index)} | plain)
        return customer, pa.table(plain)
    raise InputError(
        f"{type(customers).__name__} is neither transactions nor a table of features; give what "
        "gpuseg.read_transactions or gpuseg.features makes"
    )


def _from_table(key: str, table: pa.Table, names: Sequence[str]) -> CustomerRows:
    missing = [name for name in (key, *names) if name not in table.column_names]
    if missing:
        close = difflib.get_close_matches(missing[0], table.column_names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(table.column_names[:12])}"
        raise InputError(
            f"the table lacks {len(missing)} columns that the model needs ({', '.join(missing[:12])}); {hint}"
        )
    columns = []
    for name in names:
        kind = table[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise InputError(
                f"column {name!r} is {kind}, not numbers; give features as gpuseg.features makes them"
            )
        columns.append(table[name].cast(pa.float64()).to_numpy())
    values = np.stack(columns, axis=1) if len(table) else np.empty((0, len(names)))
    unknown = np.isnan(values)
    usable = np.asarray(~unknown.any(axis=1))
    keys = _plain(table[key].combine_chunks())
    return CustomerRows(key, keys, values, usable, missing_reasons(unknown, names), from_transactions=False)


def missing_reasons(unknown: npt.NDArray[np.bool_], names: Sequence[str]) -> pa.Array:
    """For each customer the first feature that is not known, in words; null where all are.

    Parameters
    ----------
    unknown : ndarray of bool, shape (n, d)
        Which features are missing.
    names : sequence of str
        The features.
    """
    said = np.array([*(f"{attribute_of(name) or name} is missing" for name in names), ""], dtype=object)
    first = np.where(unknown.any(axis=1), unknown.argmax(axis=1), len(names))
    return pa.array(said[first], pa.string(), mask=first == len(names))


def _plain(array: Any) -> pa.Array:
    """One chunk, no dictionary."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
