"""Extreme customers (room ``customers``, called by insight and jobs): bounds of each feature, and who lies outside.

Bounds are in units of the features, before scaling. They come from exact sums and from order statistics, so no order,
chunking or number of workers changes them. What becomes of the customers outside is the action of the rule.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers.attribute_encoding import attribute_of
from gpuseg.customers.frames import CUSTOMER
from gpuseg.customers.scaling import ExactScaler
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import InputError

logger = logging.getLogger("gpuseg.customers")

Float64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

OUTCOMES: Mapping[str, str] = {
    "flag": "kept as they are, and marked",
    "winsorise": "kept, marked, and pulled in to that bound before scaling",
    "drop": "marked and left out of the fit, in the fallback segment",
}
"""The actions, and what becomes of customers beyond a bound."""
ACTIONS = tuple(OUTCOMES)
LIMITS: Mapping[str, float] = {"zscore": 3.0, "iqr": 1.5, "mad": 3.5}
"""The rules, and the usual limit of each."""
MAD_TO_SD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation: 1 / 0.6745."""
TWO_VALUES = "only 0 and 1"
NO_SPREAD = "no spread"
OUTLIER = "outlier: "
"""How the reason of a customer begins who is left out as an outlier; the feature follows, or the attribute."""
_WORDS = {
    "zscore": "{:g} standard deviations from the mean",
    "iqr": "{:g} interquartile ranges beyond the quartiles",
    "mad": "{:g} robust standard deviations (1.4826 MAD) from the median",
}


@dataclass(frozen=True)
class OutlierRule:
    """Who is extreme, and what becomes of them.

    Parameters
    ----------
    action : {"flag", "winsorise", "drop"}, default "flag"
        Mark them; build on their values pulled in to the bound; or leave them out of the fit.
    rule : {"zscore", "iqr", "mad"}, default "zscore"
        Mean and standard deviation; quartiles and their distance; median and median absolute deviation.
    limit : float, default 3
        How many standard deviations, interquartile ranges or 1.4826 MAD; :data:`LIMITS` has the usual ones.

    Raises
    ------
    InputError
        One of them is not known, or the limit is not above 0.

    Examples
    --------
    >>> OutlierRule(rule="iqr", limit=1.5).words
    '1.5 interquartile ranges beyond the quartiles'
    """

    action: str = "flag"
    rule: str = "zscore"
    limit: float = LIMITS["zscore"]

    def __post_init__(self) -> None:
        for name, known in (("action", ACTIONS), ("rule", tuple(LIMITS))):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not known; use one of {', '.join(known)}"
                )
        if not 0 < self.limit < math.inf:
            raise InputError(
                f"limit={self.limit} is not above 0; usual for {self.rule} is {LIMITS[self.rule]:g}"
            )

    @property
    def words(self) -> str:
        """Where the bounds lie."""
        return _WORDS[self.rule].format(self.limit)


@dataclass(frozen=True)
class OutlierBounds:
    """Between which values each feature is ordinary.

    Parameters
    ----------
    rule : OutlierRule
        How they were found, and what becomes of customers outside.
    names : tuple of str
        The features.
    lower, upper : ndarray of float64, shape (d,)
        In units of the features; infinite where a feature has no bounds.
    """

    rule: OutlierRule
    names: tuple[str, ...]
    lower: Float64
    upper: Float64

    def __post_init__(self) -> None:
        for ends in (self.lower, self.upper):
            if ends.dtype != np.float64 or ends.shape != (len(self.names),):
                raise InputError(
                    f"bounds of {ends.dtype}, {ends.shape}; float64, ({len(self.names)},) is needed"
                )
        if not (self.lower <= self.upper).all():
            raise InputError("a lower bound is above the upper one, or is no number")

    @property
    def action(self) -> str:
        """What becomes of customers outside."""
        return self.rule.action

    def outside(self, values: Float64) -> Flags:
        """Which values lie outside, shape (n, d); one on a bound is inside, a missing one too."""
        return np.asarray((values < self.lower) | (values > self.upper))

    def pulled_in(self, values: Float64) -> Float64:
        """The values, those outside replaced by the bound that they are beyond; shape (n, d)."""
        return np.where(values < self.lower, self.lower, np.where(values > self.upper, self.upper, values))

    def as_built(self, values: Float64) -> Float64:
        """The values as segments are built on them: pulled in under winsorise, as they are otherwise."""
        return self.pulled_in(values) if self.action == "winsorise" else values

    def reasons(self, outside: Flags) -> pa.Array:
        """For each customer the first feature that lies outside, as a reason; null where none does.

        Parameters
        ----------
        outside : ndarray of bool, shape (n, d)
            From :meth:`outside`.
        """
        said = np.array(
            [*(f"{OUTLIER}{attribute_of(name) or name}" for name in self.names), ""], dtype=object
        )
        first = np.where(outside.any(axis=1), outside.argmax(axis=1), len(self.names))
        return pa.array(said[first], pa.string(), mask=first == len(self.names))


