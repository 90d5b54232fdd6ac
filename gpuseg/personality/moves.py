"""Who moved, by how much, and why (room ``personality``; the facade asks when records arrive).

Scores are relative to a frozen reference and rest on a customer's own records alone, so that only those who acted can
move. The history therefore keeps what changed, period by period, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.core import detmath
from gpuseg.core.overindex import TraitTerms
from gpuseg.customers.keyed import no_keys, union
from gpuseg.errors import InputError
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.reference import Reference
from gpuseg.personality.scoring import Scores
from gpuseg.personality.spend_state import require_alike
from gpuseg.personality.weights import TraitWeights

Float64 = npt.NDArray[np.float64]

_ROWS = 1 << 12
"""Customers whose contributions are compared at a time: a table of all categories and traits each."""


@dataclass(frozen=True, eq=False)
class Moves:
    """Scores before and after records arrived, of the customers who have new ones.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers, ascending.
    traits : tuple of str
        All of the construct's.
    before, after : ndarray of float64, shape (n, T)
        Scores; ``before`` is NaN for customers who had no records, both are where a trait is not measurable.
    because : ndarray of int16, shape (n, T)
        The category whose contribution to the score changed most, a number in ``categories``; -1 where none did.
    categories : tuple of str
        The mapped categories.
    """

    keys: pa.Array
    traits: tuple[str, ...]
    before: Float64
    after: Float64
    because: npt.NDArray[np.int16]
    categories: tuple[str, ...]

    def to_arrow(self, key: str = "customer") -> pa.Table:
        """One row a customer and trait that changed: ``before`` (null for the new), ``after``, ``change``, ``because``.

        Parameters
        ----------
        key : str, default "customer"
            Name of the customers' column.

        Returns
        -------
        pyarrow.Table
            By customer, then in the order of the traits.
        """
        changed = ~np.isnan(self.after) & (self.before != self.after)
        row, trait = np.nonzero(changed)
        before = self.before[row, trait]
        new = np.isnan(before)
        names = pa.array([*self.categories, None], pa.string())
        because = self.because[row, trait].astype(np.int64)
        return pa.table(
            {
                key: self.keys.take(pa.array(row)),
                "trait": pa.array(self.traits, pa.string()).take(pa.array(trait)),
                "before": pa.array(before, mask=new),
                "after": pa.array(self.after[row, trait]),
                "change": pa.array(self.after[row, trait] - np.where(new, 0.0, before), mask=new),
                "because": names.take(pa.array(np.where(because < 0, len(self.categories), because))),
            }
        )


def moves(
    before: Evidence,
    after: Evidence,
    was: Scores,
    now: Scores,
    reference: Reference,
    weights: TraitWeights,
) -> Moves:
    """What changed for customers whose records did.

    Parameters
    ----------
    before, was : Evidence, Scores
        Of those of them who had records.
    after, now : Evidence, Scores
        Of all of them.
    reference : Reference
        What both scores are relative to.
    weights : TraitWeights
        Those that it was made with.

    Returns
    -------
    Moves
        A category's contribution is v_c (L_c - mu_c), as in :mod:`gpuseg.core.overindex`; of equal changes the lower
        category is named. A new customer's are compared with none.
    """
    terms = reference.terms(weights)
    _, old, _ = union(before.keys, after.keys)
    n, n_traits = after.n_customers, len(now.traits)
    earlier = np.full((n, n_traits), np.nan)
    earlier[old] = was.values
    because = np.full((n, n_traits), -1, np.int16)
    place = np.full(n, -1, np.int64)
    place[old] = np.arange(before.n_customers)
    for start in range(0, n, _ROWS):
        stop = min(start + _ROWS, n)
        known = place[start:stop]
        then = np.zeros((stop - start, n_traits, len(reference.categories)))
        rows = np.flatnonzero(known >= 0)
        if rows.size:
            first, last = int(known[rows[0]]), int(known[rows[-1]]) + 1
            then[rows] = contributions(before.slice(first, last), terms)
        size = np.abs(contributions(after.slice(start, stop), terms) - then)
        most = size.argmax(axis=2)
        found = np.take_along_axis(size, most[:, :, None], axis=2)[:, :, 0] > 0.0
        because[start:stop] = np.where(found, most, -1)
    because[np.isnan(now.values)] = -1
    return Moves(after.keys, now.traits, earlier, now.values, because, reference.categories)


def contributions(evidence: Evidence, terms: TraitTerms) -> Float64:
    """What each category adds to each customer's traits: v_c (L_c - mu_c), shape (n, T, C)."""
    counts = evidence.dense_counts()
    total = np.zeros(len(counts))
    for c in range(counts.shape[1]):
        total = total + counts[:, c]
    length = detmath.log(total + terms.smoothing) - detmath.log(terms.smoothing)
    gain = detmath.log(counts + terms.floor) - detmath.log(terms.floor)
    return np.asarray(terms.weight[None] * ((gain - length[:, None]) - terms.mean)[:, None])


