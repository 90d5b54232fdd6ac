"""Models in exchange with scikit-learn and dask-ml (cluster): what a fit found there, labelled here, and the reverse.

A friend of the estimator: its ``to_sklearn`` and ``from_sklearn`` say what is the same afterwards, and this does it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from gpuseg.cluster.predicting import Fitted
from gpuseg.core.moments import Layout, Scales, require_block_range
from gpuseg.core.weights import WeightRange
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import InputError

if TYPE_CHECKING:
    from gpuseg.cluster.kmeans import KMeans

_FOUND = ("labels_", "inertia_", "n_iter_", "n_features_in_", "feature_names_in_")
_DASK_ML = "dask_ml.cluster.k_means.KMeans"


def sklearn_model(model: KMeans) -> Any:
    """A ``sklearn.cluster.KMeans`` that has found what a fitted model of ours has found."""
    import sklearn.cluster

    centres = model.cluster_centers_.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # centres may repeat
        # A fit of its own sets what it keeps for itself, in any version; what it found is then replaced.
        theirs = sklearn.cluster.KMeans(len(centres), init=centres, n_init=1, max_iter=1).fit(centres)
    if hasattr(model, "feature_names_in_"):
        theirs.feature_names_in_ = model.feature_names_in_
    theirs.cluster_centers_ = centres
    theirs.labels_, theirs.inertia_, theirs.n_iter_ = model.labels_, model.inertia_, model.n_iter_
    init = "k-means++" if isinstance(model.init, str) else model.init
    wanted = theirs.get_params().keys() & model.get_params().keys()
    return theirs.set_params(**{name: getattr(model, name) for name in wanted} | {"init": init})


def adopted(kind: type[KMeans], theirs: Any) -> KMeans:
    """Our estimator with what another library's fitted model has found.

    Raises
    ------
    InputError, NotFittedError
        As ``from_sklearn`` says.
    """
    _require_flat_model(theirs)
    check_is_fitted(theirs, "cluster_centers_")
    given = theirs.get_params()
    shared = [name for name in kind._get_param_names() if name in given and name != "n_jobs"]
    model = kind(**{name: given[name] for name in shared})
    for name in _FOUND:
        if hasattr(theirs, name):
            found = getattr(theirs, name)
            setattr(model, name, found.astype(np.int32) if name == "labels_" else found)
    centres = np.array(theirs.cluster_centers_)
    layout = _layout_of(centres)
    model.cluster_centers_, model.centred_features_ = centres, layout.centred
    model._n_features_out, model._roles = len(centres), ()
    columns = tuple(getattr(theirs, "feature_names_in_", ())) or None
    block = np.ascontiguousarray(layout.block_values(centres))
    model._fitted = Fitted(block, layout, columns, choose_engine(model.engine, model.n_jobs))
    return model


def _require_flat_model(theirs: Any) -> None:
    """Refuse what is no k-means that labels rows by the nearest of ``cluster_centers_``."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    names = [f"{base.__module__}.{base.__name__}" for base in type(theirs).__mro__]
    if not isinstance(theirs, KMeans | MiniBatchKMeans) and _DASK_ML not in names:
        taken = "KMeans or MiniBatchKMeans of scikit-learn, or KMeans of dask-ml"
        raise InputError(f"theirs is a {names[0]}; give a fitted {taken}")


def _layout_of(centres: npt.NDArray[np.floating[Any]]) -> Layout:
    """Block coordinates for rows of which only centres (k, d) are known.

    Rows in float32 stay as they are: a difference to a float32 centre is rounded once either way. Rows in float64 are
    centred in the middle of the centres.
    """
    if not np.isfinite(centres).all():
        raise InputError("cluster_centers_ has NaN or infinite values; fit the model again on finite rows")
    low, high = (end.astype(np.float64) for end in (centres.min(axis=0), centres.max(axis=0)))
    wide = centres.dtype != np.float32
    centre = low / 2 + high / 2 if wide else np.zeros(low.size)
    max_abs = np.maximum(np.abs(low - centre), np.abs(high - centre))
    require_block_range(max_abs)
    facts = WeightRange.of(None, len(centres))
    return Layout(centre, np.full(low.size, wide), Scales.of(max_abs, facts), max_abs)
