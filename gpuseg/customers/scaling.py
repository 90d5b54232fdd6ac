"""Scaling features to one scale (room ``customers``): z-scores from exact integer moments.

The mean and the standard deviation come from the sums of ``core.moments``, so they are the same bits for any order,
chunking, number of workers and engine; the transformation is one subtraction and one division in float64.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from gpuseg.core.moments import FeatureRange, Moments, Scales
from gpuseg.core.weights import Weights
from gpuseg.engines.choose import EngineChoice, check_engine
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.graph.dask_tables import dask_table, frame_values, numeric_matrix
from gpuseg.graph.executors import executor_for
from gpuseg.graph.partitions import Partition
from gpuseg.graph.tables import (
    Table,
    arrow_table,
    is_arrow,
    is_dask,
    is_polars,
    memory_table,
)

logger = logging.getLogger("gpuseg.customers")

Float64 = npt.NDArray[np.float64]

_WHERE = "the table of features"


class ExactScaler(BaseEstimator):  # type: ignore[misc]
    """Standardise features to mean 0 and standard deviation 1, the same bits everywhere.

    Parameters
    ----------
    customer : str, optional
        Column of the customer keys in a polars frame; it is passed through. Arrow tables name theirs in the metadata
        ``gpuseg.customer``, pandas and Dask frames carry it in the index.
    engine : {"auto", "cpu"}, default "auto"
        Who reads the values.
    n_jobs : int, optional
        Threads of the CPU engine.

    Attributes
    ----------
    mean_ : ndarray of float64, shape (d,)
        ``float64(S) / float64(N) / 2**e`` of the exact fixed-point sum S (ONE_ANSWER, section 4).
    scale_ : ndarray of float64, shape (d,)
        Square root of the exact population variance rounded once; 1 for a constant feature.
    constant_features_ : tuple
        Names (or numbers) of the constant features; they become 0.
    coarse_features_ : tuple
        Names (or numbers) of features whose largest value exceeds 2**30 standard deviations: their scale is uncertain.
    n_samples_seen_ : int
        Rows of ``fit``.
    n_features_in_ : int
        Features.
    feature_names_in_ : ndarray of str
        Their names, where the table has any.

    Notes
    -----
    Values enter the sums in fixed point with 40 bits below the largest magnitude of the feature. Two reads of the data.

    Examples
    --------
    >>> import numpy as np
    >>> ExactScaler().fit_transform(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(
        self, *, customer: str | None = None, engine: str = "auto", n_jobs: int | None = None
    ) -> None:
        self.customer = customer
        self.engine = engine
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> ExactScaler:
        """Find the mean and standard deviation of each feature.

        Parameters
        ----------
        X : array, DataFrame, pyarrow.Table or Dask collection, shape (n, d)
            Finite numbers; a Dask collection is computed now.
        y : ignored
            For pipelines.

        Returns
        -------
        ExactScaler
            Itself.

        Raises
        ------
        NotFiniteError, RangeError
            A value is NaN, infinite or beyond 2**100.
        TooFewRowsError
            There are no rows.
        """
        del y
        check_engine(self.engine, self.n_jobs)
        table = _open(X, self.customer)
        executor = executor_for(table, self.engine, self.n_jobs)
        choice = executor.engine
        try:
            seen = executor.reduce(scan_values, FeatureRange.merge, choice)
            if not seen.n_rows:
                raise TooFewRowsError("the table has 0 rows; at least one is needed to scale features")
            seen.require_finite(table.columns)
            seen.require_representable(table.columns)
            scales = Scales.of(seen.max_abs(), seen.weights)
            moments = executor.reduce(sum_values, Moments.merge, choice, scales)
        finally:
            executor.close()
        self._keep(table, seen, moments)
        return self

    def _keep(self, table: Table, seen: FeatureRange, moments: Moments) -> None:
        names: list[Any] = list(range(table.n_features) if table.columns is None else table.columns)
        sd = np.sqrt(moments.variance())
        # A constant is told by its range: rounding in fixed point could hide a difference, never invent one.
        constant = seen.minimum == seen.maximum
        hidden = (sd == 0) & ~constant
        coarse = ~constant & (seen.max_abs() > sd * 2.0**30)
        self.mean_ = np.where(constant, seen.minimum, moments.mean())
        self.scale_ = np.where(constant | hidden, 1.0, sd)
        self.constant_features_ = tuple(name for name, flag in zip(names, constant, strict=True) if flag)
        self.coarse_features_ = tuple(name for name, flag in zip(names, coarse, strict=True) if flag)
        self.n_samples_seen_ = seen.n_rows
        self.n_features_in_ = table.n_features
        if table.columns is not None:
            self.feature_names_in_ = np.array(table.columns, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if self.constant_features_:
            logger.info("constant features, scaled by 1: %s", ", ".join(map(str, self.constant_features_)))
        if self.coarse_features_:
            listed = ", ".join(map(str, self.coarse_features_))
            logger.warning(
                "%s: the largest value exceeds 2**30 standard deviations; subtract a constant first", listed
            )

    def transform(self, X: Any) -> Any:
        """Subtract the mean, divide by the standard deviation.

        Parameters
        ----------
        X : array, DataFrame, pyarrow.Table or Dask collection, shape (n, d)
            The features of ``fit``.

        Returns
        -------
        array, DataFrame, pyarrow.Table or Dask collection
            The same kind, float64, the customers kept; Dask lazily.

        Raises
        ------
        InputError
            The features differ from those of ``fit``.
        """
        check_is_fitted(self)
        return self._apply(X, _standardise)

    def inverse_transform(self, X: Any) -> Any:
        """Back to the units of the features: multiply by the standard deviation, add the mean.

        Parameters
        ----------
        X : array, DataFrame, pyarrow.Table or Dask collection, shape (n, d)
            Scaled features.

        Returns
        -------
        array, DataFrame, pyarrow.Table or Dask collection
            The same kind.

        Raises
        ------
        InputError
            The features differ from those of ``fit``.
        """
        check_is_fitted(self)
        return self._apply(X, _restore)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, then transform the same table.

        Parameters
        ----------
        X : array, DataFrame, pyarrow.Table or Dask collection, shape (n, d)
            Features.
        y : ignored
            For pipelines.

        Returns
        -------
        array, DataFrame, pyarrow.Table or Dask collection
            Scaled features.
        """
        return self.fit(X, y).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names of the scaled features: those of the features.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        del input_features
        numbered = np.array([f"x{i}" for i in range(self.n_features_in_)], dtype=object)
        return np.asarray(getattr(self, "feature_names_in_", numbered), dtype=object)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted scale as plain arrays, for a file that is no pickle.

        Returns
        -------
        dict of str to ndarray
            "mean" and "scale", float64, shape (d,); :meth:`from_arrays` restores the scaler.
        """
        check_is_fitted(self)
        return {"mean": self.mean_, "scale": self.scale_}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], names: Sequence[str], n_samples: int
    ) -> ExactScaler:
        """The scaler whose :meth:`to_arrays` these are: it scales to the same bits.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            "mean" and "scale".
        names : sequence of str
            The features.
        n_samples : int
            Rows of the fit.

        Returns
        -------
        ExactScaler
            Fitted; which features were constant or coarse is not known any more.

        Raises
        ------
        InputError
            An array is missing, or of another type or shape.
        """
        scaler = cls()
        for name in ("mean", "scale"):
            found = arrays.get(name)
            if found is None or found.dtype != np.float64 or found.shape != (len(names),):
                seen = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
                raise InputError(
                    f"the array {name!r} is {seen}; it has to be float64 of shape ({len(names)},)"
                )
            setattr(scaler, f"{name}_", found)
        scaler.constant_features_ = scaler.coarse_features_ = ()
        scaler.n_samples_seen_ = n_samples
        scaler.n_features_in_ = len(names)
        scaler.feature_names_in_ = np.array(names, dtype=object)
        return scaler

    def _apply(self, X: Any, rule: Any) -> Any:
        X = _collected(X)
        if is_polars(X):
            return self._apply_polars(X, rule)
        if is_arrow(X):
            return self._apply_arrow(X, rule)
        if is_dask(X):
            return self._apply_dask(X, rule)
        if hasattr(X, "iloc"):
            self._check_names([str(name) for name in X.columns])
            return _scale_pandas(X, self.mean_, self.scale_, rule)
        values = numeric_matrix(X, _WHERE)
        self._check_width(values.shape[1])
        return rule(values.astype(np.float64), self.mean_, self.scale_)

    def _apply_arrow(self, X: Any, rule: Any) -> Any:
        import pyarrow as pa

        table = arrow_table(X, None, self.customer)
        self._check_names(list(table.columns or ()))
        values = rule(table.partitions[0].load().values.astype(np.float64), self.mean_, self.scale_)
        scaled = dict(zip(table.columns or (), values.T, strict=True))
        arrays = {name: pa.array(scaled[name]) if name in scaled else X[name] for name in X.column_names}
        return pa.table(arrays).replace_schema_metadata(X.schema.metadata)

    def _apply_polars(self, X: Any, rule: Any) -> Any:
        import polars as pl

        return pl.from_arrow(self._apply_arrow(X.to_arrow(), rule))

    def _apply_dask(self, X: Any, rule: Any) -> Any:
        if hasattr(X, "npartitions") and hasattr(X, "columns"):
            self._check_names([str(name) for name in X.columns])
            meta = _scale_pandas(X._meta, self.mean_, self.scale_, rule)  # noqa: SLF001 - Dask's documented meta
            return X.map_partitions(_scale_pandas, self.mean_, self.scale_, rule, meta=meta)
        self._check_width(X.shape[1])
        whole = X.rechunk({1: -1})
        return whole.map_blocks(_scale_array, self.mean_, self.scale_, rule, dtype=np.float64)

    def _check_names(self, names: list[str]) -> None:
        expected = getattr(self, "feature_names_in_", None)
        if expected is not None and list(expected) != names:
            odd = sorted({*expected} ^ {*names}) or "their order"
            raise InputError(
                f"the features differ from those of fit: {odd}; give the same columns in the same order"
            )
        self._check_width(len(names))

    def _check_width(self, width: int) -> None:
        if width != self.n_features_in_:
            raise InputError(f"{width} features, but fit had {self.n_features_in_}; give the same columns")


