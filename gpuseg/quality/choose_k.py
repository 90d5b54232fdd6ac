"""The choice of k (quality): a fit and its evidence for every k asked for, and the rule that picks one.

The number of segments is a judgement, so all the evidence stays in the result. The rule here: the highest
silhouette, ties to the lowest k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.kmeans import KMeans
from gpuseg.core import detmath
from gpuseg.errors import InputError
from gpuseg.quality.silhouette import METRICS, silhouette_score

_LN2 = 0.6931471805599453


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
    """

    k: int
    inertia: float
    silhouette: float
    largest_share: float
    effective_segments: float
    n_iter: int


@dataclass(frozen=True)
class KChoice:
    """The chosen k and the evidence for every other.

    Parameters
    ----------
    k : int
        The choice.
    reason : str
        One sentence.
    metric : str
        Of the silhouettes.
    evidence : tuple of KEvidence
        By k, ascending.
    models : dict of int to KMeans
        The fitted estimator of each k.
    """

    k: int
    reason: str
    metric: str
    evidence: tuple[KEvidence, ...]
    models: dict[int, KMeans]

    @property
    def model(self) -> KMeans:
        """The fitted estimator of the chosen k."""
        return self.models[self.k]


def choose_k(
    X: Any,
    clusters: Iterable[int] = range(2, 11),
    *,
    metric: str = "euclidean",
    random_state: int = 0,
    engine: str = "auto",
    n_jobs: int | None = None,
) -> KChoice:
    """Fit KMeans for every k and choose the one with the highest silhouette.

    Parameters
    ----------
    X : array_like, DataFrame, pyarrow.Table, Dask collection, or path, shape (n, d)
        Rows by features, already scaled.
    clusters : iterable of int, default=range(2, 11)
        The k to try; each at least 2 and below the number of rows.
    metric : {"euclidean", "sqeuclidean"}, default="euclidean"
        Of the silhouette. "sqeuclidean" costs one pass a k, "euclidean" all pairs.
    random_state : int, default=0
        Seed of every fit.
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
        If no k is given, one is below 2, or the data cannot be used.

    References
    ----------
    Rousseeuw 1987.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import choose_k
    >>> X = np.repeat([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]], 20, axis=0) + np.arange(120).reshape(60, 2) % 7 / 9
    >>> choose_k(X, range(2, 6)).k
    3
    """
    wanted = sorted({int(k) for k in clusters})
    if not wanted or wanted[0] < 2:
        msg = f"clusters={wanted} must name at least one k, each >= 2"
        raise InputError(msg)
    if metric not in METRICS:
        msg = f"metric={metric!r} is not known; use one of {', '.join(map(repr, METRICS))}"
        raise InputError(msg)
    models: dict[int, KMeans] = {}
    evidence = []
    for k in wanted:
        model = KMeans(k, random_state=random_state, engine=engine, n_jobs=n_jobs).fit(X)
        labels = np.asarray(model.labels_.compute() if hasattr(model.labels_, "compute") else model.labels_)
        score = silhouette_score(X, labels, metric=metric, engine=engine, n_jobs=n_jobs)
        models[k] = model
        evidence.append(_evidence(k, model, labels, score))
    best = max(evidence, key=lambda found: (found.silhouette, -found.k))
    return KChoice(best.k, _reason(best, evidence, metric), metric, tuple(evidence), models)


def _evidence(k: int, model: KMeans, labels: npt.NDArray[np.int32], score: float) -> KEvidence:
    shares = np.bincount(labels, minlength=k) / labels.size
    return KEvidence(k, model.inertia_, score, float(shares.max()), effective_number(shares), model.n_iter_)


def effective_number(shares: npt.NDArray[np.float64]) -> float:
    """exp(entropy) of shares that add to 1."""
    positive = shares[shares > 0]
    entropy = -math.fsum((positive * detmath.log(positive)).tolist())
    return float(detmath.exp2(np.array([entropy / _LN2]))[0])


def _reason(best: KEvidence, evidence: list[KEvidence], metric: str) -> str:
    name = "Euclidean" if metric == "euclidean" else "squared-Euclidean"
    if len(evidence) == 1:
        return f"k = {best.k} was the only one asked for ({name} silhouette {best.silhouette:.3f})."
    second = max((e for e in evidence if e.k != best.k), key=lambda found: (found.silhouette, -found.k))
    return (
        f"k = {best.k} has the highest {name} silhouette ({best.silhouette:.3f}) of "
        f"{evidence[0].k} to {evidence[-1].k}; next is k = {second.k} ({second.silhouette:.3f})."
    )
