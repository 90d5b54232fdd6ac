"""Whole fits: n_init auto, integer and real weights, a start on a sample, k-means||, keys, float64, empty clusters.

A centre's coordinates and the inertia are hexadecimal floats, labels one string.
"""

from __future__ import annotations

import functools
import warnings
from unittest import mock

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from gpuseg import KMeans
from gpuseg.cluster.seeding import gather_sample
from gpuseg.core.philox import Stage, draw64, uniform53

N, D, K = 300, 3, 5
SEED = 0x0123_4567_89AB_CDEF


def make() -> dict[str, object]:
    rows = _rows()
    whole, real = _weights()
    single = rows.astype(np.float32)
    start = np.vstack([single[:2], np.full((3, D), 1000.0)])
    keys = pd.Index([f"customer-{i * 7 % N}" for i in range(N)], name="customer")
    return {
        "plain": _fit(single),
        "float64": _fit(rows),
        "offset": _fit(single + np.float32(1e5)),
        "integer weights": _fit(single, weights=whole),
        "real weights": _fit(single, weights=real),
        "sample start": _fit(single, sample=64),
        "sample start, integer weights": _fit(single, weights=whole, sample=64),
        "sample, but no start on it": _fit(single, sample=64, sample_start=False),
        "keys": _fit(pd.DataFrame(single, columns=list("abc"), index=keys), sample=64),
        "oversampling": _fit(single, init="k-means||"),
        "oversampling, integer weights": _fit(single, weights=whole, init="k-means||"),
        "oversampling, real weights": _fit(rows, weights=real, init="k-means||", sample_start=False),
        "oversampling, keys": _fit(
            pd.DataFrame(single, columns=list("abc"), index=keys),
            init="k-means||",
            oversampling_factor=0.5,
            init_max_iter=2,
        ),
        "empty clusters": _fit(single, init=start, max_iter=3),
    }


def _rows() -> np.ndarray:
    """Eight overlapping squares of rows in float64, from Philox: the same on every version of numpy."""
    u = [
        uniform53(draw64(SEED, Stage.BOOTSTRAP, np.arange(N, dtype=np.uint64), index))
        for index in range(D + 1)
    ]
    group = np.floor(u[D] * 8).astype(np.int64)
    return np.stack([u[f] * 3.0 + 2.0 * ((group >> f) & 1) for f in range(D)], axis=1)


def _weights() -> tuple[np.ndarray, np.ndarray]:
    u = uniform53(draw64(SEED, Stage.BOOTSTRAP, np.arange(N, dtype=np.uint64), D + 1))
    return np.floor(u * 5.0), u * 2.0


def _fit(X, *, weights=None, sample=1 << 18, **parameters) -> dict[str, object]:
    limited = functools.partial(gather_sample, limit=sample)
    with mock.patch("gpuseg.cluster.sharing.gather_sample", limited), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(K, random_state=SEED, **parameters).fit(X, sample_weight=weights)
    return {
        "labels": "".join(map(str, model.labels_.tolist())),
        "centres": [[value.hex() for value in row] for row in model.cluster_centers_.tolist()],
        "inertia": model.inertia_.hex(),
        "n_iter": model.n_iter_,
        "n_relocated": model.n_relocated_,
    }
