"""The rule that chooses k (quality; called by choose_k): limits, separation of an outcome, elbow. It reads no table.

The lowest k that meets the limits; with an outcome, the lowest of those whose separation is within one standard error
of the best. Where nothing meets the limits they give way one by one, and the reason says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.widesum import fraction_to_float
from gpuseg.errors import InputError
from gpuseg.quality.agreement import Int64
from gpuseg.quality.stability import DOUBTFUL, Stability

NO_STRUCTURE = 0.25
"""A mean Euclidean silhouette up to this is no substantial structure (Kaufman & Rousseeuw 1990)."""
KNEEDLE_SENSITIVITY = 1.0


@dataclass(frozen=True)
class KEvidence:
    """What was found for one k.

    Parameters
    ----------
    k : int
        Clusters.
    inertia : float
        Of the fit.
    silhouette : float
        Mean silhouette in the metric of the choice.
    largest_share : float
        Share of rows in the largest cluster: a silhouette is never read without it.
    effective_segments : float
        exp(entropy) of the shares: how many equal segments would be as varied.
    n_iter : int
        Full passes of the fit.
    smallest : int
        Rows in the smallest cluster.
    stability : Stability or None
        Under resampling, where it was asked for.
    separation : float or None
        Share of the outcome's variance that the clusters account for, less what as many clusters made by chance would
        (epsilon squared, Kelley 1935); at most 1, about 0 for chance.
    fails : tuple of str
        Limits that this k does not meet, in words.
    """

    k: int
    inertia: float
    silhouette: float
    largest_share: float
    effective_segments: float
    n_iter: int
    smallest: int = 0
    stability: Stability | None = None
    separation: float | None = None
    fails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a segmentation must meet to be of use; None: no such limit.

    Parameters
    ----------
    min_size : int or None
        Rows that the smallest cluster needs.
    max_share : float or None
        Share of rows that the largest cluster may have.
    min_stability : float or None
        Mean Jaccard that every segment needs; None where stability was not looked at.
    """

    min_size: int | None = None
    max_share: float | None = None
    min_stability: float | None = None

    def require_sound(self) -> None:
        """Refuse limits that mean nothing.

        Raises
        ------
        InputError
            A limit is out of range.
        """
        if self.min_size is not None and (isinstance(self.min_size, bool) or self.min_size < 1):
            raise InputError(f"min_size={self.min_size} must be at least 1 row")
        if self.max_share is not None and not 0.0 < self.max_share <= 1.0:
            raise InputError(f"max_share={self.max_share} must be a share above 0 and up to 1")
        if self.min_stability is not None and not 0.0 <= self.min_stability <= 1.0:
            raise InputError(
                f"min_stability={self.min_stability} must lie between 0 and 1; 0.6 and 0.75 are usual"
            )

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self != Limits()

    def fails(self, found: KEvidence) -> tuple[str, ...]:
        """The limits that this k does not meet, in words."""
        said = []
        if self._too_small(found):
            said.append(f"smallest segment {found.smallest:,} < {self.min_size:,}")
        if self._too_large(found):
            said.append(f"largest share {found.largest_share:.3f} > {self.max_share:.3f}")
        if self._unstable(found):
            assert found.stability is not None
            said.append(f"stability {found.stability.lowest:.3f} < {self.min_stability:.3f}")
        return tuple(said)

    def words(self) -> str:
        """The limits in words."""
        said = []
        if self.min_size is not None:
            said.append(f"at least {self.min_size:,} in each segment")
        if self.max_share is not None:
            said.append(f"at most {100.0 * self.max_share:.0f} % in one")
        if self.min_stability is not None:
            said.append(f"mean Jaccard of each at least {self.min_stability:.2f}")
        return ", ".join(said)

    def _too_small(self, found: KEvidence) -> bool:
        return self.min_size is not None and found.smallest < self.min_size

    def _too_large(self, found: KEvidence) -> bool:
        return self.max_share is not None and found.largest_share > self.max_share

    def _unstable(self, found: KEvidence) -> bool:
        if self.min_stability is None or found.stability is None:
            return False
        return found.stability.lowest < self.min_stability

    def least_bad(self, evidence: Sequence[KEvidence]) -> KEvidence:
        """The k to take where none meets the limits: stability gives way first, then the share, then the size."""

        def stable(found: KEvidence) -> float:
            return 0.0 if found.stability is None else found.stability.lowest

        ways: tuple[tuple[Callable[[KEvidence], bool], Callable[[KEvidence], float]], ...] = (
            (lambda e: not self._too_small(e) and not self._too_large(e), stable),
            (lambda e: not self._too_small(e), lambda e: -e.largest_share),
            (lambda _: True, lambda e: float(e.smallest)),
        )
        for allowed, merit in ways:
            left = [found for found in evidence if allowed(found)]
            if left:
                return max(left, key=lambda found: (merit(found), -found.k))
        raise AssertionError  # the last way allows every k


