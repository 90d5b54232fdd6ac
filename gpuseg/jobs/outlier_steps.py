"""Steps of the main job about extreme customers (jobs; called by pipeline): set apart, pull in, try otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from gpuseg.customers.outliers import ACTIONS, OutlierBounds, Outliers, find_outliers, pull_in
from gpuseg.errors import TooFewRowsError
from gpuseg.insight.alternatives import Otherwise
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.steps import equal_groups


def set_apart(everybody: pa.Table, settings: Settings) -> tuple[Outliers, pa.Table]:
    """The extreme customers, and the features of those whom segments are built from.

    Parameters
    ----------
    everybody : pyarrow.Table
        Features of all customers who have any, unscaled.
    settings : Settings
        The choices.

    Returns
    -------
    outliers : Outliers
        Of everybody: bounds are found once, before anybody is left out.
    built : pyarrow.Table
        Everybody, or everybody else where the action is drop.

    Raises
    ------
    TooFewRowsError
        Too few are left to fill the segments that are to be tried.
    """
    outliers = find_outliers(everybody, settings.outliers)
    built = everybody.filter(pa.array(outliers.kept))
    most = max(settings.clusters)
    if outliers.rule.action == "drop" and len(built) <= most < len(everybody):
        raise TooFewRowsError(
            f"outliers: drop leaves {len(built):,} of {len(everybody):,} customers, too few for {most} segments; raise "
            f"the limit ({outliers.rule.limit:g}), or winsorise or flag them"
        )
    return outliers, built


def as_built(built: pa.Table, bounds: OutlierBounds) -> pa.Table:
    """The features that are scaled: under winsorise pulled in to the bounds, otherwise as they are."""
    return pull_in(built, bounds) if bounds.action == "winsorise" else built


def other_actions(everybody: pa.Table, outliers: Outliers, k: int) -> Iterator[Otherwise]:
    """What the run would have built on, had it done otherwise about the same outliers.

    Parameters
    ----------
    everybody : pyarrow.Table
        Features of all customers who have any, unscaled.
    outliers : Outliers
        Of everybody.
    k : int
        Segments; an action that leaves no more customers than that is not tried.
    """
    for action in ACTIONS:
        kept = ~outliers.marked if action == "drop" else np.ones(len(everybody), np.bool_)
        if action == outliers.rule.action or np.count_nonzero(kept) <= k:
            continue
        table = everybody.filter(pa.array(kept))
        if action == "winsorise":
            table = pull_in(table, outliers.bounds)
        _, _, scaled = equal_groups(table)
        yield Otherwise("outliers", action, scaled, own=outliers.kept[kept], run=kept[outliers.kept])
