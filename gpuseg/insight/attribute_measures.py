"""Attributes as measures of a customer (room ``insight``; jobs and reports call it): words, and columns to profile.

An attribute that builds segments may name them; one that only describes stands in the figures and names nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gpuseg.customers.attribute_encoding import Encoding, attribute_of, level_of
from gpuseg.customers.attributes import AttributeValues
from gpuseg.customers.reading.attribute_columns import ATTRIBUTE_PREFIX
from gpuseg.insight.measures import Measure
from gpuseg.insight.words import Unit


def attribute_label(name: str) -> str:
    """A column's name as people read it: household_size is Household size."""
    words = name.replace("_", " ").strip() or name
    return words[:1].upper() + words[1:]


def described_columns(
    encodings: Sequence[Encoding], values: AttributeValues, customers: pa.Array, where: str
) -> pa.Table:
    """What profiles describe: numbers as they are, and 0 or 1 for each level; null where it is not known.

    Parameters
    ----------
    encodings : sequence of Encoding
        Of all attributes.
    values : AttributeValues
        What customers are.
    customers : pyarrow.Array
        Whom to describe, in this order.
    where : str
        Words for the source in messages.
    """
    columns = {}
    for encoding in encodings:
        plain = replace(encoding, fill=None, tells_missing=False, log=False)
        for name, found in plain.encode(values.of(encoding.name, customers), where).items():
            columns[name] = pa.array(found, mask=np.isnan(found))
    return pa.table(columns)


def attribute_measures(encodings: Sequence[Encoding], described: pa.Table) -> tuple[Measure, ...]:
    """A measure for each of the columns of :func:`described_columns`.

    Parameters
    ----------
    encodings : sequence of Encoding
        Of all attributes.
    described : pyarrow.Table
        The columns: a number with both signs has no index.
    """
    builds = {encoding.name: encoding.builds for encoding in encodings}
    found = []
    for column in described.column_names:
        name, level = attribute_of(column) or column, level_of(column)
        label, words = attribute_label(name), name.replace("_", " ")
        family = ATTRIBUTE_PREFIX + name if builds[name] else ""
        if level is None:
            lowest = min(filter(lambda value: value is not None, described[column].to_pylist()), default=0.0)
            found.append(
                Measure(
                    column,
                    label,
                    Unit.COUNT,
                    family,
                    f"higher {words}",
                    f"lower {words}",
                    signed=lowest < 0.0,
                )
            )
        else:
            high, low = f"more often {words} {level}", f"less often {words} {level}"
            found.append(Measure(column, f"{label}: {level}", Unit.SHARE, family, high, low, binary=True))
    return tuple(found)
