"""The estimated traits of a run (room ``insight``; jobs make the record, files and the report are made from it)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers.frames import CUSTOMER, FACTS
from gpuseg.errors import InputError
from gpuseg.personality.intervals import VALIDITY
from gpuseg.personality.measurable import Measurability
from gpuseg.personality.reference import Reference
from gpuseg.personality.reference_sums import SPEND_BITS
from gpuseg.personality.spend_personality import BLOCK, SpendPersonality
from gpuseg.personality.spend_state import SpendState
from gpuseg.personality.use_limits import NOT_FOR, categories_behind, says_something
from gpuseg.personality.weights import TraitWeight

Float64 = npt.NDArray[np.float64]

USE = b"gpuseg.use"
"""Metadata key of a Parquet file: what it may not be used for."""


@dataclass(frozen=True, eq=False)
class Traits:
    """What was estimated of each customer, and what it rests on.

    Parameters
    ----------
    table : pyarrow.Table
        As :meth:`to_arrow` gives it.
    construct : str
        What the traits belong to.
    measurability : tuple of Measurability
        Of each trait, always all of them.
    mapped : float
        Share of all spend that is in a category of the studies at all.
    purpose, legal_basis : str
        What the scores are for, and what allows them.
    opt_in : mapping of str to str
        Sensitive kinds or categories that count all the same, and for what purpose.
    at_most : tuple of str
        Traits that these weights and this map could measure if customers bought in everything.
    unused : tuple of TraitWeight
        Findings that weigh nothing: seasons, and what nobody has verified.
    level : float
        Of the intervals.
    facts : mapping
        Names of the reference, the map and the weights.
    reference : Reference
        What scores are relative to.
    kept : bool
        Whether that is the one of an earlier run.
    behind : mapping of str to tuple of str
        The categories with a weight for each trait.
    """

    table: pa.Table
    construct: str
    measurability: tuple[Measurability, ...]
    mapped: float
    purpose: str
    legal_basis: str
    opt_in: Mapping[str, str]
    at_most: tuple[str, ...]
    unused: tuple[TraitWeight, ...]
    level: float
    facts: Mapping[str, Any]
    reference: Reference
    kept: bool
    behind: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """All traits, measurable or not."""
        return tuple(found.trait for found in self.measurability)

    @property
    def measurable(self) -> tuple[str, ...]:
        """Those that there are scores of."""
        return tuple(found.trait for found in self.measurability if found.measurable)

    def to_arrow(self) -> pa.Table:
        """One row a customer, ascending: the key, a column a trait, ``evidence``, and intervals and reasons.

        Returns
        -------
        pyarrow.Table
            Columns of ``SpendPersonality.scores(details=True)``, null where a trait is not measurable. The metadata
            ``gpuseg.use`` and ``gpuseg.facts`` say that it is estimated, what it is for and what it is not for.
        """
        return self.table

    def scores(self) -> pa.Table:
        """The key and a column a trait."""
        return self.table.select([self.table.column_names[0], *self.names])

    def evidence(self) -> Float64:
        """Decayed transactions of each customer, shape (n,)."""
        return np.asarray(self.table["evidence"].to_numpy(), np.float64)

    def rests_on(self) -> dict[str, tuple[str, ...]]:
        """The categories with a weight for each trait, however small: several small ones move a score together."""
        return dict(self.behind)

    def half_width(self, trait: str) -> float:
        """Median of half the interval: how far a score may typically be off; NaN where there is none."""
        low, high = (
            np.asarray(self.table[f"{trait}_{end}"].cast(pa.float64()).to_numpy()) for end in ("low", "high")
        )
        known = np.sort(((high - low) / 2.0)[~np.isnan(high - low)])
        return float(known[(len(known) - 1) // 2]) if len(known) else math.nan

    def to_json(self) -> str:
        """All that holds of everybody; no customer is in it."""
        return json.dumps(dict(self.facts), indent=1, ensure_ascii=False) + "\n"


def estimated_traits(
    model: SpendPersonality,
    *,
    purpose: str,
    legal_basis: str,
    opt_in: Mapping[str, str],
    at_most: Sequence[str],
    kept: bool = False,
) -> Traits:
    """What a fitted model says of its customers.

    Parameters
    ----------
    model : SpendPersonality
        Fitted to records of an Arrow table or of files.
    purpose, legal_basis : str
        What the scores are for, and what allows them.
    opt_in : mapping of str to str
        Sensitive kinds or categories that count all the same, and for what purpose.
    at_most : sequence of str
        Traits that the weights and the map could measure.
    kept : bool, default False
        Whether the reference is that of an earlier run.

    Raises
    ------
    InputError
        There is no purpose or no legal basis: nobody is scored then.
    """
    for name, said in (("purpose", purpose), ("legal_basis", legal_basis)):
        if not says_something(said, words=1):
            raise InputError(f"{name} is empty; say in words what scores are for and what allows them")
    reference, weights = model.reference_, model.weights_
    mapped = _mapped_share(model.state_)
    facts = {
        "note": NOT_FOR,
        "estimated": True,
        "purpose": purpose,
        "legal_basis": legal_basis,
        "construct": reference.construct,
        "validity": f"spend tells r = {VALIDITY} of such a trait, {round(100 * VALIDITY * VALIDITY)} % of the variance",
        "traits": {
            found.trait: {
                "measurable": found.measurable,
                "reason": found.reason or None,
                "covered_share_of_spend": found.covered,
                "categories": list(found.categories),
            }
            for found in model.measurability_
        },
        "mapped_share_of_spend": mapped,
        "measurable_at_most": list(at_most),
        "opt_in": dict(opt_in),
        "level": model.level,
        "reference": {"digest": reference.digest, "of_an_earlier_run": kept},
        "weights": weights.digest,
        "sources": sorted({entry.source for entry in weights.entries if entry.weight}),
    }
    return Traits(
        table=_table(model, facts),
        construct=reference.construct,
        measurability=model.measurability_,
        mapped=mapped,
        purpose=purpose,
        legal_basis=legal_basis,
        opt_in=dict(opt_in),
        at_most=tuple(at_most),
        unused=weights.unused,
        level=model.level,
        facts=facts,
        reference=reference,
        kept=kept,
        behind=categories_behind(weights, reference.categories),
    )


def _mapped_share(state: SpendState) -> float:
    """Share of all spend that is in a mapped category: integers, so that no order of customers changes it."""
    part, whole = 0, 0
    for start in range(0, state.n_customers, BLOCK):
        evidence = state.evidence(slice(start, min(start + BLOCK, state.n_customers)))
        part += _units(evidence.spend)
        whole += _units(evidence.total_spend)
    return float(Fraction(part, whole)) if whole > 0 else 0.0


def _units(spend: Float64) -> int:
    units = np.rint(np.ldexp(spend, SPEND_BITS)).astype(np.int64)
    # In halves: a sum of whole units may leave int64.
    return (int((units >> 32).sum()) << 32) + int((units & 0xFFFFFFFF).sum())


def _table(model: SpendPersonality, facts: Mapping[str, Any]) -> pa.Table:
    """The scores with their details; what is not measurable is null, which no mean and no sort takes for a number."""
    found: pa.Table = model.scores(details=True)
    columns = {
        name: pa.array(found[name].to_numpy(), from_pandas=True)
        if pa.types.is_floating(found[name].type)
        else found[name]
        for name in found.column_names
    }
    metadata = {
        CUSTOMER: found.schema.metadata[CUSTOMER],
        FACTS: json.dumps(facts).encode(),
        USE: NOT_FOR.encode(),
    }
    return pa.table(columns).replace_schema_metadata(metadata)