def scan_values(partition: Partition, choice: EngineChoice) -> FeatureRange:
    """Range and finiteness of one partition."""
    return choice.build().scan(partition.load().values, None, None)


def sum_values(partition: Partition, choice: EngineChoice, scales: Scales) -> Moments:
    """Exact sums of one partition."""
    return choice.build().moments(partition.load().values, Weights.ones(), scales)


def _standardise(values: Float64, mean: Float64, scale: Float64) -> Float64:
    return (values - mean) / scale


def _restore(values: Float64, mean: Float64, scale: Float64) -> Float64:
    return values * scale + mean


def _scale_array(values: npt.NDArray[np.floating], mean: Float64, scale: Float64, rule: Any) -> Float64:
    return np.asarray(rule(values.astype(np.float64), mean, scale))


def _scale_pandas(frame: Any, mean: Float64, scale: Float64, rule: Any) -> Any:
    import pandas as pd

    values = rule(frame_values(frame, _WHERE).astype(np.float64), mean, scale)
    scaled = pd.DataFrame(values, index=frame.index, columns=frame.columns)
    scaled.attrs.update(frame.attrs)
    return scaled


def _collected(X: Any) -> Any:
    """A polars lazy frame, computed; anything else as it is."""
    lazy = type(X).__module__.split(".")[0] == "polars" and type(X).__name__ == "LazyFrame"
    return X.collect() if lazy else X


def _open(X: Any, customer: str | None) -> Table:
    X = _collected(X)
    if is_polars(X):
        X = X.to_arrow()
    if is_arrow(X):
        return arrow_table(X, None, customer)
    if is_dask(X):
        return dask_table(X, None, None)
    if hasattr(X, "iloc"):
        return memory_table(frame_values(X, _WHERE), None, None, tuple(str(name) for name in X.columns))
    return memory_table(numeric_matrix(X, _WHERE), None, None, None)
