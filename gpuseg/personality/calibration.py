"""Weights from a survey of one's own customers (room ``personality``; insight and jobs call it).

Ridge regression of what customers said of themselves on what they do, with nested cross-validation: inner folds choose
the penalty, outer folds say how well a model does with customers whom it has not seen. Folds are of customers, never of
rows: all rows of a customer are on one side. A trait is calibrated only if the interval of that correlation lies above
0; if none is, nothing comes out.

The promise is REPEATABLE: scikit-learn and BLAS are in the path. The order of the rows is not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.core.promise import Promise
from gpuseg.customers.keyed import encode
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.personality.columns import CustomerColumns, identities, join_columns, open_columns
from gpuseg.personality.survey import score_items
from gpuseg.personality.unseen import (
    RidgeFits,
    SurveyedRows,
    best_penalty,
    correlation_unseen,
    linear,
    standardised,
)
from gpuseg.personality.use_limits import NOT_FOR
from gpuseg.personality.weights import TraitWeight, TraitWeights

Float64 = npt.NDArray[np.float64]

FEWEST = 300
"""Surveyed customers below which nothing is calibrated."""


@dataclass(frozen=True)
class TraitCalibration:
    """How one trait was calibrated, or why not.

    Parameters
    ----------
    trait : str
        Its name.
    n : int
        Customers with a score on it.
    r : float
        Correlation of prediction and survey among customers that the model had not seen.
    low, high : float
        Interval of ``r``.
    reliability : float
        Cronbach's alpha of the survey.
    penalty : float
        Of the final ridge.
    refused : str
        Why there are no weights, in words; empty if there are.
    coefficients : tuple of float
        Of the standardised features, in their order; empty if refused.
    mean, spread : float
        Of the predictions among the surveyed customers, intercept left out.
    """

    trait: str
    n: int
    r: float
    low: float
    high: float
    reliability: float
    penalty: float
    refused: str
    coefficients: tuple[float, ...] = ()
    mean: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Calibration:
    """Weights that a survey supports.

    Parameters
    ----------
    features : tuple of str
        Names, in order.
    means, spreads : tuple of float
        Of the features among the surveyed customers; a spread of 0 says that the feature was constant.
    traits : tuple of TraitCalibration
        Refused ones too.
    level : float
        Of the intervals.
    n_surveyed : int
        Customers with features and a survey.
    n_without_features : int
        Customers with a survey only.
    n_missing : int
        Values of features that were not known, and were taken for the mean.
    n_repeated : int
        Rows of the survey beyond the first of a customer, whose answers were averaged.
    """

    features: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    traits: tuple[TraitCalibration, ...]
    level: float
    n_surveyed: int
    n_without_features: int
    n_missing: int
    n_repeated: int

    @property
    def promise(self) -> Promise:
        """Same bits on one platform with the same versions."""
        return Promise.REPEATABLE

    @property
    def accepted(self) -> tuple[TraitCalibration, ...]:
        """The traits that have weights."""
        return tuple(trait for trait in self.traits if not trait.refused)

    @property
    def r(self) -> dict[str, float]:
        """Out-of-sample correlation of each accepted trait: what intervals of scores take instead of .15."""
        return {trait.trait: trait.r for trait in self.accepted}

    def weights(
        self, construct: str = "calibrated", categories: Collection[str] | None = None
    ) -> TraitWeights:
        """The weights of the accepted traits for the features as they came, each trait of unit length.

        Parameters
        ----------
        construct : str
            What the traits are of.
        categories : collection of str, optional
            Features that are spend categories; default: all. The others (indicators of behaviour) have no place among
            the weights of categories; :meth:`predict` uses them.

        Returns
        -------
        TraitWeights
            Of the evidence class "calibrated". Scores mean the same by them if the features were the z values of
            :func:`~gpuseg.personality.category_features.category_features`.

        Raises
        ------
        InputError
            No feature is such a category.
        """
        entries = tuple(
            TraitWeight(feature, one.trait, weight / (spread or 1.0), _source(one), "calibrated")
            for one in self.accepted
            for feature, weight, spread in zip(self.features, one.coefficients, self.spreads, strict=True)
            if categories is None or feature in categories
        )
        if not entries:
            raise InputError(f"none of the features {', '.join(self.features[:5])} ... is such a category")
        return TraitWeights(construct, tuple(self.r), entries).of_unit_length()

    def predict(self, features: Any) -> Any:
        """Estimated T scores of the accepted traits: 50 and 10 are mean and spread among the surveyed customers.

        Parameters
        ----------
        features : DataFrame, Table, or list of these
            Customers and the columns that were calibrated on. What is not known is taken for the mean.

        Returns
        -------
        DataFrame or Table
            The customer and a float64 column a trait, of the kind and in the order of the features.

        Raises
        ------
        InputError
            A column is missing.
        """
        opened = open_columns(_side_by_side(features), self.features, what="features")
        z = standardised(opened.values, np.array(self.means), np.array(self.spreads))
        columns = {}
        for one in self.accepted:
            columns[one.trait] = pa.array(50.0 + 10.0 * (linear(z, one.coefficients) - one.mean) / one.spread)
        return opened.as_kind(columns, {"note": NOT_FOR, "promise": self.promise.value, "r": self.r})

    def to_json(self) -> str:
        """All of it as text; :meth:`from_json` reads it."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """What :meth:`to_json` wrote.

        Raises
        ------
        InputError
            The text is something else.
        """
        try:
            held: dict[str, Any] = json.loads(text)
            for name in ("features", "means", "spreads"):
                held[name] = tuple(held[name])
            held["traits"] = tuple(
                TraitCalibration(**one | {"coefficients": tuple(one["coefficients"])})
                for one in held["traits"]
            )
            return cls(**held)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this is no calibration ({error!r}); write it with Calibration.to_json"
            ) from None


def calibrate(
    features: Any,
    names: Sequence[str] | None,
    items: Any,
    key: Mapping[str, Sequence[str]],
    *,
    customers: Any = None,
    scale: tuple[int, int] = (1, 5),
    level: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """Fit weights to a survey.

    Parameters
    ----------
    features : DataFrame, Table, list of these, or array_like of shape (n, p)
        Customers and numbers of what they do: z values of categories (``category_features``), indicators of behaviour
        (``indicators``). A customer may have several rows (periods), which count as one customer together; not in a
        list, whose tables are put side by side for the customers of the first.
    names : sequence of str or None
        Columns of the table to use, None for all of its numbers; or the names of the columns of an array.
    items : DataFrame or Table
        Customers and their answers, a column an item.
    key : mapping of str to sequence of str
        The items of each trait, reversed ones with a minus: see :func:`~gpuseg.personality.survey.score_items`.
    customers : array_like of shape (n,), optional
        Whose the rows of an array are.
    scale : (int, int), default (1, 5)
        Lowest and highest answer.
    level : float, default 0.95
        Of the intervals, above .5 and below 1.
    seed : int, default 0
        Of the folds.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        The tables cannot be used, or the interval of every trait reaches down to 0.
    TooFewRowsError
        Fewer than 300 customers with features and a survey.

    Notes
    -----
    r is the mean of the correlations within the outer folds by Fisher's z, each with its number of customers less 3,
    and that is where the interval comes from. Within folds, because predictions of different folds have intercepts of
    their own. A trait with fewer than 300 answers is refused by itself. Means, spreads and the filling of unknown
    values are those of the training folds.

    References
    ----------
    A. E. Hoerl, R. W. Kennard. Ridge regression. Technometrics 12 (1970). S. Varma, R. Simon. Bias in error estimation
    when using cross-validation for model selection. BMC Bioinformatics 7 (2006).
    """
    if not 0.5 < level < 1.0:
        raise InputError(f"level={level} is not above .5 and below 1; .95 is usual")
    opened = _opened(features, names, customers)
    survey = score_items(items, key, scale=scale)
    if opened.keys.type != survey.keys.type:
        raise InputError(
            f"customers are {opened.keys.type} in the features, {survey.keys.type} in the survey"
        )
    answered = pc.index_in(opened.keys, value_set=survey.keys)
    use = answered.is_valid().to_numpy(zero_copy_only=False)
    keys, customer = encode(opened.keys.filter(pa.array(use)))
    if len(keys) < FEWEST:
        raise TooFewRowsError(
            f"{len(keys)} surveyed customers have features; {FEWEST} are needed before weights say anything"
        )
    values = opened.values[use]
    order = np.lexsort((*values.T[::-1], customer))  # the order of the rows is no part of the answer
    rows = SurveyedRows(values[order], customer[order], identities(keys))
    scores = survey.values[pc.index_in(keys, value_set=survey.keys).to_numpy()]
    from threadpoolctl import threadpool_limits

    mean, spread = rows.moments()
    with threadpool_limits(1):  # BLAS on several threads adds up in another order
        fitted = tuple(
            _calibrated(
                rows, scores[:, column], trait, survey.reliability[column], level, seed, (mean, spread)
            )
            for column, trait in enumerate(survey.traits)
        )
    if all(one.refused for one in fitted):
        said = "; ".join(f"{one.trait}: {one.refused}" for one in fitted)
        raise InputError(
            f"nothing can be calibrated ({said}); survey more customers, or keep the default weights"
        )
    return Calibration(
        opened.names,
        tuple(mean.tolist()),
        tuple(spread.tolist()),
        fitted,
        level,
        len(keys),
        len(survey.keys) - len(keys),
        int(np.count_nonzero(np.isnan(rows.values))),
        survey.n_repeated,
    )


def _side_by_side(features: Any) -> Any:
    return join_columns(features) if isinstance(features, (list, tuple)) else features


def _source(one: TraitCalibration) -> str:
    return f"survey of {one.n} customers, r = {one.r:.3f}"


def _opened(features: Any, names: Sequence[str] | None, customers: Any) -> CustomerColumns:
    if customers is None:
        opened = open_columns(_side_by_side(features), names, what="features", repeats=True)
    else:
        values = np.asarray(features, np.float64)
        if names is None or values.ndim != 2 or values.shape[1] != len(names):
            raise InputError(f"features of shape {values.shape} need names, one a column; give names=")
        if len(customers) != len(values):
            raise InputError(f"customers: {len(customers):,} for {len(values):,} rows; give one a row")
        table = pa.table({"customer": pa.array(customers)})
        keys = open_columns(table, what="customers", repeats=True)
        opened = CustomerColumns(
            keys.keys, tuple(names), values, "arrow", "customer", keys.key_type, in_index=False
        )
    if not opened.names or len(set(opened.names)) != len(opened.names):
        raise InputError(f"features {list(opened.names)}: none, or a name twice")
    infinite = np.isinf(opened.values).any(axis=0)
    if infinite.any():
        name = opened.names[int(np.argmax(infinite))]
        raise InputError(f"feature {name!r} has infinite values; leave them empty or mend them")
    return opened


def _calibrated(
    rows: SurveyedRows,
    scores: Float64,
    trait: str,
    reliability: float,
    level: float,
    seed: int,
    shared: tuple[Float64, Float64],
) -> TraitCalibration:
    """One trait; ``shared`` are means and spreads of all who were surveyed, on which its coefficients are to stand."""
    answered = ~np.isnan(scores)
    rows, y, n = rows.of(answered), scores[answered], int(answered.sum())
    if n < FEWEST or y.min() == y.max():
        why = f"{n} answers, {FEWEST} are needed" if n < FEWEST else "all answers are alike"
        nothing = float("nan")
        return TraitCalibration(trait, n, nothing, nothing, nothing, reliability, nothing, why)
    r, low, high = correlation_unseen(rows, y, level, seed)
    penalty = best_penalty(rows, y, seed, 0)
    if not low > 0.0:
        why = f"r = {r:.3f} among customers not seen, between {low:.3f} and {high:.3f}: it may be 0"
        return TraitCalibration(trait, n, r, low, high, reliability, penalty, why)
    coefficients = np.asarray(RidgeFits.of(rows, y, (penalty,)).ridge.coef_, np.float64).reshape(-1)
    # Who left the trait's items out is not among these rows; features of new customers are standardised by all.
    _, own = rows.moments()
    coefficients = np.where(own > 0.0, coefficients * (shared[1] / np.where(own > 0.0, own, 1.0)), 0.0)
    predicted = rows.by_customer(linear(standardised(rows.values, *shared), coefficients)[:, None])
    mean, spread = float(predicted.mean()), float(predicted.std())
    return TraitCalibration(
        trait, n, r, low, high, reliability, penalty, "", tuple(coefficients.tolist()), mean, spread
    )
