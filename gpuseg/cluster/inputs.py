"""What an estimator accepts (cluster): scikit-learn's validation for what is in memory, graph's tables for the rest.

Feature names and counts are checked the way scikit-learn does it, for every kind of table.
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from gpuseg.errors import InputError
from gpuseg.graph.dask_tables import dask_table
from gpuseg.graph.parquet_tables import parquet_table
from gpuseg.graph.tables import (
    Table,
    arrow_table,
    is_arrow,
    is_dask,
    is_path,
    is_path_list,
    is_polars,
    memory_table,
    refuse_repeated,
)

logger = logging.getLogger("gpuseg.cluster")


def open_table(
    estimator: Any,
    X: Any,
    sample_weight: Any,
    customer: str | None,
    *,
    reset: bool,
    leave_out: Collection[str] = (),
) -> Table:
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
        Column of customer keys, or the index of a frame; not a feature. By default a frame's named index of integers
        or text.
    reset : bool
        Whether this is ``fit``.
    leave_out : collection of str
        Columns that are no features where they are there: those that had another role in ``fit``.

    Raises
    ------
    InputError
        If the table or its weights cannot be used; scikit-learn's ValueError or TypeError for what it validates.
    """
    if is_path(X) or is_path_list(X):
        if sample_weight is not None and not isinstance(sample_weight, str):
            msg = "sample_weight of files must be the name of a column"
            raise InputError(msg)
        table = parquet_table(X, sample_weight, customer, leave_out=leave_out)
        return _with_names(estimator, table, reset=reset)
    if is_dask(X):
        return _with_names(estimator, dask_table(X, sample_weight, customer, leave_out), reset=reset)
    if is_polars(X):
        X = _polars_to_arrow(X)
    if is_arrow(X):
        return _with_names(estimator, _arrow_like(X, sample_weight, customer, leave_out), reset=reset)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        X = X.drop(columns=[name for name in X.columns if name in leave_out])
    return _array_like(estimator, X, sample_weight, customer, reset=reset)


def _polars_to_arrow(frame: Any) -> Any:
    if not hasattr(frame, "to_arrow"):
        msg = f"X is a polars {type(frame).__name__}, which holds no rows yet; call .collect() on it"
        raise InputError(msg)
    return frame.to_arrow()


def _arrow_like(X: Any, sample_weight: Any, customer: str | None, leave_out: Collection[str]) -> Table:
    import pyarrow as pa

    whole = pa.Table.from_batches([X]) if isinstance(X, pa.RecordBatch) else X
    return arrow_table(whole, _weights(sample_weight, whole.num_rows), customer, leave_out)


def _array_like(estimator: Any, X: Any, sample_weight: Any, customer: str | None, *, reset: bool) -> Table:
    """numpy, pandas and anything else that scikit-learn validates."""
    is_frame = hasattr(X, "columns") and hasattr(X, "dtypes")
    if customer is not None and not is_frame:
        msg = f"customer={customer!r} names a column, but X has none; give a frame, a table or files"
        raise InputError(msg)
    keys = None
    wanted: list[type] | type = [np.float64, np.float32]
    if is_frame:
        refuse_repeated(X.columns, "X")
        keys, X = _frame_keys(X, customer)
        # numpy would make float32 of float32 beside int8; every other kind of table is read as float64 then.
        wanted = wanted if all(str(kind) == "float32" for kind in X.dtypes) else np.float64
    _refuse_paths(X)
    _refuse_times(X)
    try:
        # Finiteness is checked by the engine's first read, with counts by feature.
        values = validate_data(
            estimator, X, reset=reset, dtype=wanted, ensure_all_finite=False, accept_sparse=False
        )
    except (TypeError, ValueError) as error:
        _name_column(X, error)
        raise
    names = getattr(estimator, "feature_names_in_", None)
    columns = None if names is None else tuple(str(name) for name in names)
    return memory_table(values, _weights(sample_weight, len(values)), keys, columns, customer)


def _frame_keys(X: Any, customer: str | None) -> tuple[npt.NDArray[Any] | None, Any]:
    """Customer keys of a pandas frame, and the frame without them."""
    if customer is None or (customer not in X.columns and customer == X.index.name):
        return _index_keys(X.index), X
    if customer not in X.columns:
        listed = ", ".join(map(str, X.columns))
        msg = f"customer={customer!r} is neither a column nor the index of X; columns are {listed}"
        raise InputError(msg)
    return np.asarray(X[customer].to_numpy()), X.drop(columns=customer)


def _index_keys(index: Any) -> npt.NDArray[Any] | None:
    """A pandas frame's named index is its customer key, if it can be one."""
    if index.name is None:
        return None
    is_text = str(index.dtype) in {"object", "str", "string"} and all(
        isinstance(key, (str, int)) for key in index[:1]
    )
    if index.dtype.kind in "iu" or is_text:
        return np.asarray(index.to_numpy())
    logger.info("index %r is %s, not integers or text; rows go by their number", index.name, index.dtype)
    return None


def _refuse_paths(X: Any) -> None:
    """Refuse paths among other things, which scikit-learn would try to read as numbers."""
    if isinstance(X, (list, tuple)) and X and is_path(X[0]):
        msg = f"X is a {type(X).__name__} of paths and other things; give paths alone, a glob or a folder"
        raise InputError(msg)


def _refuse_times(X: Any) -> None:
    """Refuse times, which numpy would turn into nanoseconds without a word."""
    dtype = getattr(X, "dtype", None)
    kinds = X.dtypes.items() if hasattr(X, "columns") else [] if dtype is None else [(None, dtype)]
    for name, kind in kinds:
        if getattr(kind, "kind", "O") in "mM":
            what = "values are" if name is None else f"column {name!r} is"
            msg = f"{what} {kind}, not numeric; turn times into numbers with a unit you choose, or leave them out"
            raise InputError(msg)


def _name_column(X: Any, error: Exception) -> None:
    """scikit-learn's message does not name the column that could not be converted."""
    if not hasattr(X, "columns"):
        return
    for name, kind in X.dtypes.items():
        if getattr(kind, "kind", "O") not in "fiub":
            msg = f"column {name!r} is {kind}, not numeric ({error}); encode it or leave it out"
            raise InputError(msg) from error


def _weights(sample_weight: Any, n_rows: int) -> npt.NDArray[np.float64] | None:
    """Sample weights of rows in memory as float64; their signs and finiteness are judged with the whole table."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        return np.full(n_rows, float(sample_weight))
    try:
        given = np.asarray(sample_weight)
        if given.dtype.kind == "c":
            msg = "complex numbers"
            raise TypeError(msg)  # noqa: TRY301 (one message for whatever is not numeric)
        weights = np.ascontiguousarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"sample_weight is not numeric ({error}); give one finite number >= 0 a row"
        raise InputError(msg) from error
    if weights.shape != (n_rows,):
        msg = f"sample_weight has shape {weights.shape} for {n_rows} rows; give one weight a row"
        raise InputError(msg)
    return weights


def _with_names(estimator: Any, table: Table, *, reset: bool) -> Table:
    """scikit-learn's checks of names and counts, on an empty table of the same columns."""
    if table.n_features == 0:
        msg = "X has no feature columns; at least one is needed beside customer and weight"
        raise InputError(msg)
    if table.columns is None:
        meta: Any = np.empty((0, table.n_features))
    else:
        import pandas as pd

        meta = pd.DataFrame(columns=list(table.columns))
    _check_feature_names(estimator, meta, reset=reset)
    _check_n_features(estimator, meta, reset=reset)
    return table
