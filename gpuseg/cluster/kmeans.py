"""KMeans (cluster): Lloyd's algorithm with one answer on any hardware, in scikit-learn's manners."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import check_is_fitted

from gpuseg.cluster.exchange import adopted, sklearn_model
from gpuseg.cluster.inputs import open_table
from gpuseg.cluster.lloyd import Finished
from gpuseg.cluster.oversampling import gather_candidates
from gpuseg.cluster.parameters import DEFAULT_ROUNDS, centre_array, check_manners, check_parameters, n_rounds
from gpuseg.cluster.predicting import (
    Fitted,
    predict_dask,
    predict_partition,
    transform_dask,
    transform_partition,
)
from gpuseg.cluster.preparing import Prepared, require_range, scan
from gpuseg.cluster.progress import Callback, Watch
from gpuseg.cluster.seeding import Greedy, best_seeding, greedy_kmeanspp, run_on_sample
from gpuseg.cluster.sharing import Shared
from gpuseg.cluster.sweep import fit_together, plan_alone, warn_of_few, warn_of_one
from gpuseg.core.fit_plan import MemoryPlan
from gpuseg.core.lloyd import ClusterSums, LloydState, absolute_tolerance
from gpuseg.core.moments import Layout, Scales, centred_max_abs, require_block_range
from gpuseg.core.seeding import AUTO_SEEDINGS, Sample, draft_rows
from gpuseg.core.weights import WeightRange
from gpuseg.engines.choose import EngineChoice
from gpuseg.graph.executors import Executor, executor_for
from gpuseg.graph.memo import memo_bytes
from gpuseg.graph.partitions import Partition
from gpuseg.graph.placing import choose_placed, current_client
from gpuseg.graph.tables import Table
from gpuseg.graph.tasks import FEW, Job, close_partition

logger = logging.getLogger("gpuseg.cluster")


class KMeans(  # type: ignore[call-arg]
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClusterMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
    auto_wrap_output_keys=None,
):
    """K-means clustering whose labels, centres and inertia are the same bits wherever it runs.

    The answer does not depend on chunking, threads, workers, engine or faults: distances follow one float32 chain,
    sums are exact integers, and random draws go by who a row is.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters k.
    init : {"k-means++", "k-means||"} or array_like of shape (k, d), default="k-means++"
        "k-means++": greedy k-means++ on a sample of at most 2**18 rows. "k-means||": the same on the candidates that
        rounds over all rows keep, each counted as often as rows lie nearest to it; for data in which 2**18 rows would
        miss small groups far away, at the price of a pass a round. Or the initial centres themselves.
    n_init : "auto" or int, default="auto"
        Seedings, each followed by Lloyd's algorithm on a draft of the sample (2**15 of its rows, 512 a cluster if that
        is more) or on the candidates; the best one goes on. "auto": 8. An array as ``init`` is used once.
    max_iter : int, default=300
        Full passes over the data at most.
    tol : float, default=1e-4
        The fit stops when the summed squared shift of the centres is at most ``tol`` times the mean variance of the
        features (scikit-learn's rule). With 0 it stops when the centres no longer change.
    verbose : int, default=0
        Above 0 each full pass prints a line, as scikit-learn does: its number, inertia and how many rows moved; and
        the last one why it was the last. What happens once a fit (centring, candidates) goes to the logger
        ``gpuseg.cluster`` whatever this says.
    callback : callable or None, default=None
        ``callback(iteration, inertia, n_moved, centers)`` after each full pass, on the thread that called ``fit``:
        iterations from 1 on, the centres that rows were assigned to, in the input's units, and the inertia that
        belongs to these. ``n_moved``, rows whose label changed, is a figure for progress and no part of the answer: of
        a partition whose memo was lost all rows count. Where it returns True the fit ends as if that iteration were
        ``max_iter``. To pickle the model, give a function of a module.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the draws. None takes a fresh seed, recorded as ``seed_``.
    sample_start : bool, default=True
        Whether full passes start from where Lloyd's algorithm ends on the draft and then on the sample, or on the
        candidates (on those of them that are fewer rows than the data), or from the seeds themselves.
    oversampling_factor : float, default=2.0
        "k-means||" only: rows that a round keeps on average, over ``n_clusters``. (dask-ml does not multiply by
        ``n_clusters``: there it is the number of rows.)
    init_max_iter : int or None, default=5
        "k-means||" only: rounds at most; None, dask-ml's default, for 5. It ends sooner where every row equals a
        candidate.
    min_cluster_size : int, default=0
        Rows of positive weight that every cluster is to have; 0 for no minimum. Once the centres rest, and while the
        smallest cluster (ties: the lowest) has fewer, it is dissolved: its centre goes, its rows turn to the nearest
        of the others, and those come to rest again. So fewer than ``n_clusters`` may be left, numbered 0, 1, ... in
        their order; ``size_changes_`` and the log say which went. A row counts once whatever its weight.
    engine : {"auto", "cpu", "cuda"}, default="auto"
        Who computes; "auto" says in ``engine_`` which it took. With a Dask client this is a question of its workers
        (:func:`gpuseg.graph.cuda_workers`), not of the process that asks.
    n_jobs : int or None, default=None
        Threads of the CPU engine; None or -1 for all that are allowed. The answer does not depend on it.
    persist : {"auto", True, False}, default="auto"
        Whether prepared rows of files and Dask collections stay in memory between passes, or every pass reads them
        again; :meth:`plan` tells beforehand what that takes. "auto": they stay where all fit with room, else as many as
        do. The answer does not depend on it. Rows that are in memory stay there.
    algorithm : {"lloyd", "elkan", "auto", "full"}, default="lloyd"
        Taken from scikit-learn and dask-ml, like the next two; nothing depends on it, since which distances bounds may
        spare is chosen here.
    copy_x : bool, default=True
        Nothing depends on it: the input is never changed.
    precompute_distances : {"auto", True, False}, default="auto"
        Nothing depends on it.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (k, d)
        Centres in the input's units and type; k is ``n_clusters`` unless ``min_cluster_size`` left fewer.
    labels_ : ndarray of int32, shape (n,)
        Cluster of each row by the final centres. For a Dask collection: a lazy Dask array or series.
    inertia_ : float
        Weighted sum of squared distances to the nearest centre, rounded once from the exact sum.
    n_iter_ : int
        Full passes made, without the closing one.
    n_relocated_ : int
        Empty clusters that were moved to far rows.
    size_changes_ : tuple of SizeChange
        Clusters that ``min_cluster_size`` dissolved, in order: ``cluster`` (its number in 0 .. ``n_clusters`` - 1),
        ``n_rows`` that it had, and ``n_iter`` passes made until then.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    seed_ : int
        The 64-bit seed that was used.
    memory_plan_ : MemoryPlan
        What the fit was planned to hold, to read and to need; ``print`` it.
    persist_ : bool
        Whether all rows stayed in memory between passes.
    engine_, placement_ : str
        Who computed and why, on workers with the names of those that did; and where.
    centred_features_ : ndarray of bool, shape (d,)
        Features that were centred in float64 before the rounding to float32 (every feature of float64 input).
    wide_features_ : ndarray of bool, shape (d,)
        Features whose largest magnitude exceeds 2**30 standard deviations.

    Notes
    -----
    Cost: two reads to prepare (three for float64), O(n k d) a pass. With ``verbose`` or ``callback`` each pass adds the
    inertia: every row's distance to its own centre, even where bounds leave the others out. Memory: one float32 copy of
    the data unless it is already feature-major float32, plus O(n) bytes; of files and Dask collections that do not fit,
    what there is room for, a partition at a time and O(n) bytes of labels. Sums are exact; a row's distance is the
    float32 chain ``acc = fma(t, t, acc)`` over features in order, ties go to the lower cluster.

    References
    ----------
    Lloyd 1982; Arthur & Vassilvitskii 2007 (k-means++). B. Bahmani, B. Moseley, A. Vattani, R. Kumar,
    S. Vassilvitskii. Scalable k-means++. VLDB 2012 (k-means||).

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]], dtype=np.float32)
    >>> km = KMeans(n_clusters=2, init=X[[0, 3]]).fit(X)
    >>> km.labels_
    array([0, 0, 0, 1, 1, 1], dtype=int32)
    >>> km.inertia_
    16.0
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | npt.ArrayLike = "k-means++",
        n_init: str | int = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        callback: Callback | None = None,
        random_state: Any = None,
        sample_start: bool = True,
        oversampling_factor: float = 2.0,
        init_max_iter: int | None = DEFAULT_ROUNDS,
        min_cluster_size: int = 0,
        engine: str = "auto",
        n_jobs: int | None = None,
        persist: str | bool = "auto",
        algorithm: str = "lloyd",
        copy_x: bool = True,
        precompute_distances: str | bool = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.callback = callback
        self.random_state = random_state
        self.sample_start = sample_start
        self.oversampling_factor = oversampling_factor
        self.init_max_iter = init_max_iter
        self.min_cluster_size = min_cluster_size
        self.engine = engine
        self.n_jobs = n_jobs
        self.persist = persist
        self.algorithm = algorithm
        self.copy_x = copy_x
        self.precompute_distances = precompute_distances

    def fit(
        self,
        X: Any,
        y: Any = None,  # noqa: ARG002 (scikit-learn's signature)
        sample_weight: Any = None,
        *,
        customer: str | None = None,
    ) -> KMeans:
        """Find the centres.

        Parameters
        ----------
        X : array_like, DataFrame (pandas, polars), pyarrow.Table, Dask array or dataframe, or path, shape (n, d)
            Rows by features; a path, glob or folder of Parquet files, or a list of these, is read by row group, files
            in natural order of their names. float32 and float64 are used as they are, other numbers go as float64, and
            so does a frame whose columns are not all float32. A frame's named index of integers or text is the
            customer key, also where pandas wrote it to Arrow or Parquet; an index is never a feature.
        y : object
            Ignored.
        sample_weight : array_like of shape (n,), optional
            Weights >= 0; for a Dask collection a Dask array with the same chunks, for files a column name.
        customer : str, optional
            Column that holds the customer key (not a feature), one row a customer. With keys the answer does not depend
            on row order.

        Returns
        -------
        KMeans
            The fitted estimator.

        Raises
        ------
        InputError
            For parameters or data that cannot be used; the message names the value and the remedy.
        EngineUnavailableError
            If the engine asked for cannot run here, or on no worker of the Dask client.
        MemoryPlanError
            If the table does not fit, however it is read; nothing was started.
        """
        before = self.__dict__.copy()
        try:
            n_used = fit_together(
                [self], X, lambda _, __, done: done[0].n_used, sample_weight=sample_weight, customer=customer
            )
            n_left = len(self.cluster_centers_)
            warn_of_few(n_used, n_left, stacklevel=2)
            if self.size_changes_:
                warn_of_one(n_left, self.min_cluster_size, stacklevel=2)
        except BaseException:
            # A fit that fails leaves what was there: nothing, or the model of an earlier fit, and never half of each.
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _check(self) -> None:
        """Refuse parameters that have no meaning."""
        check_parameters(
            n_clusters=self.n_clusters, init=self.init, n_init=self.n_init,
            max_iter=self.max_iter, tol=self.tol, oversampling_factor=self.oversampling_factor,
            init_max_iter=self.init_max_iter, min_cluster_size=self.min_cluster_size,
        )  # fmt: skip
        check_manners(
            verbose=self.verbose, callback=self.callback, n_jobs=self.n_jobs,
            algorithm=self.algorithm, copy_x=self.copy_x, precompute_distances=self.precompute_distances,
            persist=self.persist,
        )  # fmt: skip

    def plan(self, X: Any, sample_weight: Any = None, *, customer: str | None = None) -> MemoryPlan:
        """What ``fit`` of this table would hold, how often it would read it, and its peak; no row is read.

        Parameters
        ----------
        X, sample_weight, customer : as in :meth:`fit`
            Of files only the footers are opened, of a Dask collection the sizes of its chunks.

        Returns
        -------
        MemoryPlan
            ``print`` it; ``fits`` says whether ``fit`` would begin. The estimator is left as it is.

        Raises
        ------
        InputError
            For parameters or tables that cannot be used.
        MemoryPlanError
            If ``persist=True`` and ``GPUSEG_MEMO_BYTES`` contradict each other.

        Examples
        --------
        >>> import numpy as np
        >>> from gpuseg import KMeans
        >>> plan = KMeans(n_clusters=2).plan(np.zeros((1000, 8), np.float32))
        >>> plan.held
        37000
        """
        return plan_alone(self, X, sample_weight, customer)

    def fit_predict(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        customer: str | None = None,
    ) -> Any:
        """``fit(X).labels_``.

        Parameters
        ----------
        X, y, sample_weight, customer : as in :meth:`fit`
            Rows by features, weights and the column of customer keys.

        Returns
        -------
        ndarray of int32, shape (n,)
            For a Dask collection a lazy Dask array or series.
        """
        return self.fit(X, y, sample_weight, customer=customer).labels_

    def fit_transform(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        customer: str | None = None,
    ) -> Any:
        """``fit(X).transform(X)``.

        Parameters
        ----------
        X, y, sample_weight, customer : as in :meth:`fit`
            Rows by features, weights and the column of customer keys.

        Returns
        -------
        ndarray of shape (n, k)
            Distances to the centres, as :meth:`transform` gives them.
        """
        return self.fit(X, y, sample_weight, customer=customer).transform(X)

    def predict(self, X: Any) -> Any:
        """Index of the nearest centre of each row.

        Parameters
        ----------
        X : as in :meth:`fit`
            Rows by features.

        Returns
        -------
        ndarray of int32, shape (n,)
            For a Dask array a lazy Dask array, for a Dask frame a lazy series with the frame's index.

        Raises
        ------
        InputError
            For values that are not finite or out of range.
        """
        check_is_fitted(self)
        table = open_table(self, X, None, None, reset=False, leave_out=self._roles)
        if table.kind == "dask":
            return predict_dask(table.features, self._placed())
        return np.concatenate(self._map(predict_partition, table))

    def transform(self, X: Any) -> Any:
        """Euclidean distance of each row to each centre.

        Parameters
        ----------
        X : as in :meth:`fit`
            Rows by features.

        Returns
        -------
        ndarray of shape (n, k)
            In the type of ``X``, in the container of ``set_output``; for a Dask collection always lazy and of the same
            kind.

        Raises
        ------
        InputError
            For values that are not finite or out of range.
        """
        check_is_fitted(self)
        table = open_table(self, X, None, None, reset=False, leave_out=self._roles)
        if table.kind == "dask":
            names = tuple(self.get_feature_names_out())
            return transform_dask(table.features, self._placed(), names)
        rows = self._map(transform_partition, table)
        return _wrap_data_with_container("transform", np.concatenate(rows), X, self)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: ARG002 (as above)
        """The negative inertia of rows under this model.

        Parameters
        ----------
        X : as in :meth:`fit`
            Rows by features.
        y : object
            Ignored.
        sample_weight : as in :meth:`fit`, optional
            Weights; those of the fit do not come along.

        Returns
        -------
        float
            ``-inertia``, rounded once from the exact sum.

        Raises
        ------
        InputError
            For values that are not finite or out of range.
        """
        check_is_fitted(self)
        table = open_table(self, X, sample_weight, None, reset=False, leave_out=self._roles)
        holds = isinstance(self.persist, str) or bool(self.persist)
        executor = executor_for(table, self.engine, self.n_jobs, holds=holds)
        try:
            job = Job(uuid.uuid4().hex, executor.engine, memo_bytes() if holds else 0, turns=FEW)
            parts, seen = scan(executor, job, table.columns)
            fitted = self._fitted.layout
            # The rows may lie far from the centres that they are compared with.
            reach = np.abs(self._fitted.centres.astype(np.float64)).max(axis=0)
            max_abs = np.maximum(centred_max_abs(seen, fitted.centre), reach)
            layout = Layout(fitted.centre, fitted.centred, Scales.of(max_abs, seen.weights), max_abs)
            require_range(layout, seen, parts, executor.where, table.columns)
            closed = executor.map(close_partition, job.with_layout(layout), [self._fitted.centres], False)
        finally:
            executor.close()
        total = functools.reduce(ClusterSums.merge, [one.sums for [one] in closed])
        return -float(total.inertia.to_float64())

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Centres and layout of the fit as plain arrays, for a file that is no pickle.

        Returns
        -------
        dict of str to ndarray
            :meth:`gpuseg.cluster.predicting.Fitted.from_arrays` makes of them what labels rows with the same bits.
        """
        check_is_fitted(self)
        return self._fitted.to_arrays()

    def to_sklearn(self) -> Any:
        """The same model as a ``sklearn.cluster.KMeans``, for tools that want one.

        Returns
        -------
        sklearn.cluster.KMeans
            Fitted, with our centres, inertia, iterations and labels (lazy ones for a Dask collection), and the
            parameters that it knows; "k-means||" becomes "k-means++".

        Raises
        ------
        NotFittedError
            Before ``fit``.

        Notes
        -----
        Its ``predict`` gives our labels except where rounding decides: it compares ``|c|**2 - 2 x·c`` in the type of
        the rows, so where two centres are about as near to a row it may take the other one. Far from the origin that
        form loses its digits, and many rows change. It wants rows of the type that ours was fitted on.

        Examples
        --------
        >>> import numpy as np
        >>> from gpuseg import KMeans
        >>> X = np.array([[1.0, 2.0], [1.0, 4.0], [10.0, 2.0], [10.0, 4.0]])
        >>> KMeans(2, init=X[[0, 2]]).fit(X).to_sklearn().predict([[0.0, 0.0], [12.0, 3.0]])
        array([0, 1], dtype=int32)
        """
        check_is_fitted(self)
        return sklearn_model(self)

    @classmethod
    def from_sklearn(cls, theirs: Any) -> KMeans:
        """A model that another library fitted, to label rows here: on Dask, on files, on a device, exactly.

        Parameters
        ----------
        theirs : sklearn.cluster.KMeans or MiniBatchKMeans, or dask_ml.cluster.KMeans
            Fitted. Parameters that both know come along, but for ``n_jobs``, which means something else there.

        Returns
        -------
        KMeans
            Fitted, with its centres, and with its labels, inertia and iterations as it has them. What only our own fit
            knows (``seed_``, ``engine_``, ``n_relocated_``, ``wide_features_`` ...) is not there.

        Raises
        ------
        InputError
            If it is another estimator, or its centres are not finite or out of range.
        NotFittedError
            If it is not fitted.

        Notes
        -----
        ``predict`` gives the nearest of its centres by our exact distances, so its own labels but for what rounding
        decided there.
        """
        return adopted(cls, theirs)

    def _placed(self) -> Fitted:
        """The model with an engine for the workers that will label a Dask collection."""
        return replace(self._fitted, engine=choose_placed(self.engine, self.n_jobs, current_client()))

    def _map(self, task: Callable[[Partition, Fitted], Any], table: Table) -> list[Any]:
        """What ``task`` makes of each partition of a table that is no Dask collection."""
        executor = executor_for(table, self.engine, self.n_jobs)
        try:
            return executor.map(task, replace(self._fitted, engine=executor.engine))
        finally:
            executor.close()

    def _start(self, shared: Shared, seed: int) -> LloydState:
        """The state that full passes begin with."""
        prepared = shared.prepared
        tolerance = absolute_tolerance(float(self.tol), prepared.moments.variance())
        d = prepared.seen.minimum.size
        blank = LloydState(
            centres=np.zeros((self.n_clusters, d), np.float32),
            iteration=0,
            tolerance=tolerance,
            max_iter=int(self.max_iter),
            seed=seed,
            exponent=tuple(prepared.layout.scales.exponent.tolist()),
        )
        if not isinstance(self.init, str):
            return replace(blank, centres=self._given_centres(prepared))
        sample, scales, greedy = self._seeding_rows(shared, seed)
        n_init = AUTO_SEEDINGS if self.n_init == "auto" else int(self.n_init)
        engine = EngineChoice("cpu", "seeds everywhere", self.n_jobs).build()
        draft = sample.smallest(draft_rows(self.n_clusters)) if self.init == "k-means++" else sample
        best = best_seeding(engine, draft, scales, blank, self.n_clusters, n_init, seed, greedy)
        n_positive = prepared.seen.weights.n_positive
        if not self.sample_start or draft.identity.size == n_positive:
            return replace(blank, centres=best.seeds)
        centres = best.centres
        if draft is not sample and sample.identity.size < n_positive:
            centres = run_on_sample(engine, sample, scales, blank, centres)
        return replace(blank, centres=centres)

    def _seeding_rows(self, shared: Shared, seed: int) -> tuple[Sample, Scales, Greedy]:
        """The rows that seedings pick from, the arithmetic of their weights, and what picks."""
        prepared = shared.prepared
        if self.init == "k-means++":
            return shared.sample(seed), prepared.layout.scales, shared.greedy
        found = gather_candidates(
            shared.executor, prepared, seed,
            n_clusters=self.n_clusters, factor=self.oversampling_factor, n_rounds=n_rounds(self.init_max_iter),
        )  # fmt: skip
        weights = WeightRange.of(found.weight, found.weight.size)
        return found, Scales.of(prepared.layout.max_abs, weights), greedy_kmeanspp

    def _watch(self, prepared: Prepared, *, single: bool) -> Watch:
        """Who looks on while passes run."""
        in_units = functools.partial(_in_units, layout=prepared.layout, single=single)
        return Watch(bool(self.verbose), self.callback, in_units)

    def _given_centres(self, prepared: Prepared) -> npt.NDArray[np.float32]:
        """``init`` as an array, in block coordinates."""
        given = centre_array(self.init, self.n_clusters, prepared.seen.minimum.size)
        centres = prepared.layout.block_values(given)
        reach = np.abs(centres.astype(np.float64)).max(axis=0)
        require_block_range(reach)
        # Distances to a start far from the data have to stay in range as well.
        farthest = np.maximum(reach, prepared.layout.max_abs)
        replace(prepared.layout, max_abs=farthest).require_range(prepared.seen.weights)
        return np.ascontiguousarray(centres)

    def _keep(
        self,
        table: Table,
        prepared: Prepared,
        done: Finished,
        executor: Executor,
        seed: int,
        weight: str | None,
    ) -> None:
        """Set the fitted attributes; ``weight`` is the column of weights, where the table had one."""
        state = done.state
        self.cluster_centers_ = _in_units(state.centres, prepared.layout, single=table.single)
        self.inertia_ = done.inertia
        self.n_iter_ = state.iteration
        self.n_relocated_ = state.n_relocated
        self.size_changes_ = done.size_changes
        self.seed_ = seed
        self.centred_features_ = prepared.layout.centred
        self.wide_features_ = prepared.wide
        self._n_features_out = len(state.centres)
        self._fitted = Fitted(state.centres, prepared.layout, table.columns, executor.engine)
        self.engine_, self.placement_ = executor.ran(), executor.placement
        # Columns that are no features in later tables either, where those have them.
        self._roles = tuple(name for name in (table.customer, weight) if name is not None)
        lazy = table.kind == "dask"
        self.labels_ = predict_dask(table.features, self._fitted) if lazy else done.labels


def _in_units(
    centres: npt.NDArray[np.float32], layout: Layout, *, single: bool
) -> npt.NDArray[np.floating[Any]]:
    """Centres in block coordinates as new ones in the input's units and type."""
    wide = centres.astype(np.float64) + layout.centre
    return wide.astype(np.float32 if single else np.float64)


# scikit-learn's own wrapper would gather a Dask collection to fill a container: ``transform`` wraps by itself.
KMeans._sklearn_auto_wrap_output_keys = {"transform"}  # noqa: SLF001 (what switches ``set_output`` on)
