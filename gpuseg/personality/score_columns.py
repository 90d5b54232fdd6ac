"""Scores as columns (room ``personality``; the facade and jobs make frames and files of them)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gpuseg.personality.scoring import Scores

FIGURES = ("percentile", "low", "high", "covered", "categories", "because")
"""What stands beside each score, after the trait's name."""


def score_columns(found: Scores) -> dict[str, pa.Array]:
    """One float64 column a trait, always all of them; NaN where it is not measurable."""
    return {trait: pa.array(found.values[:, t]) for t, trait in enumerate(found.traits)}


def detail_columns(found: Scores) -> dict[str, pa.Array]:
    """Besides the scores: what they rest on, how certain they are, and what says most.

    Returns
    -------
    dict of str to pyarrow.Array
        The traits; ``evidence``; and for each trait ``_percentile``, ``_low``, ``_high``, ``_covered``, ``_categories``
        and ``_because`` (names joined by ", ", null where the trait is not measurable).
    """
    columns = score_columns(found) | {"evidence": pa.array(found.evidence)}
    for t, trait in enumerate(found.traits):
        figures = {
            "percentile": found.percentile[:, t],
            "low": found.low[:, t],
            "high": found.high[:, t],
            "covered": found.covered[:, t],
            "categories": found.evidenced[:, t].astype(np.int64),
        }
        columns |= {f"{trait}_{name}": pa.array(np.ascontiguousarray(one)) for name, one in figures.items()}
        columns[f"{trait}_because"] = _named(found, t)
    return columns


def _named(found: Scores, trait: int) -> pa.Array:
    """The three categories of each customer in words: every combination is spelled once."""
    if not found.measurability[trait].measurable:
        return pa.nulls(len(found.keys), pa.string())
    combinations, row = np.unique(found.reasons[:, trait], axis=0, return_inverse=True)
    words = [", ".join(found.categories[c] for c in one if c >= 0) for one in combinations.tolist()]
    return pa.array(words, pa.string()).take(pa.array(row.reshape(-1)))
