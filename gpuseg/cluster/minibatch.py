"""MiniBatchKMeans (cluster): centres that follow a stream of batches, each the exact mean of all rows it ever got."""

from __future__ import annotations

import functools
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.inputs import open_table
from gpuseg.cluster.kmeans import KMeans
from gpuseg.cluster.parameters import check_reach
from gpuseg.cluster.predicting import predict_dask
from gpuseg.cluster.preparing import require_range, scan
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Layout, centred_max_abs
from gpuseg.core.streams import HEADROOM, StreamState, loads
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.graph.executors import Executor, executor_for
from gpuseg.graph.memo import memo_bytes
from gpuseg.graph.tables import Table
from gpuseg.graph.tasks import Job, assign_partition, close_partition, merge_models


class MiniBatchKMeans(KMeans):
    """K-means over a stream of batches, none of which has to be kept; the same batches give the same bits.

    The first batch is fitted as :class:`KMeans` fits it. Every batch, the first among them, is then assigned to the
    centres there are, its exact sums are added to those of all rows before, and each centre moves to the mean of the
    rows that it ever got.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters k; the first batch needs as many rows.
    init, n_init, max_iter, tol, random_state : as in :class:`KMeans`
        How the first batch is fitted.
    reach : float or array_like of shape (d,), optional
        Largest magnitude that values will take, one for all features or one each: of float64 tables (and features that
        were centred) as the distance from the first batch's mean, of weights that are no whole numbers times the
        weight. By default 2**10 times what the first batch has. Beyond it a batch is refused; values are added up in
        steps of 2**-38 of it, or finer.
    engine, n_jobs : as in :class:`KMeans`
        Who computes, and on how many threads.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (k, d)
        Centres in units and type of the first batch.
    counts_ : ndarray of float64, shape (k,)
        Weight of all rows that each centre got so far.
    n_steps_ : int
        Batches so far.
    labels_ : ndarray of int32, shape (n,)
        Clusters of the last batch's rows by the centres after it. For a Dask collection: lazy.
    inertia_ : float
        Of the last batch, by the centres after it.
    state_ : StreamState
        All that the next batch needs of the ones before; ``to_arrays`` and ``from_arrays`` store it without a pickle.
    n_iter_, n_relocated_, seed_, size_changes_
        Of the fit of the first batch.
    n_features_in_, feature_names_in_, engine_, placement_, centred_features_, wide_features_
        As in :class:`KMeans`.

    Notes
    -----
    Unlike scikit-learn's, a batch is never sampled from, no centre is moved at random, and sums are not rounded: with
    ``c`` rows so far the step is the learning rate ``1 / c`` without its drift. Old rows count as much as new ones.
    The order of batches matters, as centres move between them; the chunks, threads, workers and engine inside one do
    not. Cost of a batch: a read to check it and two passes.

    References
    ----------
    MacQueen 1967 (running means); D. Sculley. Web-scale k-means clustering. WWW 2010 (mini-batches).

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import MiniBatchKMeans
    >>> stream = MiniBatchKMeans(n_clusters=2, init=[[0.0], [10.0]])
    >>> for batch in ([[0.0], [2.0], [10.0]], [[4.0], [12.0]]):
    ...     stream = stream.partial_fit(batch)
    >>> stream.cluster_centers_.ravel()
    array([ 2., 11.])
    >>> stream.counts_
    array([3., 2.])
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | npt.ArrayLike = "k-means++",
        n_init: str | int = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        reach: npt.ArrayLike | None = None,
        engine: str = "auto",
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            n_clusters, init=init, n_init=n_init, max_iter=max_iter, tol=tol, random_state=random_state,
            engine=engine, n_jobs=n_jobs,
        )  # fmt: skip
        self.reach = reach

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, customer: str | None = None
    ) -> MiniBatchKMeans:
        """Forget every batch and begin with this one.

        Parameters
        ----------
        X, y, sample_weight, customer : as in :meth:`KMeans.fit`
            The first batch.

        Returns
        -------
        MiniBatchKMeans
            The estimator after one step.

        Raises
        ------
        InputError
            For parameters or data that cannot be used; what was there before stays.
        EngineUnavailableError
            If the engine asked for cannot run.
        """
        before = self.__dict__.copy()
        try:
            super().fit(X, y, sample_weight, customer=customer)
            self._step(X, sample_weight, customer, None)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, customer: str | None = None
    ) -> MiniBatchKMeans:
        """Take the next batch; the first one is fitted.

        Parameters
        ----------
        X, y, sample_weight : as in :meth:`KMeans.fit`
            Any kind of table, with the features of the first batch.
        customer : str, optional
            Column that holds the customer key, where the first batch did not name it.

        Returns
        -------
        MiniBatchKMeans
            The estimator after one more step.

        Raises
        ------
        InputError
            For a batch that cannot be used, that reaches beyond the scale of the stream, or whose weights need another
            arithmetic; the stream stays as it was.
        """
        if not hasattr(self, "state_"):
            if hasattr(self, "_fitted"):
                msg = (
                    "these centres were taken over without the sums behind them, so there is nothing to go on from; "
                    "begin a stream with init=theirs.cluster_centers_"
                )
                raise InputError(msg)
            return self.fit(X, y, sample_weight, customer=customer)
        self._step(X, sample_weight, customer, self.state_)
        return self

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Centres, layout and the state of the stream as plain arrays, for a file that is no pickle.

        Returns
        -------
        dict of str to ndarray
            As :meth:`KMeans.to_arrays` gives them, and those of ``state_``.
        """
        return super().to_arrays() | self.state_.to_arrays()

    def _check(self) -> None:
        super()._check()
        check_reach(self.reach)

    def _step(self, X: Any, sample_weight: Any, customer: str | None, state: StreamState | None) -> None:
        """Assign a batch, add its sums, move the centres, and label it by them; sets nothing before that is done."""
        roles = [name for name in self._roles if name != customer]
        table = open_table(self, X, sample_weight, customer, reset=False, leave_out=roles)
        executor = executor_for(table, self.engine, self.n_jobs)
        try:
            job = Job(uuid.uuid4().hex, executor.engine, memo_bytes())
            state, layout = self._checked(executor, job, table, state)
            job = job.with_layout(layout)
            [found] = executor.reduce(assign_partition, merge_models, job, [state.centres])
            state = state.add(found.sums)
            closed = executor.map(close_partition, job, [state.centres], table.kind != "dask")
        finally:
            executor.close()
        parts = [part for [part] in closed]
        fitted = replace(self._fitted, centres=state.centres, engine=executor.engine)
        self.labels_ = (
            predict_dask(table.features, fitted)
            if table.kind == "dask"
            else np.concatenate([part.labels for part in parts if part.labels is not None], dtype=np.int32)
        )
        self._follow(state)
        total = functools.reduce(ClusterSums.merge, [part.sums for part in parts])
        self.inertia_ = float(total.inertia.to_float64())
        self._fitted = fitted
        self.engine_, self.placement_ = executor.ran(), executor.placement

    def _checked(
        self, executor: Executor, job: Job, table: Table, state: StreamState | None
    ) -> tuple[StreamState, Layout]:
        """Read a batch once and refuse what the stream cannot hold; its layout, and a fresh state for the first one."""
        parts, seen = scan(executor, job, table.columns)
        if not seen.n_rows:
            msg = "X has no rows; leave out batches without any"
            raise TooFewRowsError(msg)
        first = self._fitted.layout
        max_abs = centred_max_abs(seen, first.centre)
        if state is None:
            mode = first.scales.mode
            reach = (
                HEADROOM * loads(max_abs, seen.weights, mode) if self.reach is None else self._given_reach()
            )
            state = StreamState.begin(self._fitted.centres, reach, mode)
        scales = state.scales(seen.weights)
        state.require_within(max_abs, seen.weights, table.columns)
        # Rows may lie far from the centres that they are compared with.
        centres = np.abs(state.centres.astype(np.float64)).max(axis=0)
        layout = Layout(first.centre, first.centred, scales, np.maximum(max_abs, centres))
        require_range(layout, seen, parts, executor.where, table.columns)
        return state, layout

    def _given_reach(self) -> npt.NDArray[np.float64]:
        """``reach`` of each feature."""
        given = np.asarray(self.reach, np.float64)
        d = self._fitted.centres.shape[1]
        if given.shape not in {(), (d,)}:
            msg = f"reach has shape {given.shape}, but X has {d} features; give one number, or one a feature"
            raise InputError(msg)
        return np.ascontiguousarray(np.broadcast_to(given, (d,)))

    def _follow(self, state: StreamState) -> None:
        """Set what shows of a state."""
        wide = state.centres.astype(np.float64) + self._fitted.layout.centre
        self.cluster_centers_ = wide.astype(self.cluster_centers_.dtype)
        self.counts_ = state.sums.masses()
        self.n_steps_ = state.n_steps
        self.state_ = state
