"""Customers with and without consent (room ``customers``, called by the reader and transactions): who is left out.

The keys serve to count, and are gone when the records are read: nothing of a customer without consent is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.keyed import no_names

Mask = npt.NDArray[np.bool_]


class ConsentCounts(NamedTuple):
    """Customers by their consent.

    ``excluded`` have no row with consent, so nothing of them is used; ``partly`` have rows with it and rows without it,
    and only those with it are used.
    """

    excluded: int
    partly: int


@dataclass(frozen=True, eq=False)
class ConsentKeys:
    """Customers with a row with consent, and with one without, in some of the records.

    ``merge`` is associative and commutative, ``ConsentKeys()`` is neutral.

    Parameters
    ----------
    given, refused : pyarrow.Array of large_string
        Distinct keys, as text.
    """

    given: pa.Array = field(default_factory=no_names)
    refused: pa.Array = field(default_factory=no_names)

    def merge(self, other: ConsentKeys) -> ConsentKeys:
        """Customers of the rows of both."""
        return ConsentKeys(
            pc.unique(pa.concat_arrays([self.given, other.given])),
            pc.unique(pa.concat_arrays([self.refused, other.refused])),
        )

    def counts(self) -> ConsentCounts:
        """How many customers are left out altogether, and how many keep a part of their rows."""
        partly = int(pc.sum(pc.is_in(self.refused, value_set=self.given)).as_py() or 0)
        return ConsentCounts(len(self.refused) - partly, partly)


def consent_keys(customers: Any, known: Mask, consent: Mask) -> ConsentKeys:
    """Who gave consent and who did not, in one part.

    Parameters
    ----------
    customers : pyarrow.Array
        Key of each row.
    known : ndarray of bool
        Rows whose key is one.
    consent : ndarray of bool
        Rows with consent.
    """
    given, refused = (
        pc.unique(customers.filter(pa.array(known & rows))).cast(pa.large_string())
        for rows in (consent, ~consent)
    )
    return ConsentKeys(given, refused)
