"""What an estimator accepts (cluster): scikit-learn's validation for what is in memory, graph's tables for the rest.

Feature names and counts are checked the way scikit-learn does it, for every kind of table.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    validate_data,
)

from gpuseg.errors import InputError
from gpuseg.graph.tables import (
    Table,
    arrow_table,
    dask_table,
    is_arrow,
    is_dask,
    is_path,
    is_polars,
    memory_table,
    parquet_table,
)

logger = logging.getLogger("gpuseg.cluster")


def open_table(estimator: Any, X: Any, sample_weight: Any, customer: str | None, *, reset: bool) -> Table:
    """Any supported input as a table; sets or checks ``n_features_in_`` and ``feature_names_in_``.

    Parameters
    ----------
    estimator : BaseEstimator
        Whose attributes are set (``reset``) or checked.
    X : array_like, DataFrame, pyarrow.Table, Dask collection, or path
        Rows by features.
    sample_weight : array_like, Dask array, or column name for files, optional
        Weights.
    customer : str, optional
        Column (pandas, polars, Arrow, Parquet) or index (Dask) of customer keys; not a feature.
    reset : bool
        Whether this is ``fit``.
    """
    if is_path(X):
        if sample_weight is not None and not isinstance(sample_weight, str):
            msg = "sample_weight of files must be the name of a column"
            raise InputError(msg)
        return _with_names(estimator, parquet_table(X, sample_weight, customer), reset=reset)
    if is_dask(X):
        return _with_names(estimator, dask_table(X, sample_weight, customer), reset=reset)
    if is_polars(X):
        X = X.to_arrow()
    if is_arrow(X):
        table = arrow_table(X, None, customer)
        host = table.partitions[0].load()
        weights = _weights(sample_weight, host.values)
        table = memory_table(host.values, weights, host.keys, table.columns, table.customer)
        return _with_names(estimator, table, reset=reset)
    return _array_like(estimator, X, sample_weight, customer, reset=reset)


def _array_like(estimator: Any, X: Any, sample_weight: Any, customer: str | None, *, reset: bool) -> Table:
    """numpy, pandas and anything else that scikit-learn validates."""
    keys = None
    if customer is not None:
        if not hasattr(X, "columns") or customer not in X.columns:
            msg = f"customer={customer!r} is not a column of X"
            raise InputError(msg)
        keys = X[customer].to_numpy()
        X = X.drop(columns=customer)
    else:
        keys = _index_keys(X)
    # Finiteness is checked by the engine's first read, with counts by feature.
    values = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False,
        accept_sparse=False,
    )
    names = getattr(estimator, "feature_names_in_", None)
    columns = None if names is None else tuple(str(name) for name in names)
    return memory_table(values, _weights(sample_weight, values), keys, columns, customer)


def _weights(sample_weight: Any, values: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, values, dtype=np.float64)
    return np.ascontiguousarray(weights, dtype=np.float64)


def _index_keys(X: Any) -> npt.NDArray[Any] | None:
    """A pandas frame's named index is its customer key, if it can be one."""
    index = getattr(X, "index", None)
    if index is None or callable(index) or getattr(index, "name", None) is None:
        return None
    kind = index.dtype.kind if hasattr(index.dtype, "kind") else "O"
    text = all(isinstance(key, str) for key in index[:1]) if kind in "OU" else False
    if kind in "iu" or text:
        return np.asarray(index.to_numpy())
    logger.info("index %r is neither integers nor text; rows go by their number", index.name)
    return None


def _with_names(estimator: Any, table: Table, *, reset: bool) -> Table:
    """scikit-learn's checks of names and counts, on an empty table of the same columns."""
    if table.columns is None:
        meta: Any = np.empty((0, table.n_features))
    else:
        import pandas as pd

        meta = pd.DataFrame(columns=list(table.columns))
    _check_feature_names(estimator, meta, reset=reset)
    _check_n_features(estimator, meta, reset=reset)
    return table