@dataclass(frozen=True)
class Outliers:
    """The extreme customers among those whom segments are to be built from.

    Parameters
    ----------
    bounds : OutlierBounds
        Of each feature.
    unbounded : mapping of str to str
        Features without bounds, and why.
    outside : ndarray of bool, shape (n, d)
        Which values lie outside.
    """

    bounds: OutlierBounds
    unbounded: Mapping[str, str]
    outside: Flags

    @property
    def marked(self) -> Flags:
        """Which customers lie outside in any feature."""
        return np.asarray(self.outside.any(axis=1))

    @property
    def rule(self) -> OutlierRule:
        """Who is extreme, and what becomes of them."""
        return self.bounds.rule

    @property
    def n_marked(self) -> int:
        """Customers outside in any feature."""
        return int(np.count_nonzero(self.marked))

    @property
    def by_feature(self) -> dict[str, int]:
        """Customers outside in each feature; one customer may count in several."""
        counts = np.count_nonzero(self.outside, axis=0).tolist()
        return dict(zip(self.bounds.names, counts, strict=True))

    @property
    def kept(self) -> Flags:
        """Whom segments are built from: all but those who are dropped."""
        return ~self.marked if self.rule.action == "drop" else np.ones(len(self.marked), np.bool_)

    def facts(self) -> dict[str, Any]:
        """The counts, for files."""
        return {
            "customers": self.n_marked,
            "by_feature": self.by_feature,
            "features_without_bounds": dict(self.unbounded),
        }

    def dropped(self, built: pa.Table, reason: str) -> pa.Table:
        """Keys of the customers who are left out, with the reason in a column of that name, and ``is_outlier``.

        Parameters
        ----------
        built : pyarrow.Table
            The features that the outliers were found in.
        reason : str
            Name of the column.
        """
        rows = pa.array(~self.kept)
        keys = built[_key(built)].filter(rows)
        columns = {
            _key(built): keys,
            reason: self.bounds.reasons(self.outside).filter(rows),
            "is_outlier": pa.array([True] * len(keys), pa.bool_()),
        }
        return pa.table(columns)


def find_outliers(built: pa.Table, rule: OutlierRule) -> Outliers:
    """Bounds of every feature by one rule, and who lies outside.

    Parameters
    ----------
    built : pyarrow.Table
        The features that build segments, unscaled, n >= 1 rows of finite numbers; the customer's column is named in the
        metadata.
    rule : OutlierRule
        Which bounds.

    Returns
    -------
    Outliers
        Customers on a bound are inside.

    Raises
    ------
    NotFiniteError
        A value is NaN or infinite.

    Notes
    -----
    zscore: mean -+ limit * sd of the whole population, from the exact sums of :class:`ExactScaler`. Among n customers
    nobody lies beyond sqrt(n - 1) standard deviations (after Shiffler 1988), so 3 marks nobody below 11 customers, and
    a group of extreme customers widens the bounds that should catch it; the other two rules do not suffer from that.

    iqr: Q1 - limit * (Q3 - Q1) and Q3 + limit * (Q3 - Q1): Tukey's fences, 1.5 by custom.

    mad: median -+ limit * 1.4826 * MAD, where MAD is the median distance from the median: the modified z-score of
    Iglewicz and Hoaglin, with their 3.5 (their 0.6745 is 1 / 1.4826).

    Quantiles are values of the data, or the middle of two neighbours where the rank falls between them (definition 2 of
    Hyndman and Fan; for the median that is the usual one). A feature of which sd, IQR or MAD is 0 has no bounds: most
    customers share one value, and everybody else would be extreme. Features with no values but 0 and 1 have none.

    References
    ----------
    J. W. Tukey. Exploratory Data Analysis (1977). B. Iglewicz, D. Hoaglin. How to Detect and Handle Outliers (1993).
    R. E. Shiffler. Maximum Z scores and outliers. The American Statistician 42 (1988). R. J. Hyndman, Y. Fan. Sample
    quantiles in statistical packages. The American Statistician 50 (1996).

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"who": list("abcdef"), "visits": [1.0, 2.0, 2.0, 3.0, 4.0, 40.0]})
    >>> table = table.replace_schema_metadata({b"gpuseg.customer": b"who"})
    >>> found = find_outliers(table, OutlierRule(rule="iqr", limit=1.5))
    >>> found.bounds.upper.tolist(), found.by_feature
    ([7.0], {'visits': 1})
    """
    names = _features(built)
    values = feature_values(built, names)
    choose_engine().build().scan(values, None, None).require_finite(names)
    unbounded = {
        name: TWO_VALUES
        for name, column in zip(names, values.T, strict=True)
        if bool(((column == 0.0) | (column == 1.0)).all())
    }
    lower, upper = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    for name, (low, high, spread) in _spreads(built, rule.rule, unbounded).items():
        if spread == 0.0:
            unbounded[name] = NO_SPREAD
            continue
        place = names.index(name)
        lower[place], upper[place] = low - rule.limit * spread, high + rule.limit * spread
    bounds = OutlierBounds(rule, names, lower, upper)
    result = Outliers(
        bounds, {name: unbounded[name] for name in names if name in unbounded}, bounds.outside(values)
    )
    _say(result)
    return result


