"""Steps of the main job (jobs; called by pipeline): which features, one scale, how many segments, ids and names."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning

from gpuseg.customers.customer_state import CustomerState
from gpuseg.customers.measures import category_totals, top_categories
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.customers.scaling import ExactScaler
from gpuseg.customers.sensitive import allowed_categories
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.insight.groups import group_weights
from gpuseg.insight.matching import match_model
from gpuseg.insight.measures import CATEGORY_PREFIX
from gpuseg.insight.model import SegmentModel
from gpuseg.insight.naming import name_segments
from gpuseg.insight.profile import Profiles
from gpuseg.jobs.settings import Settings
from gpuseg.quality.choose_k import KChoice, choose_k

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]

_BUILT_OF = {
    "basket": ("log_visits", "log_basket_value"),
    "discount": ("discount_share",),
    "coupon": ("root_coupon_share",),
    "own_label": ("own_label_share",),
    "category": ("category_diversity",),
}


def categories(
    tx: Transactions, state: CustomerState, settings: Settings
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The categories with a share of their own, and those that are kept out because they are sensitive."""
    if tx.roles.category is None:
        return (), {}
    totals = category_totals(state)
    allowed, kept_out = allowed_categories(totals, settings.opt_in)
    wanted = settings.n_categories
    if isinstance(wanted, int):
        return top_categories({name: totals[name] for name in allowed}, wanted), kept_out
    sensitive = [name for name in wanted if name in kept_out]
    if sensitive:
        raise InputError(
            f"{tx.where}: category {sensitive[0]!r} cannot have a share of its own ({kept_out[sensitive[0]]})"
        )
    return wanted, kept_out


def not_building(columns: list[str], describe_only: tuple[str, ...]) -> list[str]:
    """Features that are made of roles which may only describe."""
    left_out = {name for role in describe_only for name in _BUILT_OF.get(role, ())}
    if "category" in describe_only:
        left_out |= {name for name in columns if name.startswith(CATEGORY_PREFIX)}
    return [name for name in columns if name in left_out]


def numbers(
    previous: SegmentModel | None, choice: KChoice, scaler: ExactScaler, clusters: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the clusters, and every id that was used: those of an earlier model go on, others are new."""
    if previous is None:
        return tuple(range(1, len(clusters) + 1)), ()
    centres = np.asarray(scaler.inverse_transform(np.asarray(choice.model.cluster_centers_, np.float64)))
    matching = match_model(previous, centres, [str(name) for name in scaler.feature_names_in_], clusters)
    return matching.ids, matching.used_ids


def names(profiles: Profiles, previous: SegmentModel | None) -> dict[int, str]:
    """Names of the segments: those that go on keep theirs, which people may have approved."""
    proposed = name_segments(profiles)
    if previous is None:
        return proposed
    kept = {number: name for number, name in previous.names.items() if number in proposed}
    return {
        number: kept.get(number, f"{name} ({number})" if name in kept.values() else name)
        for number, name in proposed.items()
    }


def number_by_size(labels: npt.NDArray[np.integer]) -> tuple[Int32, tuple[int, ...]]:
    """Number clusters 1, 2, ... from the largest to the smallest; ties go to the lower cluster.

    Parameters
    ----------
    labels : ndarray of integer, shape (n,)
        Cluster of each customer.

    Returns
    -------
    segment_ids : ndarray of int32, shape (n,)
        Number of each customer's segment.
    clusters : tuple of int
        The cluster behind segment 1, 2, ...
    """
    sizes = np.bincount(labels)
    present = np.flatnonzero(sizes)
    clusters = present[np.argsort(-sizes[present], kind="stable")]
    number = np.zeros(len(sizes), np.int32)
    number[clusters] = np.arange(1, len(clusters) + 1, dtype=np.int32)
    return number[labels], tuple(clusters.tolist())


def choose(scaled: Any, settings: Settings, truths: npt.NDArray[np.float64] | None) -> KChoice:
    """Choose k; a library warns about segments that nobody can fill, a run refuses them."""
    most, cure = max(settings.clusters), "lower segments.clusters"
    if len(scaled) < most:
        raise TooFewRowsError(
            f"too few customers ({len(scaled):,}) for {most} segments, the most that is tried; {cure}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return choose_k(
                scaled,
                settings.clusters,
                random_state=settings.seed,
                min_size=settings.min_size,
                max_share=settings.max_share,
                stability=settings.n_boot,
                outcome=truths,
            )
        except ConvergenceWarning as warning:
            different = len(scaled.group_by(scaled.column_names[1:]).aggregate([]))
            if different == 1:
                raise TooFewRowsError(
                    f"all {len(scaled):,} customers are alike in every feature that builds segments: nothing tells "
                    "them apart; give a longer time, or let more columns build"
                ) from warning
            raise TooFewRowsError(
                f"{len(scaled):,} customers show only {different:,} different sets of features and cannot fill {most} "
                f"segments; {cure}"
            ) from warning


def equal_groups(built: pa.Table) -> tuple[ExactScaler, Float64, pa.Table]:
    """The scaler, its weights and the scaled features, where each group of features weighs the same."""
    scaler = ExactScaler().fit(built)
    weights = group_weights(tuple(scaler.feature_names_in_))
    scaler.scale_ = scaler.scale_ * weights
    return scaler, weights, scaler.transform(built)