@dataclass(frozen=True)
class Picked:
    """The choice and why.

    Parameters
    ----------
    k : int
        The choice.
    reason : str
        One sentence or two.
    met : bool
        Whether the limits are met.
    """

    k: int
    reason: str
    met: bool


def pick(evidence: Sequence[KEvidence], limits: Limits, errors: Callable[[int, int], float] | None) -> Picked:
    """Choose k by the limits and, where there is one, by the outcome.

    Parameters
    ----------
    evidence : sequence of KEvidence
        By k, ascending; all with a separation, or none.
    limits : Limits
        What a segmentation must meet.
    errors : callable or None
        Standard error of the difference in separation between two k; None without an outcome.
    """
    able = [found for found in evidence if not limits.fails(found)]
    asked = f"{evidence[0].k} to {evidence[-1].k}" if len(evidence) > 1 else f"{evidence[0].k}"
    if not able:
        best = limits.least_bad(evidence)
        return Picked(
            best.k,
            f"No k of {asked} meets the limits ({limits.words()}); k = {best.k} comes nearest "
            f"({'; '.join(limits.fails(best))}): a practical cut.",
            met=False,
        )
    if errors is None:
        return Picked(
            able[0].k,
            f"k = {able[0].k} is the lowest of {asked} that meets the limits ({limits.words()}).",
            met=True,
        )
    best = max(able, key=lambda found: (_separation(found), -found.k))
    chosen = next(e for e in able if _separation(best) - _separation(e) <= errors(e.k, best.k))
    among = f"Of k = {asked}" + (f" that meet the limits ({limits.words()})" if limits.any else "")
    told = f"{among}, k = {chosen.k} separates the outcome best ({_separation(chosen):.3f})."
    if chosen.k != best.k:
        told = (
            f"{among}, k = {chosen.k} is the lowest that separates the outcome ({_separation(chosen):.3f}) within one "
            f"standard error of the best, k = {best.k} ({_separation(best):.3f})."
        )
    return Picked(chosen.k, told, met=True)


def _separation(found: KEvidence) -> float:
    assert found.separation is not None
    return found.separation


