"""Predicting (cluster): a fitted model applied to rows in memory, chunk by chunk wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Layout, Scales, centred_max_abs, require_block_range
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import AssignState, Block
from gpuseg.engines.choose import EngineChoice
from gpuseg.errors import InputError
from gpuseg.graph.dask_tables import frame_values, numeric_matrix
from gpuseg.graph.partitions import Partition
from gpuseg.graph.placing import asking, run_placed
from gpuseg.graph.tasks import block_of

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """What a fitted model needs to label rows: small, and safe to send to workers.

    Parameters
    ----------
    centres : ndarray of float32, shape (k, d)
        In block coordinates.
    layout : Layout
        Centring and scales of the fit.
    columns : tuple of str, optional
        Feature names.
    engine : EngineChoice
        Who computes.
    """

    centres: Float32Array
    layout: Layout
    columns: tuple[str, ...] | None
    engine: EngineChoice

    def block(self, values: npt.NDArray[np.floating[Any]]) -> Block:
        """Rows in block coordinates, refused where they are not finite or out of range."""
        seen = self.engine.build().scan(values, None, None)
        seen.require_finite(self.columns)
        require_block_range(centred_max_abs(seen, self.layout.centre), self.columns)
        return block_of(values, self.layout, self.engine)

    def labels(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int32]:
        """Index of the nearest centre of each row; shape (n,)."""
        block = self.block(values)
        state = AssignState.fresh(block.shape[1], len(self.centres))
        engine = self.engine.build()
        # Rows to be labelled have no weights, whatever the fit had; nothing is summed.
        scales = replace(self.layout.scales, mode=WeightMode.NONE)
        engine.assign(block, Weights.ones(), [self.centres], [state], scales, sums=False)
        return state.labels.astype(np.int32)

    def distances(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        """Euclidean distance of each row to each centre, in the type of ``values``; shape (n, k)."""
        block = self.block(values)
        out = np.empty((len(self.centres), block.shape[1]), np.float32)
        self.engine.build().distances(block, self.centres, out, metric="euclidean")
        return out.T.astype(values.dtype, order="C")

    def squared_distances(self, values: npt.NDArray[np.floating[Any]]) -> Float32Array:
        """The squared distance by the float32 chain of each centre to each row; shape (k, n)."""
        block = self.block(values)
        out = np.empty((len(self.centres), block.shape[1]), np.float32)
        self.engine.build().distances(block, self.centres, out, metric="sqeuclidean")
        return out

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that labels depend on, as plain arrays to be stored; :meth:`from_arrays` restores it."""
        scales = self.layout.scales
        return {
            "centres": self.centres,
            "layout.centre": self.layout.centre,
            "layout.centred": self.layout.centred,
            "layout.exponent": scales.exponent,
            "layout.max_abs": self.layout.max_abs,
            "layout.mode": np.array([int(scales.mode)], np.int64),
            "layout.square_exponent": scales.square_exponent,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], columns: tuple[str, ...] | None, engine: EngineChoice
    ) -> Fitted:
        """The model whose :meth:`to_arrays` these are: it labels rows with the same bits.

        Raises
        ------
        InputError
            An array is missing, or of another type or shape than the others say.
        """
        k, d = arrays["centres"].shape if "centres" in arrays and arrays["centres"].ndim == 2 else (0, 0)
        shapes = dict.fromkeys(_STORED, (d,)) | {"centres": (k, d), "layout.mode": (1,)}
        for name, kind in _STORED.items():
            found = arrays.get(name)
            if found is None or found.dtype != kind or found.shape != shapes[name] or not d:
                seen = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
                msg = f"the array {name!r} is {seen}; it has to be {np.dtype(kind)} of shape {shapes[name]}"
                raise InputError(msg)
        mode = WeightMode(int(arrays["layout.mode"][0]))
        scales = Scales(mode, arrays["layout.exponent"], arrays["layout.square_exponent"])
        layout = Layout(arrays["layout.centre"], arrays["layout.centred"], scales, arrays["layout.max_abs"])
        return cls(np.ascontiguousarray(arrays["centres"]), layout, columns, engine)


