"""Two runs side by side (jobs; for ``gpuseg compare``): how far they agree, who moved, and what was done otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import InputError
from gpuseg.insight.matching import Migration, migration
from gpuseg.insight.words import format_percent, format_score
from gpuseg.jobs.kept.runs import Run, open_run
from gpuseg.quality.agreement import adjusted_rand_index

_SHOWN = 40
"""Characters of a parameter's value that are shown."""


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common.

    Parameters
    ----------
    first, second : Run
        The runs.
    agreement : float or None
        Adjusted Rand index over the customers whom both placed in a segment (not in the fallback); None below two.
    placed : int
        How many those are.
    moves : Migration or None
        Customers of both runs by segment, the fallback included; None where there is none.
    gone, joined : int
        Customers of the first run only, of the second only.
    features_gone, features_new : tuple of str
        What built the segments of one run only.
    changes : dict of str to (object, object)
        Parameters that differ.
    """

    first: Run
    second: Run
    agreement: float | None
    placed: int
    moves: Migration | None
    gone: int
    joined: int
    features_gone: tuple[str, ...]
    features_new: tuple[str, ...]
    changes: dict[str, tuple[Any, Any]]

    @property
    def summary(self) -> str:
        """The comparison as text."""
        lines = [f"First:  {self.first.path}", f"Second: {self.second.path}", ""]
        lines += self._agreement() + self._sizes() + self._moves() + self._what_changed()
        return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")

    def _agreement(self) -> list[str]:
        both = 0 if self.moves is None else int(self.moves.counts.sum())
        lines = [
            f"Customers: {both:,} in both, {self.gone:,} in the first only, {self.joined:,} in the second only."
        ]
        if self.agreement is None:
            return [*lines, "Agreement: too few customers have a segment in both runs."]
        meaning = "the same cut" if self.agreement == 1 else "1 is the same cut, 0 is chance"
        index = format_score(self.agreement)
        return [
            *lines,
            f"Agreement: adjusted Rand index {index} over {self.placed:,} customers ({meaning}).",
        ]

    def _sizes(self) -> list[str]:
        sizes = [_sizes(run) for run in (self.first, self.second)]
        totals = [max(1, sum(found.values())) for found in sizes]
        names = [run.names for run in (self.first, self.second)]
        lines = ["", "Segments (customers, share of each run):"]
        for number in sorted({*sizes[0], *sizes[1]}):
            told = " -> ".join(
                f"{found[number]:,} ({format_percent(found[number] / total)})" if number in found else "none"
                for found, total in zip(sizes, totals, strict=True)
            )
            called = dict.fromkeys(f'"{found[number]}"' for found in names if number in found)
            lines.append(f"  {number:>3}  {told:<32}  {' -> '.join(called)}")
        return lines

    def _moves(self) -> list[str]:
        if self.moves is None:
            return []
        before, after = self.moves.before, self.moves.after
        width = max(7, *(len(f"{int(count):,}") + 2 for count in self.moves.counts.reshape(-1)))
        head = "".join(f"{number:>{width}}" for number in after)
        lines = [
            "",
            "Migration (rows: segment in the first run; columns: in the second):",
            f"  {'':>5}{head}",
        ]
        for number, counts in zip(before, self.moves.counts.tolist(), strict=True):
            lines.append(f"  {number:>5}" + "".join(f"{count:>{width},}" for count in counts))
        return lines

    def _what_changed(self) -> list[str]:
        lines = ["", "What was done otherwise:"]
        if self.features_gone:
            lines.append(f"  features only in the first: {', '.join(self.features_gone)}")
        if self.features_new:
            lines.append(f"  features only in the second: {', '.join(self.features_new)}")
        lines += [f"  {name}: {_short(old)} -> {_short(new)}" for name, (old, new) in self.changes.items()]
        return lines if len(lines) > 2 else ["", "Both runs used the same records, features and parameters."]


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two runs over the same customers.

    Parameters
    ----------
    first, second : Path
        Folders of runs, the older first.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        One is no run, or the customers' keys are of different kinds.
    """
    a, b = open_run(first), open_run(second)
    left, right = (_placed(run) for run in (a, b))
    if left["key"].type != right["key"].type:
        raise InputError(
            f"the customers of {a.path} are {_kind(left)}, those of {b.path} {_kind(right)}; 1 and '1' are different "
            "customers: read the ids the same way in both runs"
        )
    joined = left.join(right, "key", join_type="inner", right_suffix="_after")
    before, after = (joined[name].to_numpy() for name in ("segment_id", "segment_id_after"))
    placed = (before != _fallback(a)) & (after != _fallback(b))
    n_placed = int(np.count_nonzero(placed))
    features = [run.manifest["parameters"].get("features", []) for run in (a, b)]
    return Comparison(
        first=a,
        second=b,
        agreement=adjusted_rand_index(before[placed], after[placed]) if n_placed > 1 else None,
        placed=n_placed,
        moves=migration(before, after) if len(joined) else None,
        gone=len(left) - len(joined),
        joined=len(right) - len(joined),
        features_gone=tuple(name for name in features[0] if name not in features[1]),
        features_new=tuple(name for name in features[1] if name not in features[0]),
        changes=_changes(_choices(a), _choices(b)),
    )


def _placed(run: Run) -> pa.Table:
    key = run.segments[run.customer]
    if pa.types.is_integer(key.type):
        key = key.cast(pa.int64())
    elif pa.types.is_string(key.type) or pa.types.is_large_string(key.type):
        key = key.cast(pa.large_string())
    return pa.table({"key": key, "segment_id": run.segments["segment_id"]})


def _kind(table: pa.Table) -> str:
    return "whole numbers" if pa.types.is_integer(table["key"].type) else "text"


def _fallback(run: Run) -> int:
    return int(run.manifest["counts"]["fallback_segment"])


def _sizes(run: Run) -> dict[int, int]:
    counted = pc.value_counts(run.segments["segment_id"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}


def _choices(run: Run) -> dict[str, Any]:
    """Everything that shaped the answer, by plain name; features are compared by themselves."""
    manifest = run.manifest
    chosen = {name: value for name, value in manifest["parameters"].items() if name != "features"}
    return {
        "records": manifest.get("input", {}).get("fingerprint"),
        "contract": manifest.get("contract"),
        "gpuseg": manifest.get("gpuseg"),
        **_flat(chosen),
    }


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    }


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