def feature_values(built: pa.Table, names: Sequence[str]) -> Float64:
    """Columns of a table of features, shape (n, d).

    Parameters
    ----------
    built : pyarrow.Table
        The table.
    names : sequence of str
        Its features.
    """
    columns = [built[name].cast(pa.float64()).to_numpy() for name in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(built), 0))


def pull_in(built: pa.Table, bounds: OutlierBounds) -> pa.Table:
    """The table of features with values outside the bounds pulled in to them; what describes it stays.

    Parameters
    ----------
    built : pyarrow.Table
        Features.
    bounds : OutlierBounds
        Of these features.
    """
    pulled = bounds.pulled_in(feature_values(built, bounds.names))
    for name, values in zip(bounds.names, pulled.T, strict=True):
        built = built.set_column(built.schema.get_field_index(name), name, pa.array(values))
    return built


def _key(built: pa.Table) -> str:
    return str(built.schema.metadata[CUSTOMER].decode())


def _features(built: pa.Table) -> tuple[str, ...]:
    return tuple(name for name in built.column_names if name != _key(built))


Spread = tuple[float, float, float]
"""The values from which the lower and the upper bound are counted, and the unit in which they are."""


def _spreads(built: pa.Table, rule: str, without: Mapping[str, str]) -> dict[str, Spread]:
    names = [name for name in _features(built) if name not in without]
    if rule == "zscore":
        return _means_and_sds(built, names)
    measure = _quartiles if rule == "iqr" else _median_and_mad
    return {name: measure(feature_values(built, [name])[:, 0]) for name in names}


def _means_and_sds(built: pa.Table, names: list[str]) -> dict[str, Spread]:
    if not names:
        return {}
    scaler = ExactScaler().fit(built.select([_key(built), *names]))
    # A scale that is 1 by rule, or too small beside the values to be known, is no spread.
    blurred = {*scaler.constant_features_, *scaler.coarse_features_}
    found = zip(names, scaler.mean_.tolist(), scaler.scale_.tolist(), strict=True)
    return {name: (mean, mean, 0.0 if name in blurred else sd) for name, mean, sd in found}


def _quartiles(values: Float64) -> Spread:
    low, high = quantile(values, 1, 4), quantile(values, 3, 4)
    return low, high, high - low


def _median_and_mad(values: Float64) -> Spread:
    median = quantile(values, 1, 2)
    return median, median, MAD_TO_SD * quantile(np.abs(values - median), 1, 2)


def quantile(values: Float64, part: int, of: int) -> float:
    """The quantile part / of: a value, or the middle of two neighbours (definition 2 of Hyndman and Fan).

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Finite, n >= 1.
    part, of : int
        Such as 1 and 4 for the first quartile; 0 < part < of.
    """
    ordered = np.sort(values)
    rank, rest = divmod(part * len(ordered), of)
    if rest:
        return float(ordered[rank])
    return float(ordered[rank - 1] + ordered[rank]) / 2.0


def _say(found: Outliers) -> None:
    if found.unbounded:
        told = ", ".join(f"{name} ({why})" for name, why in found.unbounded.items())
        logger.info("features without bounds for outliers: %s", told)
    logger.info(
        "%d of %d customers lie more than %s in some feature (%s)",
        found.n_marked, len(found.marked), found.rule.words, found.rule.action,
    )  # fmt: skip
