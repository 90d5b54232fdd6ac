"""Models as files (room ``insight``; jobs and the public API call it): safetensors and JSON, never pickle.

A model folder has two files: ``arrays.safetensors`` (centres, layout, scale) and ``model.json`` (everything else, and
the digest of the arrays). The same model gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.predicting import Fitted
from gpuseg.core.new_folder import new_folder
from gpuseg.core.promise import CONTRACT
from gpuseg.customers.attribute_encoding import Encoding
from gpuseg.customers.outliers import OutlierBounds, OutlierRule
from gpuseg.customers.scaling import ExactScaler
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import ContractError, SourceError
from gpuseg.insight.baselines import Bins
from gpuseg.insight.customer_rows import Recipe
from gpuseg.insight.model import MARGIN, NOVELTY, ModelSegment, SegmentModel

FORMAT = 1
"""Version of the layout of a model folder."""
RECORD, ARRAYS = "model.json", "arrays.safetensors"
FOLDER = "model"
"""Name of the model's folder in the folder of a run."""
_SCALER = "scaler."
_LOWER, _UPPER = "outliers.lower", "outliers.upper"


def model_contents(model: SegmentModel) -> dict[str, bytes]:
    """The files of a model folder, by name: for a writer that publishes a whole run at once.

    Parameters
    ----------
    model : SegmentModel
        What to keep.

    Returns
    -------
    dict of str to bytes
        The same model gives the same bytes.
    """
    from safetensors.numpy import save

    arrays = model.fitted.to_arrays() | {
        _SCALER + name: array for name, array in model.scaler.to_arrays().items()
    }
    if model.outliers is not None:
        arrays |= {_LOWER: model.outliers.lower, _UPPER: model.outliers.upper}
    stored = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    customers = sum(segment.customers for segment in model.segments)
    record = {
        "format": FORMAT,
        "contract": model.contract,
        "gpuseg": model.made_by,
        "arrays": {"file": ARRAYS, "sha256": hashlib.sha256(stored).hexdigest()},
        "features": list(model.feature_names),
        "scaling": {"rule": "z-score", "customers": model.scaler.n_samples_seen_},
        "outliers": None if model.outliers is None else asdict(model.outliers.rule),
        "recipe": asdict(model.recipe),
        "rules": {"margin": MARGIN, "novelty": NOVELTY},
        "fallback": {"segment_id": model.fallback[0], "name": model.fallback[1]},
        "segments": [
            asdict(segment) | {"share": segment.customers / customers} for segment in model.segments
        ],
        "used_ids": list(model.used_ids),
        "drift": {name: bins.to_record() for name, bins in model.drift.items()},
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return {ARRAYS: stored, RECORD: text.encode()}


def save_model(model: SegmentModel, folder: str | os.PathLike[str]) -> Path:
    """Write a model into a new folder, whole or not at all.

    Parameters
    ----------
    model : SegmentModel
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
        for name, content in model_contents(model).items():
            (hidden / name).write_bytes(content)
    return Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would follow links of the user)


def load_model(path: str | os.PathLike[str]) -> SegmentModel:
    """Load a model.

    Parameters
    ----------
    path : path
        Folder of a model, or of a run that holds one.

    Returns
    -------
    SegmentModel
        It assigns with the same bits as the fit.

    Raises
    ------
    SourceError
        There is no model, or its files are damaged or of a later layout.
    ContractError
        The model was made under another arithmetic contract.
    """
    folder = Path(path)
    if not (folder / RECORD).exists() and (folder / FOLDER / RECORD).exists():
        folder /= FOLDER
    if not folder.is_dir():
        raise SourceError(
            f"{folder}: no such folder; give the folder of a model, such as runs/demo-.../model"
        )
    record = _record(folder / RECORD)
    arrays = _arrays(folder / ARRAYS, record)
    try:
        return _model(record, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SourceError(
            f"{path.parent}: no {RECORD} in it, so it is no model; give a model's folder"
        ) from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise _damaged(path, f"it is no JSON ({error})") from error
    if not isinstance(found, dict) or not {"format", "contract", "arrays"} <= found.keys():
        raise _damaged(path, "it lacks format, contract or arrays")
    if found["format"] != FORMAT:
        raise SourceError(
            f"{path}: layout {found['format']}, but gpuseg reads layout {FORMAT}; "
            f"install gpuseg {found.get('gpuseg')}, which made it"
        )
    if found["contract"] != CONTRACT:
        raise ContractError(
            f"{path}: made under arithmetic contract {found['contract']}, but this gpuseg computes by contract "
            f"{CONTRACT}: its segments would not be the same; run the job again, or install gpuseg "
            f"{found.get('gpuseg')}"
        )
    return found


def _arrays(path: Path, record: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        found: dict[str, npt.NDArray[Any]] = load(content)
        digest = record["arrays"]["sha256"]
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (SafetensorError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _damaged(path, f"it is not the file that {RECORD} was written with (sha256 differs)")
    return found


def _model(record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> SegmentModel:
    names = tuple(str(name) for name in record["features"])
    scaled = {name.removeprefix(_SCALER): array for name, array in arrays.items() if name.startswith(_SCALER)}
    recipe = record["recipe"]
    lists = {name: tuple(recipe[name]) for name in ("categories", "all_categories", "left_out", "opt_in")}
    fallback = record["fallback"]
    segments = tuple(
        ModelSegment(**{name: value for name, value in segment.items() if name != "share"})
        for segment in record["segments"]
    )
    fitted = Fitted.from_arrays(arrays, names, choose_engine())
    if not segments or any(not 0 <= segment.cluster < len(fitted.centres) for segment in segments):
        raise ValueError(f"the segments do not fit the {len(fitted.centres)} centres")
    return SegmentModel(
        fitted=fitted,
        scaler=ExactScaler.from_arrays(scaled, names, record["scaling"]["customers"]),
        segments=segments,
        fallback=(fallback["segment_id"], fallback["name"]),
        recipe=Recipe(**{**recipe, **lists, "attributes": _encodings(recipe["attributes"])}),
        drift={name: Bins.from_record(bins) for name, bins in record["drift"].items()},
        used_ids=tuple(record["used_ids"]),
        outliers=_bounds(record.get("outliers"), names, arrays),
        made_by=record["gpuseg"],
        contract=record["contract"],
    )


def _bounds(
    rule: Mapping[str, Any] | None, names: tuple[str, ...], arrays: Mapping[str, npt.NDArray[Any]]
) -> OutlierBounds | None:
    if rule is None:
        return None
    return OutlierBounds(OutlierRule(**rule), names, arrays[_LOWER], arrays[_UPPER])


def _encodings(records: list[dict[str, Any]]) -> tuple[Encoding, ...]:
    return tuple(Encoding(**{**record, "levels": tuple(record["levels"])}) for record in records)


def _damaged(path: Path, why: str) -> SourceError:
    return SourceError(f"{path} is damaged: {why}; restore it from a backup or run the job again")
