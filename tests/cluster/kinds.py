"""The kinds of table that KMeans takes, each made of the same rows: what the behaviour suite runs over.

A maker returns a :class:`Made`; chunks are uneven on purpose, with empty and one-row partitions where the kind has any.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from dask.delayed import delayed

NAMES = ["visits", "basket", "recency", "share"]
CUTS = [0, 1, 31, 31, 64]
"""Where rows are cut: partitions of 0, 1, 30, 0, 33 rows and the rest."""


@dataclass
class Made:
    """One table of one kind.

    Parameters
    ----------
    X : object
        What is passed to ``fit``.
    sample_weight : object
        Weights as that kind wants them, or None.
    dtype : dtype
        In which the rows arrive: the kind of the reference that it must equal.
    gather : callable
        Turns what ``predict`` and ``transform`` return for this kind into an ndarray.
    """

    X: Any
    sample_weight: Any
    dtype: Any
    gather: Callable[[Any], np.ndarray] = np.asarray


def frame_of(X, keys=None):
    index = None if keys is None else pd.Index(keys, name="household")
    return pd.DataFrame(X, columns=NAMES[: X.shape[1]], index=index)


def numpy_c(X, w, folder):
    return Made(np.ascontiguousarray(X), w, X.dtype)


def numpy_fortran(X, w, folder):
    return Made(np.asfortranarray(X), w, X.dtype)


def numpy_strided(X, w, folder):
    wide = np.zeros((2 * len(X), X.shape[1] + 3), X.dtype)
    wide[::-2, 1:-2] = X
    return Made(wide[::-2, 1:-2], w, X.dtype)


def numpy_read_only(X, w, folder):
    frozen = X.copy()
    frozen.flags.writeable = False
    return Made(frozen, w, X.dtype)


def numpy_big_endian(X, w, folder):
    # Not a type that the kernels know: read as float64, whatever its size.
    return Made(X.astype(X.dtype.newbyteorder(">")), w, np.dtype(np.float64))


def numpy_memmap(X, w, folder):
    np.save(folder / "rows.npy", X)
    return Made(np.load(folder / "rows.npy", mmap_mode="r"), w, X.dtype)


def lists(X, w, folder):
    return Made(X.tolist(), None if w is None else w.tolist(), np.dtype(np.float64))


def pandas_frame(X, w, folder):
    return Made(frame_of(X), None if w is None else pd.Series(w), X.dtype)


def polars_frame(X, w, folder):
    return Made(pl.DataFrame({n: X[:, f] for f, n in enumerate(NAMES)}), w, X.dtype)


def arrow(X, w, folder):
    batches = [pa.RecordBatch.from_pandas(part, preserve_index=False) for part in cut(frame_of(X))]
    return Made(pa.Table.from_batches(batches), w, X.dtype)


def arrow_batch(X, w, folder):
    return Made(pa.RecordBatch.from_pandas(frame_of(X)), w, X.dtype)


def dask_array(X, w, folder):
    sizes = tuple(len(part) for part in cut(X))
    rows = da.from_array(X, chunks=(sizes, 2))
    weights = None if w is None else da.from_array(w, chunks=17)
    return Made(rows, weights, X.dtype, lambda found: found.compute())


def dask_array_of_unknown_chunks(X, w, folder):
    rows = da.concatenate(
        [da.from_delayed(delayed(part), (np.nan, X.shape[1]), X.dtype) for part in cut(X)], axis=0,
        allow_unknown_chunksizes=True,
    )  # fmt: skip
    weights = None
    if w is not None:
        parts = [da.from_delayed(delayed(part), (np.nan,), w.dtype) for part in cut(w)]
        weights = da.concatenate(parts, axis=0, allow_unknown_chunksizes=True)
    return Made(rows, weights, X.dtype, lambda found: found.compute())


def dask_frame(X, w, folder):
    frame = frame_of(X)
    rows = dd.from_delayed([delayed(part) for part in cut(frame)], meta=frame.iloc[:0])
    weights = None
    if w is not None:
        series = pd.Series(w)
        weights = dd.from_delayed([delayed(part) for part in cut(series)], meta=series.iloc[:0])
    return Made(rows, weights, X.dtype, lambda found: np.asarray(found.compute()))


def parquet_file(X, w, folder):
    frame = frame_of(X) if w is None else frame_of(X).assign(weight=w)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pq.ParquetWriter(folder / "one.parquet", table.schema) as writer:
        for part in cut(frame):
            writer.write_table(pa.Table.from_pandas(part, schema=table.schema, preserve_index=False))
    return Made(folder / "one.parquet", None if w is None else "weight", X.dtype)


def parquet_glob(X, w, folder):
    _files(X, w, folder)
    return Made(f"{folder}/part.*.parquet", None if w is None else "weight", X.dtype)


def parquet_folder(X, w, folder):
    _files(X, w, folder)
    (folder / "notes.txt").write_text("not a table")
    return Made(str(folder), None if w is None else "weight", X.dtype)


def _files(X, w, folder: Path) -> None:
    """Twelve files, so that part.10 and part.11 must not come before part.2; some are empty."""
    frame = frame_of(X) if w is None else frame_of(X).assign(weight=w)
    cuts = sorted([*CUTS, *range(66, 72)])
    for number, part in enumerate(np.split(np.arange(len(frame)), cuts)):
        table = pa.Table.from_pandas(frame.iloc[part], preserve_index=False)
        pq.write_table(table, folder / f"part.{number}.parquet")


def cut(rows) -> list:
    """Rows in uneven parts."""
    borders = [0, *CUTS, len(rows)]
    return [rows[a:b] for a, b in itertools.pairwise(borders)]


KINDS: dict[str, Callable[..., Made]] = {
    "numpy C": numpy_c,
    "numpy Fortran": numpy_fortran,
    "numpy strided": numpy_strided,
    "numpy read-only": numpy_read_only,
    "numpy big-endian": numpy_big_endian,
    "numpy memory map": numpy_memmap,
    "list": lists,
    "pandas": pandas_frame,
    "polars": polars_frame,
    "Arrow table": arrow,
    "Arrow batch": arrow_batch,
    "Dask array": dask_array,
    "Dask array, unknown chunks": dask_array_of_unknown_chunks,
    "Dask dataframe": dask_frame,
    "Parquet file": parquet_file,
    "Parquet glob": parquet_glob,
    "Parquet folder": parquet_folder,
}


def rows_of(dtype, n: int = 83, d: int = 4, seed: int = 5) -> np.ndarray:
    """Overlapping groups: a fit takes several passes."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 2.5 * rng.integers(0, 2, (n, d))).astype(dtype)


def weights_of(kind: str, n: int = 83) -> np.ndarray | None:
    """No, integer or real weights, zeros among them."""
    rng = np.random.default_rng(9)
    if kind == "none":
        return None
    return rng.integers(0, 4, n).astype(np.float64) if kind == "integer" else rng.gamma(2.0, 1.0, n)


@dataclass(frozen=True)
class Answer:
    """What a fit found, comparable with ``==`` to the last bit."""

    labels: bytes
    centres: bytes
    inertia: float
    n_iter: int
    n_relocated: int
    seed: int

    @classmethod
    def of(cls, model, gather=np.asarray) -> Answer:
        labels = gather(model.labels_)
        assert labels.dtype == np.int32
        return cls(
            labels.tobytes(),
            model.cluster_centers_.tobytes(),
            model.inertia_,
            model.n_iter_,
            model.n_relocated_,
            model.seed_,
        )
