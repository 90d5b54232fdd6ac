"""A fitted spend personality as a folder (room ``personality``; :meth:`SpendPersonality.save` calls it).

The state and the history are Parquet, everything else JSON: no pickle. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.core.new_folder import new_folder
from gpuseg.customers.reading.records import Transactions
from gpuseg.customers.reading.roles import Roles
from gpuseg.errors import SourceError
from gpuseg.personality.calibration import Calibration
from gpuseg.personality.moves import Recorded, ScoreHistory
from gpuseg.personality.reference import Reference
from gpuseg.personality.spend_files import load_spend, save_spend
from gpuseg.personality.use_limits import NOT_FOR
from gpuseg.personality.weights import TraitWeight, TraitWeights

FORMAT = 1
RECORD = "personality.json"
STATE = "state"
HISTORY = "history.parquet"
_SOURCE = ("kind", "where", "time_zone", "minor_units")


def save_personality(model: Any, folder: str | os.PathLike[str]) -> Path:
    """Write a fitted model; see :meth:`gpuseg.personality.spend_personality.SpendPersonality.save`."""
    with new_folder(folder) as hidden:
        save_spend(model.state_, hidden / STATE)
        pq.write_table(model.history_.to_arrow("customer"), hidden / HISTORY)
        text = json.dumps(_record(model), indent=1, ensure_ascii=False, default=float) + "\n"
        (hidden / RECORD).write_text(text, encoding="utf-8")
    return Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would follow links of the user)


def load_personality(cls: Any, folder: str | os.PathLike[str]) -> Any:
    """Read a model; see :meth:`gpuseg.personality.spend_personality.SpendPersonality.load`."""
    path = Path(folder)
    try:
        held = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if held["format"] != FORMAT:
            raise SourceError(f"{path / RECORD}: format {held['format']!r}; this release reads {FORMAT}")
        state = load_spend(path / STATE)
        weights = held["weights"]
        entries = tuple(TraitWeight(**one) for one in weights["entries"])
        weights = TraitWeights(weights["construct"], tuple(weights["traits"]), entries)
        model = cls(state.rule.categories, weights, **held["parameters"])
        model.state_, model.weights_ = state, weights
        model.reference_ = Reference.from_json(held["reference"])
        model.measurability_ = model.reference_.measurability
        model.validity_ = held["validity"]
        calibration = held["calibration"]
        model.calibration_ = None if calibration is None else Calibration.from_json(calibration)
        model.history_ = _history(pq.read_table(path / HISTORY), model.reference_.traits, held["periods"])
        model.source_ = _source(held["source"])
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceError(
            f"{path} holds no spend personality: {reason}; name a folder that save() made"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} is damaged or no spend personality; save it again") from error
    return model


def _record(model: Any) -> dict[str, Any]:
    form = model.source_
    weights = model.weights_
    return {
        "format": FORMAT,
        "use": NOT_FOR,
        "parameters": {
            name: value
            for name, value in model.get_params().items()
            if name not in {"categories", "weights", "opt_in"}
        },
        "weights": {
            "construct": weights.construct,
            "traits": list(weights.traits),
            "entries": [asdict(entry) for entry in weights.entries],
        },
        "reference": model.reference_.to_json(),
        "validity": model.validity_,
        "calibration": None if model.calibration_ is None else model.calibration_.to_json(),
        "periods": [one.period for one in model.history_.periods],
        "source": {name: getattr(form, name) for name in _SOURCE}
        | {
            "roles": asdict(form.roles),
            "customer_type": None if form.customer_type is None else str(form.customer_type),
        },
    }


def _history(table: pa.Table, traits: tuple[str, ...], periods: list[str]) -> ScoreHistory:
    period = np.asarray(table["period"].to_pylist(), object)
    found = []
    for name in periods:
        rows = pa.array(np.flatnonzero(period == name))
        part = table.take(rows)
        values = np.stack([part[trait].to_numpy() for trait in traits], axis=1)
        found.append(Recorded(name, part["customer"].combine_chunks(), values))
    return ScoreHistory(traits, tuple(found))


def _source(held: dict[str, Any]) -> Any:
    """Enough of the transactions to give frames of their kind; text and whole numbers are the only keys there are."""
    kind = held["customer_type"]
    return Transactions(
        partitions=(),
        roles=Roles(**held["roles"]),
        customer_type=None if kind is None else pa.type_for_alias(kind),
        customer_dtype=None,
        audit=None,
        fingerprint="",
        **{name: held[name] for name in _SOURCE},
    )
