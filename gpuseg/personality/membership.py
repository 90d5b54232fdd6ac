"""Soft membership in KMeans segments beside the hard label, and its path over time (room ``personality``).

The rule: a customer at distance d_k from centre k belongs to segment k by a share in proportion to exp(-d_k^2 / T),
with the temperature T = 2 x inertia / (rows x features) of the fit. That is twice the variance of a feature within its
segment, and the shares are then what Bayes' rule gives if every segment were a round normal cloud of that one variance,
all equally likely beforehand: nothing is tuned, and the data set how soft the borders are. The hard label is the label
of KMeans, and no share is larger than its own.

Shares are multiples of 2**-40 that add up to exactly 1 in any order. + - x /, sqrt and ``detmath.exp2`` only: the same
bits for any order and chunking of customers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.utils.validation import check_is_fitted

from gpuseg.core import detmath
from gpuseg.core.weights import WeightMode
from gpuseg.customers.keyed import encode, first_of
from gpuseg.errors import InputError
from gpuseg.personality.columns import CustomerColumns, open_columns

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

_LOG2_E = 1.4426950408889634
_BITS = 40
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Membership:
    """How far each customer belongs to each segment.

    Parameters
    ----------
    customers : CustomerColumns
        The customers and their features.
    shares : ndarray of float64, shape (n, k)
        Add up to exactly 1; NaN where a feature is missing.
    labels : ndarray of int32, shape (n,)
        The hard label; -1 where a feature is missing.
    temperature : float
        In squared units of the features.
    centres : ndarray of float64, shape (k, d)
        Of the segments.
    """

    customers: CustomerColumns
    shares: Float64
    labels: Int32
    temperature: float
    centres: Float64

    @property
    def n_missing(self) -> int:
        """Customers without a membership, for want of a feature."""
        return int(np.count_nonzero(self.labels < 0))

    def table(self, names: Sequence[str] | None = None) -> Any:
        """A row a customer, of the kind and in the order of the features.

        Parameters
        ----------
        names : sequence of str, optional
            Of the segments; default "0", "1", ...

        Returns
        -------
        DataFrame or Table
            The customer, ``segment`` (the hard label; null where a feature is missing), ``membership_NAME`` for each
            segment.

        Raises
        ------
        InputError
            Not a name a segment, or one twice.
        """
        called = [str(k) for k in range(self.shares.shape[1])] if names is None else list(names)
        if len(set(called)) != self.shares.shape[1] or len(called) != self.shares.shape[1]:
            raise InputError(f"names={called}: {self.shares.shape[1]} segments need a name each")
        missing = self.labels < 0
        columns = {"segment": pa.array(called, pa.string()).take(pa.array(self.labels, mask=missing))}
        for k, name in enumerate(called):
            columns[f"membership_{name}"] = pa.array(np.ascontiguousarray(self.shares[:, k]), mask=missing)
        facts = {"temperature": self.temperature, "n_missing": self.n_missing}
        return self.customers.as_kind(columns, facts)


def temperature_of(inertia: float, n_rows: float, n_features: int) -> float:
    """Twice the variance of a feature within its segment.

    Parameters
    ----------
    inertia : float
        Sum of the squared distances to the nearest centre, of the rows of the fit.
    n_rows : float
        How many they were; or the sum of their weights.
    n_features : int
        Columns.

    Raises
    ------
    InputError
        A number is out of range.

    Examples
    --------
    >>> temperature_of(inertia=120.0, n_rows=30, n_features=2)
    4.0
    """
    if not 0 <= inertia < math.inf or not n_rows > 0 or n_features < 1:
        raise InputError(
            f"inertia={inertia}, n_rows={n_rows}, n_features={n_features}: none of a fitted model"
        )
    return 2.0 * inertia / (n_rows * n_features)


def soft_membership(model: Any, features: Any, *, temperature: float | None = None) -> Membership:
    """The shares of each customer in the segments of a fitted model.

    Parameters
    ----------
    model : KMeans
        Fitted.
    features : DataFrame (pandas, polars) or pyarrow.Table
        Customers and the columns that the model was fitted on, in the same units.
    temperature : float, optional
        0 or more; default: :func:`temperature_of` of the model's own fit. Keep it where paths are to be compared.

    Returns
    -------
    Membership

    Raises
    ------
    InputError
        A column is missing, or the model was fitted on another number of them; the temperature is out of range, or
        is to be told from a fit with weights.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from gpuseg import KMeans
    >>> table = pa.table({"who": [1, 2, 3, 4], "visits": [0.0, 2, 9, 11]})
    >>> model = KMeans(2, random_state=0).fit(table, customer="who")
    >>> soft_membership(model, table).labels.tolist() == model.labels_.tolist()
    True
    """
    check_is_fitted(model)
    names = getattr(model, "feature_names_in_", None)
    customers = open_columns(
        features, None if names is None else [str(name) for name in names], what="features"
    )
    centres = np.asarray(model.cluster_centers_, np.float64)
    if customers.values.shape[1] != centres.shape[1]:
        raise InputError(f"features: {customers.values.shape[1]} columns; the model has {centres.shape[1]}")
    if temperature is None:
        if model._fitted.layout.scales.mode is not WeightMode.NONE:  # noqa: SLF001 (same package)
            raise InputError(
                "the model was fitted with weights, whose sum it does not keep; give temperature="
            )
        temperature = temperature_of(float(model.inertia_), len(model.labels_), centres.shape[1])
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature={temperature} is not a number from 0 up")
    n, k = len(customers.values), len(centres)
    shares, labels = np.full((n, k), np.nan), np.full(n, -1, np.int32)
    known = np.asarray(np.isfinite(customers.values).all(axis=1))
    for start in range(0, n, _BLOCK_ROWS):
        rows = np.flatnonzero(known[start : start + _BLOCK_ROWS]) + start
        if len(rows):
            table = _as_fitted(customers.values[rows], names)
            labels[rows] = model.predict(table)
            distances = np.asarray(model.transform(table), np.float64)
            shares[rows] = shares_of(distances, labels[rows], temperature)
    return Membership(customers, shares, labels, temperature, centres)


def shares_of(distances: Float64, labels: Int32, temperature: float) -> Float64:
    """Shares in proportion to exp(-d^2 / temperature), as multiples of 2**-40 that add up to 1.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, k)
        Euclidean, to each centre.
    labels : ndarray of int32, shape (n,)
        The nearest centre: it takes what rounding leaves over.
    temperature : float
        0 or more; with 0 the nearest centre has all.

    Returns
    -------
    ndarray of float64, shape (n, k)
    """
    rows = np.arange(len(distances))
    squares = distances * distances
    # By the float32 distances that labels go by another centre may be nearer in the last bits.
    farther = np.maximum(squares - squares[rows, labels][:, None], 0.0)
    if temperature > 0.0:
        with np.errstate(over="ignore"):  # too far is as far as it gets
            relative = detmath.exp2(-(farther / temperature) * _LOG2_E)
    else:
        relative = np.zeros_like(distances)
        relative[rows, labels] = 1.0
    total = np.zeros(len(rows))
    for k in range(distances.shape[1]):
        total = total + relative[:, k]
    units = np.floor(relative / total[:, None] * 2.0**_BITS).astype(np.int64)
    units[rows, labels] += (1 << _BITS) - units.sum(axis=1)
    return units.astype(np.float64) * 2.0**-_BITS


def membership_path(periods: Sequence[tuple[str, Membership]]) -> pa.Table:
    """The path of each customer through the segments.

    Parameters
    ----------
    periods : sequence of (str, Membership)
        In order of time; all of one model and temperature.

    Returns
    -------
    pyarrow.Table
        A row a customer and period with a membership, by customer, then period: customer, ``period``, ``segment`` (hard
        label), ``membership`` (its share), ``moved`` (another label than the last time; null the first time) and
        ``shift``: half the sum of the changes of the shares, 0 for none to 1 for all (null the first time).

    Raises
    ------
    InputError
        No period, one twice, other models among them, or customers of two types.
    """
    names = [name for name, _ in periods]
    if not names or len(set(names)) != len(names):
        raise InputError(f"periods {names}: none, or one twice; give each period once, in order of time")
    first = periods[0][1]
    for name, one in periods[1:]:
        if one.temperature != first.temperature or not np.array_equal(one.centres, first.centres):
            raise InputError(f"period {name!r} is of another model or temperature; keep both along a path")
        if one.customers.keys.type != first.customers.keys.type:
            raise InputError(
                f"period {name!r}: customers are {one.customers.keys.type}, before {first.customers.keys.type}"
            )
    known = [one.labels >= 0 for _, one in periods]
    parts = [one.customers.keys.filter(pa.array(use)) for (_, one), use in zip(periods, known, strict=True)]
    keys, customer = encode(pa.concat_arrays(parts))
    period = np.repeat(np.arange(len(periods)), [len(part) for part in parts])
    shares = np.concatenate([one.shares[use] for (_, one), use in zip(periods, known, strict=True)])
    labels = np.concatenate([one.labels[use] for (_, one), use in zip(periods, known, strict=True)])
    order = np.lexsort((period, customer))
    customer, period, shares, labels = customer[order], period[order], shares[order], labels[order]
    begins = np.zeros(len(customer), np.bool_)
    begins[first_of(customer)] = True
    moved = np.zeros(len(customer), np.bool_)
    moved[1:] = labels[1:] != labels[:-1]
    change = np.zeros(len(customer))
    for k in range(shares.shape[1]):
        change[1:] = change[1:] + np.abs(shares[1:, k] - shares[:-1, k])
    return pa.table(
        {
            first.customers.customer: keys.take(pa.array(customer)),
            "period": pa.array(names, pa.string()).take(pa.array(period)),
            "segment": pa.array(labels),
            "membership": pa.array(shares[np.arange(len(labels)), labels]),
            "moved": pa.array(moved, mask=begins),
            "shift": pa.array(change / 2.0, mask=begins),
        }
    )


def _as_fitted(values: Float64, names: Any) -> Any:
    if names is None:
        return values
    return pa.table({str(name): np.ascontiguousarray(values[:, i]) for i, name in enumerate(names)})