def read_truths(outcome: Any, n_rows: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The outcome of each row, and which rows have one.

    Parameters
    ----------
    outcome : array_like, shape (n_rows,)
        True and false, or 1 and 0; NaN (None) for rows to leave out, such as customers whom nobody contacted.
    n_rows : int
        Rows of the table.

    Raises
    ------
    InputError
        Another length or other values, or an outcome that nobody or everybody has.
    """
    if hasattr(outcome, "to_pylist"):  # Arrow's nulls
        outcome = [math.nan if value is None else value for value in outcome.to_pylist()]
    try:
        values = np.asarray(outcome, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"outcome cannot be read as true, false or NaN ({error})") from error
    if values.shape != (n_rows,):
        raise InputError(f"outcome has shape {values.shape} for {n_rows} rows; give one value a row")
    known = ~np.isnan(values)
    if not np.isin(values[known], (0.0, 1.0)).all():
        raise InputError("outcome has values other than 0, 1 and NaN; give one truth a row")
    happened = known & (values == 1.0)
    hits, base = int(np.count_nonzero(happened)), int(np.count_nonzero(known))
    if hits in {0, base}:
        who = "nobody" if not hits else "everybody"
        raise InputError(
            f"{who} of the {base:,} rows with an outcome has it, so it separates nothing; choose another"
        )
    return happened, known


def separation(labels: npt.NDArray[np.integer], happened: npt.NDArray[np.bool_]) -> float:
    """Epsilon squared of a truth over clusters: 1 - (within / (n - g)) / (total / (n - 1)), from integers.

    Parameters
    ----------
    labels : ndarray of integer, shape (n,)
        Cluster of each row that has an outcome.
    happened : ndarray of bool, shape (n,)
        The outcome; true for some rows and false for others.
    """
    sizes, hits = _counts(labels, happened)
    n, m, g = sum(sizes), sum(hits), len(sizes)
    if n <= g:
        return 0.0
    within = sum((Fraction(h * (s - h), s) for s, h in zip(sizes, hits, strict=True)), Fraction(0))
    return fraction_to_float(1 - within * (n - 1) / (Fraction(m * (n - m), n) * (n - g)))


def separation_error(
    first: npt.NDArray[np.integer], second: npt.NDArray[np.integer], happened: npt.NDArray[np.bool_]
) -> float:
    """Standard error of the difference in separation between two partitions of the same rows.

    Notes
    -----
    By the influence of a row on eta squared, theta = B / T with B the variance between clusters and T the total:
    (2 (y - p)(p_g - p) - (p_g - p)^2 - theta (y - p)^2) / T. Rows of one cell (first, second, outcome) are alike.
    """
    n, p = happened.size, int(np.count_nonzero(happened)) / happened.size
    total = p * (1.0 - p)
    a, b = _influences(first, happened, p, total), _influences(second, happened, p, total)
    cells: Mapping[tuple[int, int, bool], int] = _cells(first, second, happened)
    squares = [count * (a[i, y] - b[j, y]) * (a[i, y] - b[j, y]) for (i, j, y), count in cells.items()]
    return math.sqrt(math.fsum(squares)) / n


def _counts(labels: npt.NDArray[np.integer], happened: npt.NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Rows and rows with the outcome of each cluster that has any."""
    sizes = np.bincount(labels)
    hits = np.bincount(labels[happened], minlength=sizes.size)
    return sizes[sizes > 0].tolist(), hits[sizes > 0].tolist()


def _influences(
    labels: npt.NDArray[np.integer], happened: npt.NDArray[np.bool_], p: float, total: float
) -> dict[tuple[int, bool], float]:
    sizes, hits = _counts(labels, happened)
    gaps = [h / s - p for s, h in zip(sizes, hits, strict=True)]
    theta = math.fsum(s * gap * gap for s, gap in zip(sizes, gaps, strict=True)) / (len(labels) * total)
    found = {}
    for label, gap in zip(np.unique(labels).tolist(), gaps, strict=True):
        for y in (False, True):
            off = y - p
            found[label, y] = (2.0 * off * gap - gap * gap - theta * (off * off)) / total
    return found


def _cells(first: Any, second: Any, happened: Any) -> dict[tuple[int, int, bool], int]:
    codes: Int64 = np.stack([first, second, happened]).astype(np.int64)
    distinct, counts = np.unique(codes, axis=1, return_counts=True)
    return {
        (i, j, bool(y)): count for (i, j, y), count in zip(distinct.T.tolist(), counts.tolist(), strict=True)
    }


def elbow(ks: Sequence[int], inertias: Sequence[float]) -> int | None:
    """The k where the inertia stops falling fast, by kneedle; None where there is no such k.

    Parameters
    ----------
    ks : sequence of int
        Ascending.
    inertias : sequence of float
        Of each k.

    References
    ----------
    V. Satopää, J. Albrecht, D. Irwin, B. Raghavan. Finding a "kneedle" in a haystack: detecting knee points in system
    behavior. ICDCS workshops (2011). Sensitivity 1, no smoothing.
    """
    low, high = min(inertias), max(inertias)
    if len(ks) < 3 or low == high:
        return None
    x = [(k - ks[0]) / (ks[-1] - ks[0]) for k in ks]
    gap = [(high - inertia) / (high - low) - at for inertia, at in zip(inertias, x, strict=True)]
    peaks = [i for i in range(1, len(ks) - 1) if gap[i - 1] < gap[i] >= gap[i + 1]]
    for i, after in zip(peaks, [*peaks[1:], len(ks)], strict=False):
        threshold = gap[i] - KNEEDLE_SENSITIVITY / (len(ks) - 1)
        if gap[i] > 0 and any(value < threshold for value in gap[i + 1 : after]):
            return ks[i]
    return None


def default_stability(min_stability: float | None) -> float:
    """The mean Jaccard asked of each segment: by default, that none is doubtful (Hennig 2007)."""
    return DOUBTFUL if min_stability is None else min_stability
