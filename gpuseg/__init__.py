"""gpuseg: from customer transactions to segments, with the same answer on any hardware.

The names below are all that a user types. They load on first use (PEP 562), so that ``import gpuseg`` costs
milliseconds and pulls in neither numba, Dask, scikit-learn nor CuPy.

Examples
--------
>>> import gpuseg as gs
>>> gs.__version__
'0.1.0'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuseg import datasets, errors
    from gpuseg.cluster.kmeans import KMeans
    from gpuseg.cluster.minibatch import MiniBatchKMeans
    from gpuseg.customers.cohorts import cohort_retention
    from gpuseg.customers.features import features
    from gpuseg.customers.reading.records import Transactions
    from gpuseg.customers.reading.transactions import read_transactions
    from gpuseg.insight.model_files import load_model
    from gpuseg.personality.category_map import CategoryMap
    from gpuseg.personality.message_groups import MessageGroups
    from gpuseg.personality.spend_personality import SpendPersonality
    from gpuseg.personality.weights import TraitWeights
    from gpuseg.quality.choose_k import choose_k
    from gpuseg.quality.silhouette import silhouette_samples, silhouette_score

__version__ = "0.1.0"

__all__ = [
    "CategoryMap",
    "KMeans",
    "MessageGroups",
    "MiniBatchKMeans",
    "SpendPersonality",
    "TraitWeights",
    "Transactions",
    "__version__",
    "choose_k",
    "cohort_retention",
    "datasets",
    "errors",
    "features",
    "load_model",
    "read_transactions",
    "silhouette_samples",
    "silhouette_score",
]

# Where each public name lives; a module stands for itself.
_HOMES = {
    "CategoryMap": "gpuseg.personality.category_map",
    "KMeans": "gpuseg.cluster.kmeans",
    "MessageGroups": "gpuseg.personality.message_groups",
    "MiniBatchKMeans": "gpuseg.cluster.minibatch",
    "SpendPersonality": "gpuseg.personality.spend_personality",
    "TraitWeights": "gpuseg.personality.weights",
    "Transactions": "gpuseg.customers.reading.records",
    "choose_k": "gpuseg.quality.choose_k",
    "cohort_retention": "gpuseg.customers.cohorts",
    "datasets": "gpuseg.datasets",
    "errors": "gpuseg.errors",
    "features": "gpuseg.customers.features",
    "load_model": "gpuseg.insight.model_files",
    "read_transactions": "gpuseg.customers.reading.transactions",
    "silhouette_samples": "gpuseg.quality.silhouette",
    "silhouette_score": "gpuseg.quality.silhouette",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gpuseg' has no attribute {name!r}")
    module = import_module(home)
    value = module if home == f"gpuseg.{name}" else getattr(module, name)
    globals()[name] = value  # the next look-up costs nothing
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
