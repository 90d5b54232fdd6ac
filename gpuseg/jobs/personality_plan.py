"""Personality as a job declares it (jobs; settings hold it): JSON values, and the model that acts on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.reading.reader import Checked
from gpuseg.customers.reading.records import Partition, Transactions
from gpuseg.jobs.declared.personality_section import SHIPPED_MAPS, Personality
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.reference import Reference
from gpuseg.personality.spend_personality import SpendPersonality
from gpuseg.personality.weights import TraitWeights

_MAPS = {"mcc": CategoryMap.mcc, "complete_journey": CategoryMap.complete_journey}


@dataclass(frozen=True)
class PersonalityPlan:
    """What scores are made of.

    Parameters
    ----------
    purpose : str
        What they are for.
    legal_basis : str
        What allows them.
    categories, categories_digest : str
        What spend categories mean: its name, or the file's, and what is in it.
    column : str or None
        Column with the categories; None for the one of the role.
    weights : str or None
        File of weights; None for the shipped evidence.
    weights_digest : str
        What is in it.
    half_life_days : float or None
        Of a transaction.
    refunds : str
        What returns do.
    level : float
        Of the intervals.
    opt_in : mapping of str to str
        Sensitive kinds or categories that count all the same, and for what purpose.
    """

    purpose: str
    legal_basis: str
    categories: str
    categories_digest: str
    column: str | None
    weights: str | None
    weights_digest: str
    half_life_days: float | None
    refunds: str
    level: float
    opt_in: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ToScore:
    """Whom to score, and with what.

    Parameters
    ----------
    plan : PersonalityPlan
        What the job declares.
    model : SpendPersonality
        Not fitted yet.
    tx : Transactions
        The records, with the categories that the map knows.
    earlier : Reference or None
        What the scores of an earlier run were relative to.
    """

    plan: PersonalityPlan
    model: SpendPersonality
    tx: Transactions
    earlier: Reference | None = None


def personality_plan(
    section: Personality, locate: Callable[[str], str]
) -> tuple[PersonalityPlan, SpendPersonality]:
    """The plan of a section, and the model that follows it.

    Parameters
    ----------
    section : Personality
        Of a job file: it has a purpose and a legal basis.
    locate : callable
        Finds a file from the path that the section has.

    Returns
    -------
    plan : PersonalityPlan
        For settings.
    model : SpendPersonality
        Not fitted.

    Raises
    ------
    InputError
        The map or the weights cannot be used; each error names its line.
    SourceError
        There is no such file.
    """
    opted = tuple(section.opt_in)
    named = section.categories in SHIPPED_MAPS
    categories = (
        _MAPS[section.categories](opt_in=opted)
        if named
        else CategoryMap.from_csv(locate(section.categories), opt_in=opted)
    )
    file = section.weights
    weights = TraitWeights.default() if file is None else TraitWeights.from_csv(locate(file))
    assert section.purpose is not None
    assert section.legal_basis is not None
    plan = PersonalityPlan(
        purpose=section.purpose.strip(),
        legal_basis=section.legal_basis.strip(),
        categories=section.categories,
        categories_digest=categories.digest,
        column=section.column,
        weights=file,
        weights_digest=weights.digest,
        half_life_days=section.half_life_days,
        refunds=section.refunds,
        level=section.level,
        opt_in=dict(section.opt_in),
    )
    model = SpendPersonality(
        categories,
        weights,
        half_life_days=section.half_life_days,
        refunds=section.refunds,
        level=section.level,
    )
    return plan, model


def up_to(tx: Transactions, day: Any) -> Transactions:
    """The records up to a local day, that one included.

    Parameters
    ----------
    tx : Transactions
        Not of a Dask source.
    day : date
        The last that counts.
    """
    parts = tuple(Partition(partial(_up_to, part.load, day)) for part in tx.partitions)
    return replace(tx, partitions=parts)


def _up_to(load: Callable[[], Checked], day: Any) -> Checked:
    checked = load()
    if checked.table is None:
        return checked
    kept = checked.table.filter(pc.less_equal(checked.table["day"], pa.scalar(day, pa.date32())))
    return replace(checked, table=kept)
