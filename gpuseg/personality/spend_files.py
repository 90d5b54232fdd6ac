"""A spend state as files (room ``personality``; jobs call it): Parquet and JSON, never pickle.

A folder has ``customers.parquet`` and ``cells.parquet`` (whole numbers only), and ``state.json`` with the rule and the
digests of the two. The state holds customer keys: keep the folder as you keep the records.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.core.decay import Decay
from gpuseg.core.new_folder import new_folder
from gpuseg.core.promise import CONTRACT
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError, InputError, SourceError
from gpuseg.personality.category_map import CategoryMap, Meaning
from gpuseg.personality.spend_rule import SpendRule
from gpuseg.personality.spend_state import MEASURES, SpendState

FORMAT = 1
"""Version of the layout of the folder."""
RECORD, CUSTOMERS, CELLS = "state.json", "customers.parquet", "cells.parquet"

_ROWS = 1 << 20  # rows of a group in Parquet: what is written at once


def save_spend(state: SpendState, folder: str | os.PathLike[str]) -> Path:
    """Write a state into a new folder, whole or not at all.

    Parameters
    ----------
    state : SpendState
        What to keep.
    folder : path
        The folder to make; it must not exist, its parent must.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        The folder exists or cannot be written.
    """
    with new_folder(folder) as hidden:
        tables = {CUSTOMERS: _customers(state), CELLS: _cells(state)}
        for name, table in tables.items():
            pq.write_table(table, hidden / name, row_group_size=_ROWS, compression="zstd")
        record = {
            "format": FORMAT,
            "contract": CONTRACT,
            "rule": _rule_record(state.rule),
            "files": {name: _digest(hidden / name) for name in tables},
        }
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        (hidden / RECORD).write_text(text, encoding="utf-8")
    return Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would follow links of the user)


def load_spend(folder: str | os.PathLike[str]) -> SpendState:
    """Read a state; it equals the one that was saved, and merges as it does.

    Parameters
    ----------
    folder : path
        From :func:`save_spend`.

    Raises
    ------
    SourceError
        There is no state, or its files are damaged or of another layout.
    ContractError
        The state was made under another arithmetic contract.
    """
    path = Path(folder)
    record = _record(path / RECORD)
    try:
        rule = _rule(record["rule"])
        tables = {}
        for name in (CUSTOMERS, CELLS):
            if _digest(path / name) != record["files"][name]:
                raise _damaged(path / name, "its SHA-256 is another")
            tables[name] = pq.read_table(path / name)
        return _state(rule, tables[CUSTOMERS], tables[CELLS])
    except OSError as error:
        raise _damaged(path, (error.strerror or str(error)).lower()) from error
    except (KeyError, TypeError, AttributeError, pa.ArrowException, InputError) as error:
        if isinstance(error, SourceError):
            raise
        raise _damaged(path / RECORD, f"{type(error).__name__}: {error}") from error


def _customers(state: SpendState) -> pa.Table:
    columns = {"customer": state.keys} | {name: state.count(name) for name in MEASURES}
    return pa.table(columns | {"last": state.last})


def _cells(state: SpendState) -> pa.Table:
    return pa.table(
        {
            "cell": state.cells,
            "weight": state.weight,
            "spend_high": state.spend.hi,
            "spend_low": state.spend.lo,
        }
    )


def _state(rule: SpendRule, customers: pa.Table, cells: pa.Table) -> SpendState:
    keys = customers["customer"].combine_chunks()
    if not len(keys):
        return SpendState(rule)
    return SpendState(
        rule,
        keys,
        np.stack([customers[name].to_numpy() for name in MEASURES]),
        customers["last"].to_numpy(),
        cells["cell"].to_numpy(),
        cells["weight"].to_numpy(),
        WideSum(cells["spend_high"].to_numpy(), cells["spend_low"].to_numpy()),
    )


def _rule_record(rule: SpendRule) -> dict[str, Any]:
    return {
        "categories": {v: [m.category, m.kind] for v, m in sorted(rule.categories.meanings.items())},
        "opt_in": list(rule.categories.opt_in),
        "half_life_us": rule.decay.half_life_us,
        "landmark_us": rule.decay.landmark_us,
        "refunds": rule.refunds,
        "minor_units": rule.minor_units,
        "digest": rule.digest,
    }


def _rule(record: dict[str, Any]) -> SpendRule:
    meanings = {value: Meaning(*found) for value, found in record["categories"].items()}
    rule = SpendRule(
        CategoryMap(meanings, tuple(record["opt_in"])),
        Decay(record["half_life_us"], record["landmark_us"]),
        record["refunds"],
        record["minor_units"],
    )
    if rule.digest != record["digest"]:
        raise KeyError("the rule is not the one that the state was made with")
    return rule


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SourceError(
            f"{path.parent}: no {RECORD} in it, so it is no spend state; give its folder"
        ) from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise _damaged(path, f"it is no JSON ({error})") from error
    if not isinstance(found, dict) or "contract" not in found:
        raise _damaged(path, "it lacks the contract")
    if found.get("format") != FORMAT:
        raise SourceError(
            f"{path}: layout {found.get('format')}, but gpuseg reads layout {FORMAT}; make it again"
        )
    if found["contract"] != CONTRACT:
        raise ContractError(
            f"{path}: made under arithmetic contract {found['contract']}, but this gpuseg computes by contract "
            f"{CONTRACT}; make the state again from the records"
        )
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, why: str) -> SourceError:
    return SourceError(f"{path} is damaged: {why}; make the state again from the records")
