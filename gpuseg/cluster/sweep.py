"""Fits of one table over shared reads (cluster): opened, prepared and sampled once, every pass feeds all models.

What ``KMeans.fit`` does for one model, and the choice of k for all of its models: each ends as its own fit would leave
it, bit for bit. A friend of the estimator: it calls its private steps.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from gpuseg.cluster.inputs import open_table
from gpuseg.cluster.lloyd import Finished, run_lloyd
from gpuseg.cluster.parameters import seed_of
from gpuseg.cluster.planning import bound_of, plan_fit, require_plan, say_plan
from gpuseg.cluster.preparing import Prepared, prepare
from gpuseg.cluster.sharing import Shared
from gpuseg.core.fit_plan import MemoryPlan
from gpuseg.core.seeding import SAMPLE_ROWS
from gpuseg.core.sizes import require_size
from gpuseg.engines.choose import check_engine
from gpuseg.graph.executors import Executor, executor_for
from gpuseg.graph.tables import Table
from gpuseg.graph.tasks import FEW, Job

if TYPE_CHECKING:
    from gpuseg.cluster.kmeans import KMeans

Found = TypeVar("Found")


@dataclass(frozen=True)
class Wanted:
    """What the closing pass gives beside sums and inertia.

    Parameters
    ----------
    labels : bool
        Labels of a Dask collection too, which otherwise stay where its rows are; those of other tables always come.
    moments : bool
        Moments of each cluster's rows.
    """

    labels: bool = False
    moments: bool = False


def fit_together(
    models: Sequence[KMeans],
    X: Any,
    then: Callable[[Executor, Prepared, list[Finished]], Found],
    *,
    sample_weight: Any = None,
    customer: str | None = None,
    wanted: Wanted | None = None,
) -> Found:
    """Fit estimators that differ in what they fit, not in where: engine and threads are those of the first.

    Parameters
    ----------
    models : sequence of KMeans
        At least one; set as ``fit`` sets them. A failure leaves them half set: the caller lets go of them.
    X, sample_weight, customer : as in :meth:`gpuseg.cluster.kmeans.KMeans.fit`
        The table.
    then : callable
        ``then(executor, prepared, finished)`` looks at the ends of all models while the table is still at hand.
    wanted : Wanted, optional
        What the closing pass gives ``then``.

    Returns
    -------
    object
        What ``then`` gave.

    Raises
    ------
    InputError
        For parameters or data that cannot be used.
    EngineUnavailableError
        If the engine asked for cannot run.
    MemoryPlanError
        If the table does not fit, however it is read.
    """
    first, wanted = models[0], wanted or Wanted()
    for model in models:
        model._check()
    check_engine(first.engine, first.n_jobs)
    seeds = [seed_of(model.random_state) for model in models]
    table = open_table(first, X, sample_weight, customer, reset=True)
    ks = [int(model.n_clusters) for model in models]
    want_labels = wanted.labels or table.kind != "dask"
    plan = plan_fit(models, table, wants_labels=want_labels, weighted=sample_weight is not None)
    require_plan(plan)
    say_plan(plan)
    executor = executor_for(table, first.engine, first.n_jobs, holds=plan.holds_source)
    try:
        job = Job(uuid.uuid4().hex, executor.engine, bound_of(plan), turns=_turns(models, table))
        prepared = prepare(executor, job, single=table.single, n_clusters=max(ks), columns=table.columns)
        least = [int(model.min_cluster_size) for model in models]
        require_size(max(least), prepared.seen.weights.n_positive)
        shared = Shared(executor, prepared, ks)
        starts = [model._start(shared, seed) for model, seed in zip(models, seeds, strict=True)]
        del shared  # samples are not needed beside the passes
        watches = [model._watch(prepared, single=table.single) for model in models]
        done = run_lloyd(
            executor,
            prepared,
            starts,
            watches,
            want_labels=want_labels,
            want_moments=wanted.moments,
            least=least,
        )
        found = then(executor, prepared, done)
    finally:
        executor.close()
    weight = sample_weight if isinstance(sample_weight, str) else None
    for model, seed, one in zip(models, seeds, done, strict=True):
        _share_names(first, model)
        model._keep(table, prepared, one, executor, seed, weight)
        model.memory_plan_, model.persist_ = plan, plan.persist
    return found


def _turns(models: Sequence[KMeans], table: Table) -> int:
    """Passes for which rows are turned on the way: a fit that starts where its sample's came to rest needs few."""
    from_sample = all(isinstance(m.init, str) and m.init == "k-means++" and m.sample_start for m in models)
    rows = [part.n_rows for part in table.partitions]
    n_rows = sum(n for n in rows if n is not None)
    return FEW if from_sample and (None in rows or n_rows > SAMPLE_ROWS) else 0


def plan_alone(model: KMeans, X: Any, sample_weight: Any, customer: str | None) -> MemoryPlan:
    """The plan of one model's ``fit``; the model stays as it is.

    Raises
    ------
    InputError
        For parameters or tables that cannot be used.
    """
    model._check()
    check_engine(model.engine, model.n_jobs)
    table = open_table(clone(model), X, sample_weight, customer, reset=True)
    weighted = sample_weight is not None
    return plan_fit([model], table, wants_labels=table.kind != "dask", weighted=weighted)


def warn_of_few(n_used: int, n_clusters: int, stacklevel: int) -> None:
    """scikit-learn's warning where fewer clusters than asked for have weight."""
    if n_used < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({n_used}) found smaller than n_clusters ({n_clusters}). "
            "Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_one(n_left: int, min_cluster_size: int, stacklevel: int) -> None:
    """A warning where a minimum size has left no more than one cluster."""
    if n_left == 1:
        warnings.warn(
            f"min_cluster_size={min_cluster_size} leaves one cluster of all rows; lower it for more",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _share_names(first: KMeans, model: KMeans) -> None:
    """Names and count of the features, which opening the table set on the first model."""
    model.n_features_in_ = first.n_features_in_
    if hasattr(first, "feature_names_in_"):
        model.feature_names_in_ = first.feature_names_in_
    elif hasattr(model, "feature_names_in_"):
        del model.feature_names_in_
