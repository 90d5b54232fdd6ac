"""The choice of k (quality): a fit and its evidence for every k asked for, and the rule that picks one.

The number of segments is a judgement, so all the evidence stays in the result. With limits or an outcome the rule is
that of :mod:`gpuseg.quality.k_rule`; without any, "the lowest k" would always be the first, and the highest silhouette
decides.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.kmeans import KMeans
from gpuseg.cluster.lloyd import Finished
from gpuseg.cluster.preparing import Prepared
from gpuseg.cluster.sweep import Wanted, fit_together, warn_of_few
from gpuseg.core import detmath
from gpuseg.errors import InputError
from gpuseg.graph.executors import Executor
from gpuseg.quality.k_rule import (
    NO_STRUCTURE,
    KEvidence,
    Limits,
    Picked,
    default_stability,
    elbow,
    pick,
    read_truths,
    separation,
    separation_error,
)
from gpuseg.quality.silhouette import METRICS, euclidean_means, squared_means
from gpuseg.quality.stability import stability as stability_of

_LN2 = 0.6931471805599453

Labels = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]

_CALLER = 4
"""Frames from a warning about a model to who called :func:`choose_k`."""


@dataclass(frozen=True)
class KChoice:
    """The chosen k and the evidence for every other.

    Parameters
    ----------
    k : int
        The choice.
    reason : str
        A sentence or two.
    metric : str
        Of the silhouettes.
    evidence : tuple of KEvidence
        By k, ascending.
    models : dict of int to KMeans
        The fitted estimator of each k.
    rule : str
        "silhouette", or "limits" (with an outcome too).
    met : bool
        Whether the limits are met; True where there are none.
    elbow : int or None
        By kneedle over the inertias; None where there is no elbow.
    """

    k: int
    reason: str
    metric: str
    evidence: tuple[KEvidence, ...]
    models: dict[int, KMeans]
    rule: str = "silhouette"
    met: bool = True
    elbow: int | None = None

    @property
    def model(self) -> KMeans:
        """The fitted estimator of the chosen k."""
        return self.models[self.k]

    @property
    def structure(self) -> bool | None:
        """Whether the Euclidean silhouette speaks for natural groups; None for the squared form, which has no bands."""
        best = next(found for found in self.evidence if found.k == self.k)
        return best.silhouette > NO_STRUCTURE if self.metric == "euclidean" else None

    @property
    def practical(self) -> bool:
        """Whether this is a practical cut: the limits are not met, or there are no natural groups."""
        return not self.met or self.structure is False


def choose_k(
    X: Any,
    clusters: Iterable[int] = range(2, 11),
    *,
    metric: str = "euclidean",
    random_state: int = 0,
    min_size: int | None = None,
    max_share: float | None = None,
    stability: int | None = None,
    min_stability: float | None = None,
    outcome: Any = None,
    engine: str = "auto",
    n_jobs: int | None = None,
) -> KChoice:
    """Fit KMeans for every k and choose one.

    Parameters
    ----------
    X : array_like, DataFrame, pyarrow.Table, Dask collection, or path, shape (n, d)
        Rows by features, already scaled.
    clusters : iterable of int, default=range(2, 11)
        The k to try; each at least 2 and below the number of rows.
    metric : {"euclidean", "sqeuclidean"}, default="euclidean"
        Of the silhouette. "sqeuclidean" costs two passes for all k together, "euclidean" all pairs for each.
    random_state : int, default=0
        Seed of every fit, and of the resampling.
    min_size : int, optional
        Rows that the smallest segment needs.
    max_share : float, optional
        Share of rows that the largest segment may have, above 0 and up to 1.
    stability : int, optional
        Look at stability over so many bootstrap replicates (20 are usual). Costs that many fits a k.
    min_stability : float, optional
        Mean Jaccard that every segment needs; default 0.6, below which a segment is doubtful. Needs ``stability``.
    outcome : array_like, shape (n,), optional
        A truth of each row in a later window (true and false, or 1 and 0), NaN where there is none, such as for
        customers whom nobody contacted.
    engine : {"auto", "cpu", "cuda"}, default="auto"
        Who computes.
    n_jobs : int or None, default=None
        Threads of the CPU engine.

    Returns
    -------
    KChoice
        The choice, its reason, and the evidence and model of every k.

    Raises
    ------
    InputError
        If no k is given, one is below 2, a limit is out of range, the outcome separates nothing, or the data cannot be
        used.

    Notes
    -----
    The table is read, prepared and sampled once; each pass over it feeds the models of all k that still move. Every
    model is what ``KMeans(k, random_state=random_state).fit(X)`` gives.

    With any limit or an outcome: the lowest k that meets minimum size, largest share and stability; with an outcome,
    the lowest of those whose separation (epsilon squared) is within one standard error of the best. If none meets them,
    stability gives way first, then the share, then the size: it is a practical cut, ``met`` is False and the reason
    says so. With neither, the highest silhouette; ties go to the lowest k. The rows always are cut: where there are no
    natural groups the reason says that as well.

    References
    ----------
    Rousseeuw 1987 (silhouette); Kaufman & Rousseeuw 1990 (its bands); Hennig 2007 (stability).

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import choose_k
    >>> X = np.repeat([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]], 20, axis=0) + np.arange(120).reshape(60, 2) % 7 / 9
    >>> choose_k(X, range(2, 6)).k
    3
    >>> choose_k(X, range(2, 6), max_share=0.5).reason
    'k = 3 is the lowest of 2 to 5 that meets the limits (at most 50 % in one).'
    """
    wanted = sorted({int(k) for k in clusters})
    if not wanted or wanted[0] < 2:
        msg = f"clusters={wanted} must name at least one k, each >= 2"
        raise InputError(msg)
    if metric not in METRICS:
        msg = f"metric={metric!r} is not known; use one of {', '.join(map(repr, METRICS))}"
        raise InputError(msg)
    if min_stability is not None and stability is None:
        msg = f"min_stability={min_stability} needs stability=, the number of bootstrap replicates; 20 are usual"
        raise InputError(msg)
    limits = Limits(min_size, max_share, None if stability is None else default_stability(min_stability))
    limits.require_sound()
    models = {k: KMeans(k, random_state=random_state, engine=engine, n_jobs=n_jobs) for k in wanted}
    seen = fit_together(
        list(models.values()),
        X,
        functools.partial(_look, metric=metric, outcome=outcome),
        wanted=Wanted(labels=metric == "euclidean" or outcome is not None, moments=metric == "sqeuclidean"),
    )
    evidence = []
    for i, (k, model) in enumerate(models.items()):
        found = _evidence(k, model, seen.counts[i], seen.scores[i])
        if stability is not None:
            found = replace(found, stability=stability_of(X, model, stability, model.seed_))
        if seen.truths is not None:
            happened, known = seen.truths
            found = replace(found, separation=separation(seen.labels[k][known], happened[known]))
        evidence.append(replace(found, fails=limits.fails(found)))
    labels, truths = seen.labels, seen.truths
    picked, rule = _by_silhouette(evidence, metric), "silhouette"
    if limits.any or truths is not None:
        errors = None if truths is None else functools.partial(_separation_error, labels, *truths)
        picked, rule = pick(evidence, limits, errors), "limits"
    knee = elbow(wanted, [found.inertia for found in evidence])
    choice = KChoice(
        picked.k, picked.reason, metric, tuple(evidence), models, rule=rule, met=picked.met, elbow=knee
    )
    if choice.structure is False:
        choice = replace(choice, reason=f"{choice.reason} {_continuum(choice)}")
    return choice


def _separation_error(
    labels: dict[int, Labels], happened: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], a: int, b: int
) -> float:
    return separation_error(labels[a][known], labels[b][known], happened[known])


def _continuum(choice: KChoice) -> str:
    score = next(found.silhouette for found in choice.evidence if found.k == choice.k)
    return (
        f"The silhouette ({score:.3f}, not above {NO_STRUCTURE}) shows no natural groups: "
        "a practical cut of a continuum."
    )


@dataclass(frozen=True)
class _Seen:
    """What is looked at while the table is at hand; by model, but for the labels, which are by k."""

    counts: list[Counts]
    scores: list[float]
    labels: dict[int, Labels]
    truths: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None


def _look(
    executor: Executor, prepared: Prepared, done: list[Finished], *, metric: str, outcome: Any
) -> _Seen:
    """Sizes, silhouettes and, for an outcome, labels of all models."""
    n = prepared.seen.n_rows
    truths = None if outcome is None else read_truths(outcome, n)
    for one in done:
        warn_of_few(one.n_used, len(one.state.centres), stacklevel=_CALLER)
    if metric == "sqeuclidean":
        counts, scores = squared_means(executor, prepared, done)
    else:
        found = [one.labels for one in done if one.labels is not None]
        counts = [
            np.bincount(labels, minlength=len(one.state.centres))
            for labels, one in zip(found, done, strict=True)
        ]
        scores = euclidean_means(executor, prepared, found)
    labels = {
        len(one.state.centres): one.labels for one in done if one.labels is not None and truths is not None
    }
    return _Seen(counts, scores, labels, truths)


def _evidence(k: int, model: KMeans, counts: Counts, score: float) -> KEvidence:
    shares = counts / counts.sum()
    return KEvidence(
        k,
        model.inertia_,
        score,
        float(shares.max()),
        effective_number(shares),
        model.n_iter_,
        int(counts.min()),
    )


def effective_number(shares: npt.NDArray[np.float64]) -> float:
    """exp(entropy) of shares that add to 1."""
    positive = shares[shares > 0]
    entropy = -math.fsum((positive * detmath.log(positive)).tolist())
    return float(detmath.exp2(np.array([entropy / _LN2]))[0])


def _by_silhouette(evidence: list[KEvidence], metric: str) -> Picked:
    best = max(evidence, key=lambda found: (found.silhouette, -found.k))
    return Picked(best.k, _reason(best, evidence, metric), met=True)


def _reason(best: KEvidence, evidence: list[KEvidence], metric: str) -> str:
    name = "Euclidean" if metric == "euclidean" else "squared-Euclidean"
    if len(evidence) == 1:
        return f"k = {best.k} was the only one asked for ({name} silhouette {best.silhouette:.3f})."
    second = max((e for e in evidence if e.k != best.k), key=lambda found: (found.silhouette, -found.k))
    return (
        f"k = {best.k} has the highest {name} silhouette ({best.silhouette:.3f}) of "
        f"{evidence[0].k} to {evidence[-1].k}; next is k = {second.k} ({second.silhouette:.3f})."
    )