_STORED: dict[str, type[np.generic]] = {
    "centres": np.float32,
    "layout.centre": np.float64,
    "layout.centred": np.bool_,
    "layout.exponent": np.int64,
    "layout.max_abs": np.float64,
    "layout.mode": np.int64,
    "layout.square_exponent": np.int64,
}


def chunk_values(rows: Any) -> npt.NDArray[np.floating[Any]]:
    """Feature values of one computed chunk of a Dask collection."""
    return frame_values(rows, "X") if hasattr(rows, "columns") else numeric_matrix(rows, "X")


def predict_partition(partition: Partition, fitted: Fitted) -> npt.NDArray[np.int32]:
    """Labels of one partition."""
    return fitted.labels(partition.load().values)


def transform_partition(partition: Partition, fitted: Fitted) -> npt.NDArray[np.floating[Any]]:
    """Distances of one partition."""
    return fitted.distances(partition.load().values)


def predict_chunk(rows: Any, fitted: Fitted) -> Any:
    """Labels of one chunk of a Dask collection, on whichever worker has the engine."""
    return run_placed(fitted.engine, _labels_of, rows, fitted)


def transform_chunk(rows: Any, fitted: Fitted, names: tuple[str, ...], kind: Any) -> Any:
    """Distances of one chunk of a Dask collection, on whichever worker has the engine."""
    return run_placed(fitted.engine, _distances_of, rows, fitted, names, kind)


def _labels_of(rows: Any, fitted: Fitted) -> Any:
    """An array for an array, a series with the same index for a frame."""
    labels = fitted.labels(chunk_values(rows)) if len(rows) else np.empty(0, np.int32)
    if not hasattr(rows, "columns"):
        return labels
    import pandas as pd

    return pd.Series(labels, index=rows.index, name="label")


def _distances_of(rows: Any, fitted: Fitted, names: tuple[str, ...], kind: Any) -> Any:
    """In the type ``kind``: an array for an array, a frame with the same index for a frame."""
    if len(rows):
        table = fitted.distances(chunk_values(rows)).astype(kind, copy=False)
    else:
        table = np.empty((0, len(fitted.centres)), kind)
    if not hasattr(rows, "columns"):
        return table
    import pandas as pd

    return pd.DataFrame(table, index=rows.index, columns=list(names))


def predict_dask(X: Any, fitted: Fitted) -> Any:
    """Labels of a Dask collection, lazily: an array for an array, a series for a frame."""
    if hasattr(X, "columns"):
        import pandas as pd

        meta = pd.Series([], dtype=np.int32, name="label", index=X._meta.index)  # noqa: SLF001 (dask's documented meta)
        return X.map_partitions(predict_chunk, fitted, meta=meta)
    X = _one_block_wide(X)
    with asking(fitted.engine):
        return X.map_blocks(predict_chunk, fitted, drop_axis=1, dtype=np.int32, meta=np.empty(0, np.int32))


def transform_dask(X: Any, fitted: Fitted, names: tuple[str, ...]) -> Any:
    """Distances of a Dask collection, lazily, in the same kind."""
    k = len(fitted.centres)
    if hasattr(X, "columns"):
        import pandas as pd

        single = all(str(kind) == "float32" for kind in X.dtypes)
        kind = np.float32 if single else np.float64
        meta = pd.DataFrame(np.empty((0, k), kind), columns=list(names), index=X._meta.index)  # noqa: SLF001
        return X.map_partitions(transform_chunk, fitted, names, kind, meta=meta)
    X = _one_block_wide(X)
    kind = np.float32 if X.dtype == np.float32 else np.float64
    chunks = (X.chunks[0], (k,))
    with asking(fitted.engine):
        return X.map_blocks(
            transform_chunk, fitted, names, kind, chunks=chunks, dtype=kind, meta=np.empty((0, 0), kind)
        )


def _one_block_wide(X: Any) -> Any:
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})
