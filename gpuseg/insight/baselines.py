"""What a model remembers of its training customers (room ``insight``; the model keeps it): baselines for drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

N_BINS = 10
"""Equal-frequency bins of a drift baseline."""


@dataclass(frozen=True)
class Bins:
    """Where a feature's values lay in training: bin i holds ``edges[i - 1] < x <= edges[i]``; open at both ends.

    Parameters
    ----------
    edges : tuple of float
        Inner edges, ascending, in units of the feature; at most ``N_BINS - 1``, fewer where values are tied.
    counts : tuple of int
        Training customers in each bin, one more than edges.
    contacted : tuple of int or None
        Those of them whom the outcome's rate is of; None where the job has no outcome.
    outcomes : tuple of (int or None) or None
        How many of these had the outcome; None in a bin where they are too few to tell.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    contacted: tuple[int, ...] | None = None
    outcomes: tuple[int | None, ...] | None = None

    @classmethod
    def of(cls, values: Float64, truths: Float64 | None = None, min_cell: int = 10) -> Bins:
        """Equal-frequency bins of finite values: edges are values themselves, nothing is interpolated.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            Of the training customers, n >= 1.
        truths : ndarray of float64, shape (n,), optional
            1 and 0 for customers with and without the outcome, NaN for those whom nobody contacted.
        min_cell : int, default 10
            Customers contacted below which a bin's outcome is not kept.
        """
        ordered = np.sort(values)
        ranks = [-(-step * len(ordered) // N_BINS) - 1 for step in range(1, N_BINS)]
        edges = np.unique(ordered[[rank for rank in ranks if rank >= 0]])
        edges = edges[edges < ordered[-1]] + 0.0  # one zero, not two
        inside = np.searchsorted(edges, values, side="left")
        counts = np.bincount(inside, minlength=len(edges) + 1)
        told = (tuple(edges.tolist()), tuple(counts.tolist()))
        if truths is None:
            return cls(*told)
        contacted = np.bincount(inside[~np.isnan(truths)], minlength=len(counts)).tolist()
        outcomes = np.bincount(inside[truths == 1], minlength=len(counts)).tolist()
        kept = (hits if base >= min_cell else None for hits, base in zip(outcomes, contacted, strict=True))
        return cls(*told, tuple(contacted), tuple(kept))

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the training customers in each bin."""
        return tuple(count / sum(self.counts) for count in self.counts)

    @property
    def outcome_rates(self) -> tuple[float | None, ...] | None:
        """Share of those contacted who had the outcome, by bin; None where the job has no outcome, or too few."""
        if self.contacted is None or self.outcomes is None:
            return None
        pairs = zip(self.outcomes, self.contacted, strict=True)
        return tuple(None if hits is None else hits / base for hits, base in pairs)

    def to_record(self) -> dict[str, Any]:
        """As JSON values; shares and rates are written for readers, and follow from the counts."""
        return {
            "edges": self.edges,
            "counts": self.counts,
            "shares": self.shares,
            "contacted": self.contacted,
            "outcomes": self.outcomes,
            "outcome_rates": self.outcome_rates,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Bins:
        """Read :meth:`to_record` back; models of before have no outcomes.

        Parameters
        ----------
        record : mapping
            Of one feature.

        Raises
        ------
        ValueError
            There are not as many counts as bins.
        """
        contacted, outcomes = (
            None if record.get(name) is None else tuple(record[name]) for name in ("contacted", "outcomes")
        )
        found = cls(tuple(record["edges"]), tuple(record["counts"]), contacted, outcomes)
        each = [found.counts, *(kept for kept in (contacted, outcomes) if kept is not None)]
        if any(len(kept) != len(found.edges) + 1 for kept in each):
            raise ValueError(f"{len(found.edges)} edges do not go with {[len(kept) for kept in each]} counts")
        return found
