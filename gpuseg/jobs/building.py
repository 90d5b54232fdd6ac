"""What a run builds segments from (jobs, called by pipeline): features, figures in original units, the unplaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.attribute_encoding import Encoding, encode_all, encoding_of
from gpuseg.customers.attributes import AttributeValues, attributes_of_records, require_known
from gpuseg.customers.customer_state import CustomerState
from gpuseg.customers.features import customer_state, customer_summary, day_number, features
from gpuseg.customers.frames import FACTS
from gpuseg.customers.reading.attribute_columns import ATTRIBUTE_PREFIX
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.errors import InputError
from gpuseg.insight.attribute_measures import attribute_measures, described_columns
from gpuseg.insight.customer_rows import NO_PURCHASE, missing_reasons
from gpuseg.insight.measures import Measure
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.steps import categories, not_building

FALLBACK_REASON = "fallback_reason"
"""Column with the reason why a customer is in the fallback segment."""


@dataclass(frozen=True)
class Built:
    """What segments are built from, and described by.

    Parameters
    ----------
    features : pyarrow.Table
        Of the customers that can be placed, unscaled, ascending by key.
    summary : pyarrow.Table
        Figures of every customer in original units, and what they are.
    unplaced : pyarrow.Table
        The customers of ``summary`` without a feature: key and ``fallback_reason``.
    facts : dict
        What was decided and counted.
    kept_out : dict of str to str
        Sensitive categories without a share of their own, and why.
    state : CustomerState
        What features are made of.
    encodings : tuple of Encoding
        How attributes become columns.
    attributes : AttributeValues or None
        What customers are.
    """

    features: pa.Table
    summary: pa.Table
    unplaced: pa.Table
    facts: dict[str, Any]
    kept_out: dict[str, str]
    state: CustomerState
    encodings: tuple[Encoding, ...]
    attributes: AttributeValues | None

    def described(self, keys: pa.Array, where: str) -> tuple[pa.Table, tuple[Measure, ...]]:
        """Figures of these customers, with those of attributes, and the measures of the latter."""
        rows = self.summary.filter(pc.is_in(self.summary.column(0), value_set=keys))
        if self.attributes is None:
            return rows, ()
        extra = described_columns(self.encodings, self.attributes, keys, where)
        plain = rows.drop_columns([name for name in extra.column_names if name in rows.column_names])
        for name in extra.column_names:
            plain = plain.append_column(name, extra[name])
        return plain, attribute_measures(self.encodings, extra)


def build(tx: Transactions, settings: Settings, given: AttributeValues | None) -> Built:
    """Features, figures and attributes of the customers.

    Parameters
    ----------
    tx : Transactions
        The records, with the attributes that come with them.
    settings : Settings
        The choices.
    given : AttributeValues or None
        What a table of customers says.

    Raises
    ------
    InputError
        The records do not allow what the settings ask for, or nobody can be placed.
    """
    state = customer_state(tx, settings.as_of)
    shares, kept_out = categories(tx, state, settings)
    built = features(tx, settings.as_of, shares, opt_in=settings.opt_in, state=state)
    summary = customer_summary(tx, settings.as_of, shares, opt_in=settings.opt_in, state=state)
    facts: dict[str, Any] = json.loads(built.schema.metadata[FACTS])
    customer = tx.roles.customer
    left_out = not_building(built.column_names, settings.describe_only)
    if settings.attributes_only:
        left_out = [name for name in built.column_names if name != customer]
    built = built.drop_columns(left_out)
    values, encodings = _attributes(tx, settings, given, summary[customer], built[customer], facts)
    if values is not None:
        for name, column in encode_all(encodings, values, built[customer], tx.where).items():
            built = built.append_column(name, pa.array(column))
        for encoding in encodings:
            own = ATTRIBUTE_PREFIX + encoding.name
            summary = summary.append_column(own, values.of(encoding.name, summary[customer]))
    placed, reasons = _parted(built, customer)
    if not len(placed):
        first = reasons[0].as_py()
        raise InputError(f"{tx.where}: none of {len(built):,} customers can be placed ({first} ...)")
    return Built(
        features=placed,
        summary=summary,
        unplaced=_unplaced(summary[customer], built[customer], reasons, customer),
        facts=facts,
        kept_out=kept_out,
        state=state,
        encodings=encodings,
        attributes=values,
    )


def _attributes(
    tx: Transactions,
    settings: Settings,
    given: AttributeValues | None,
    everybody: pa.ChunkedArray,
    buyers: pa.ChunkedArray,
    facts: dict[str, Any],
) -> tuple[AttributeValues | None, tuple[Encoding, ...]]:
    if not settings.attributes:
        return None, ()
    known = attributes_of_records(tx, day_number(facts["as_of"]))
    if given is not None:
        known = known.joined(given, everybody)
    names = [rule.name for rule in settings.attributes]
    require_known(known, names, tx.where)
    facts["n_attribute_changes"] = {name: known.n_several[name] for name in names if name in known.n_several}
    encodings = _encodings(settings, known, buyers, tx.where)
    return known, encodings


def _encodings(
    settings: Settings, known: AttributeValues, buyers: pa.ChunkedArray, where: str
) -> tuple[Encoding, ...]:
    """How each attribute is encoded; what is wrong with any of them is told together."""
    problems, found = [], []
    for rule in settings.attributes:
        try:
            found.append(encoding_of(rule, known.of(rule.name, buyers), where))
        except InputError as error:
            problems.append(str(error).removeprefix(f"{where}: "))
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    return tuple(found)


def _parted(built: pa.Table, customer: str) -> tuple[pa.Table, pa.Array]:
    """The customers whose features are all known, and for every customer why not."""
    names = [name for name in built.column_names if name != customer]
    unknown = np.isnan(np.stack([built[name].to_numpy() for name in names], axis=1))
    reasons = missing_reasons(unknown, names)
    return built.filter(reasons.is_null()), reasons


def _unplaced(
    everybody: pa.ChunkedArray, buyers: pa.ChunkedArray, reasons: pa.Array, customer: str
) -> pa.Table:
    row = pc.index_in(everybody, value_set=buyers.combine_chunks())
    said = pc.if_else(row.is_valid(), reasons.take(row.combine_chunks()), NO_PURCHASE)
    table = pa.table({customer: everybody, FALLBACK_REASON: said.cast(pa.string())})
    return table.filter(table[FALLBACK_REASON].is_valid())


def count_unplaced(unplaced: pa.Table) -> dict[str, int]:
    """Customers who are not placed, by reason, the most frequent first."""
    counted: Sequence[dict[str, Any]] = pc.value_counts(unplaced[FALLBACK_REASON]).to_pylist()
    return {
        entry["values"]: entry["counts"]
        for entry in sorted(counted, key=lambda entry: (-entry["counts"], entry["values"]))
    }