@dataclass(frozen=True, eq=False)
class Recorded:
    """What changed in one period.

    Parameters
    ----------
    period : str
        Its name.
    keys : pyarrow.Array
        Customers with records in it.
    values : ndarray of float64, shape (n, T)
        Their scores at its end.
    """

    period: str
    keys: pa.Array
    values: Float64


@dataclass(frozen=True, eq=False)
class ScoreHistory:
    """Scores by period: what changed in each, so that whoever did not act costs nothing.

    Parameters
    ----------
    traits : tuple of str
        All of the construct's.
    periods : tuple of Recorded
        In the order in which they were recorded.
    """

    traits: tuple[str, ...] = ()
    periods: tuple[Recorded, ...] = field(default=())

    def record(self, period: str, keys: pa.Array, values: Float64) -> ScoreHistory:
        """With one more period.

        Raises
        ------
        InputError
            There is one of that name, or it is no text.
        """
        if not isinstance(period, str):
            raise InputError(f"period={period!r} is no name; give text such as '2024-03'")
        if any(one.period == period for one in self.periods):
            raise InputError(f"period {period!r} is recorded already; name a new one")
        return replace(self, periods=(*self.periods, Recorded(period, keys, values)))

    def without(self, keys: pa.Array) -> ScoreHistory:
        """As if these customers had never been."""
        kept = []
        for one in self.periods:
            stays = pc.invert(_among(one.keys, keys))
            kept.append(replace(one, keys=one.keys.filter(stays), values=one.values[np.asarray(stays)]))
        # A period that nobody acted in any more says nothing, and would keep the type of its keys.
        return replace(self, periods=tuple(one for one in kept if len(one.keys)))

    def to_arrow(self, key: str = "customer", customers: pa.Array | None = None) -> pa.Table:
        """One row a customer and period in which the customer acted.

        Parameters
        ----------
        key : str, default "customer"
            Name of the customers' column.
        customers : pyarrow.Array, optional
            Of these alone.

        Returns
        -------
        pyarrow.Table
            ``period``, then a float64 column a trait; periods in their order, customers ascending. Between two rows a
            customer's scores are those of the earlier one.
        """
        parts = [self._table(one, key, customers) for one in self.periods]
        return (
            pa.concat_tables(parts)
            if parts
            else self._table(Recorded("", no_keys(), self._nothing()), key, None)
        )

    def _nothing(self) -> Float64:
        return np.zeros((0, len(self.traits)))

    def _table(self, one: Recorded, key: str, customers: pa.Array | None) -> pa.Table:
        columns = {trait: pa.array(one.values[:, t]) for t, trait in enumerate(self.traits)}
        period = pa.array([one.period] * len(one.keys), pa.string())
        table = pa.table({key: one.keys, "period": period, **columns})
        return table if customers is None else table.filter(_among(one.keys, customers))


def _among(keys: pa.Array, wanted: pa.Array) -> pa.Array:
    """Which of the keys are among others of the same type; of none, whatever their type, none are."""
    if not len(wanted):
        return pa.array(np.zeros(len(keys), np.bool_))
    require_alike(keys, wanted)
    return pc.is_in(keys, value_set=wanted)
