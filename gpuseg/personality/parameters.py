"""What users may write for the parameters of a spend personality (room ``personality``; the facade calls it)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from gpuseg.core.decay import Decay
from gpuseg.customers.reading.records import Transactions
from gpuseg.errors import InputError
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.intervals import validities
from gpuseg.personality.score_columns import FIGURES
from gpuseg.personality.spend_records import spend_state
from gpuseg.personality.spend_state import SpendState
from gpuseg.personality.weights import TraitWeights

_DAY = 86_400_000_000
_SHIPPED = {"mcc": CategoryMap.mcc, "complete_journey": CategoryMap.complete_journey}


def read_state(
    tx: Transactions,
    categories: CategoryMap,
    decay: Decay,
    refunds: str,
    engine: str,
    minor_units: int | None = None,
) -> SpendState:
    """The state of transactions of any kind, here: a Dask source is computed.

    ``minor_units`` are those of a state that it will be merged with.

    Raises
    ------
    InputError
        The transactions cannot be used, or have other decimals.
    """
    if minor_units is not None and minor_units != getattr(tx, "minor_units", minor_units):
        raise InputError(
            f"{tx.where}: amounts have {tx.minor_units} decimals, those before had {minor_units}; read all alike"
        )
    state = spend_state(tx, categories, decay, refunds=refunds, engine=engine)
    return state if isinstance(state, SpendState) else state.compute()


def number_of(name: str, given: Any) -> float:
    """A parameter that is a number, as Python's own.

    Raises
    ------
    InputError
        It is none.
    """
    if isinstance(given, bool) or not isinstance(given, Real):
        raise InputError(f"{name}={given!r} is no number")
    return float(given)


def validity_of(given: Any, traits: Sequence[str]) -> dict[str, float]:
    """Validity of each trait, from a number or a mapping.

    Raises
    ------
    InputError
        One is no correlation from 0 to 1, or of no trait.
    """
    held = dict(given) if isinstance(given, Mapping) else dict.fromkeys(traits, given)
    said = {trait: number_of("validity", r) for trait, r in held.items()}
    return dict(zip(traits, validities(said, traits).tolist(), strict=True))


def require_columns(traits: Sequence[str], customer: str) -> None:
    """Refuse names of traits and of the customers' column that other columns of results have.

    Raises
    ------
    InputError
        Names the column.
    """
    figures = {f"{trait}_{figure}" for trait in traits for figure in FIGURES}
    named = ["customer", "period", "evidence", *figures, *traits]
    twice = {name for name in named if named.count(name) > 1} | ({customer} & (set(named) - {"customer"}))
    if twice:
        raise InputError(f"{min(twice)!r} would name two columns; rename the trait or the customers' column")


def decay_of(half_life_days: Any) -> Decay:
    """The decay of a half-life in days; None: lines count for ever.

    Raises
    ------
    InputError
        It is no number of days from an hour to 100,000.
    """
    if half_life_days is None:
        return Decay(None)
    days = number_of("half_life_days", half_life_days)
    if not 1 / 24 <= days < 1e5:
        raise InputError(
            f"half_life_days={days!r} is out of range; give an hour (1/24) to 100,000 days, or None"
        )
    return Decay(round(days * _DAY))


def category_map_of(given: Any, opt_in: Any) -> CategoryMap:
    """The category map that a name, file or mapping stands for.

    Raises
    ------
    InputError
        It is none of these, or ``opt_in`` comes with a map that has its own.
    """
    if not isinstance(opt_in, Iterable | None):
        raise InputError(f"opt_in={opt_in!r} names nothing; give a list of sensitive kinds or values")
    opted = (opt_in,) if isinstance(opt_in, str) else tuple(opt_in or ())
    if isinstance(given, CategoryMap):
        if opted:
            raise InputError("opt_in goes with names and files of categories; a CategoryMap has its own")
        return given
    if isinstance(given, str) and given in _SHIPPED:
        return _SHIPPED[given](opt_in=opted)
    if isinstance(given, Mapping):
        return CategoryMap.of(given, opt_in=opted)
    if isinstance(given, str | os.PathLike):
        return CategoryMap.from_csv(given, opt_in=opted)
    raise InputError(
        f"categories={given!r} is no map; give {', '.join(map(repr, _SHIPPED))}, a file or a mapping"
    )


def weights_of(given: Any) -> TraitWeights:
    """The weights that a file stands for, those given, or the shipped ones.

    Raises
    ------
    InputError
        They are none of these.
    """
    if given is None:
        return TraitWeights.default()
    if isinstance(given, TraitWeights):
        return given
    if isinstance(given, str | os.PathLike):
        return TraitWeights.from_csv(Path(given))
    raise InputError(
        f"weights={given!r} are none; give a file or TraitWeights, or nothing for the shipped evidence"
    )
