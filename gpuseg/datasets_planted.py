"""The planted model behind made-up spend personalities: shares, loadings, and what they allow (``datasets`` calls it).

A customer has five traits u, each N(0, 1), and a taste of their own for each of the 55 spend categories of
``mcc_categories.csv``::

    log propensity = ln share + effect x sum over traits of loading x u + own taste, N(0, s^2 - planted variance)

and every transaction falls into a category with the probability propensity / sum of propensities. The loadings are
invented: their signs follow the public findings where there are some, their sizes give the correlations that were
published (:data:`PUBLISHED`), and nothing else about them is to be believed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

Float64 = npt.NDArray[np.float64]

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
"""The five traits, in the order of their columns."""

PUBLISHED = {
    "openness": 0.14,
    "conscientiousness": 0.14,
    "extraversion": 0.18,
    "agreeableness": 0.12,
    "neuroticism": 0.17,
}
"""Best attainable correlation with each trait at 200 transactions: about .15 on the whole, as Gladstone, Matz & Lemaire
(2019) found, best for extraversion and neuroticism, as Tovanich et al. (2021) found."""

SPREAD = 0.8
"""s: standard deviation of the log propensity of a category among customers."""


class Category(NamedTuple):
    """What is bought in a spend category: how often, for how much, when.

    Parameters
    ----------
    share : int
        Frequency among the transactions of the population, about, relative to those of the others.
    median : int
        Median amount, in minor units.
    calendar : str
        A key of :data:`CALENDARS`.
    night : int
        Of 1,000 transactions, those between 22:00 and 06:00.
    sensitive : bool
        Whether ``mcc_categories.csv`` says so.
    """

    share: int
    median: int
    calendar: str = "plain"
    night: int = 20
    sensitive: bool = False


CATEGORIES = {
    "accounting_tax_legal": Category(50, 15_000, "bill"),
    "airlines": Category(120, 22_000, "travel", 60),
    "alcohol_tobacco": Category(150, 2_200, "leisure", 120, sensitive=True),
    "art_antiques": Category(40, 9_000, "gift"),
    "bank_charges_cash_advance": Category(60, 1_200, "bill", 40, sensitive=True),
    "books_news": Category(200, 1_600, "gift"),
    "business_services": Category(80, 8_000, "bill"),
    "car_rental": Category(60, 14_000, "travel"),
    "charity_donations": Category(110, 2_500, "gift"),
    "children_childcare": Category(120, 9_000, "bill"),
    "clothing_shoes": Category(450, 4_500, "gift"),
    "debt_collection_credit": Category(30, 7_000, "bill", sensitive=True),
    "department_general_merchandise": Category(500, 3_500, "gift"),
    "digital_media_games": Category(350, 1_200, "leisure", 180),
    "diy_garden_home_improvement": Category(200, 4_000, "travel"),
    "education": Category(80, 12_000, "bill"),
    "electronics": Category(150, 9_000, "gift", 60),
    "entertainment_events": Category(200, 4_200, "leisure", 150),
    "fast_food_coffee": Category(1100, 850, "leisure", 60),
    "fines": Category(30, 6_000, "bill", sensitive=True),
    "fuel_ev": Category(450, 4_800),
    "gambling": Category(90, 2_500, "leisure", 300, sensitive=True),
    "gifts_florists": Category(100, 3_000, "gift"),
    "groceries": Category(1500, 3_200),
    "hair_beauty_spa": Category(160, 4_500),
    "health_fitness_clubs": Category(120, 3_800, "bill"),
    "home_furnishing": Category(120, 8_500, "gift"),
    "hotels_lodging": Category(110, 16_000, "travel", 80),
    "household_services": Category(100, 7_000, "bill"),
    "housing_rent_mortgage": Category(110, 95_000, "bill"),
    "insurance": Category(150, 9_500, "bill"),
    "jewellery_luxury": Category(60, 14_000, "gift"),
    "mail_order_subscription": Category(300, 2_800, "gift", 110),
    "medical_dental_optical": Category(160, 6_000, sensitive=True),
    "money_transfers": Category(120, 10_000, night=60),
    "music_instruments": Category(40, 5_500, "gift"),
    "parking_tolls_car_care": Category(300, 900),
    "pets_vet": Category(130, 4_200),
    "pharmacy": Category(250, 1_500, sensitive=True),
    "public_transport": Category(500, 420),
    "pubs_bars": Category(300, 2_100, "leisure", 350, sensitive=True),
    "religion_membership_political": Category(50, 3_000, "bill", sensitive=True),
    "restaurants": Category(600, 3_600, "leisure", 110),
    "savings_investments": Category(80, 20_000, "bill"),
    "second_hand_pawn": Category(60, 2_000),
    "sporting_goods": Category(110, 5_000, "travel"),
    "stationery": Category(80, 1_400),
    "sweets_bakery": Category(200, 700),
    "taxes_government": Category(60, 11_000, "bill"),
    "taxi_ride_hailing": Category(250, 1_700, "leisure", 300),
    "telecom_internet_tv": Category(250, 4_500, "bill"),
    "toys_hobbies_crafts": Category(130, 3_000, "gift"),
    "travel_agencies_cruises": Category(60, 30_000, "travel"),
    "utilities": Category(200, 8_000, "bill"),
    "vehicles": Category(50, 25_000),
}
"""The 55 spend categories, ascending."""

# Weights of the months, January first, and of the days of the week, Monday first.
CALENDARS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "plain": ((9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 11, 13), (10, 10, 10, 10, 12, 14, 8)),
    "gift": ((7, 7, 8, 8, 9, 9, 8, 8, 9, 10, 15, 28), (9, 9, 9, 10, 13, 18, 9)),
    "travel": ((6, 7, 8, 10, 13, 16, 19, 18, 11, 8, 6, 8), (10, 10, 10, 10, 12, 11, 9)),
    "leisure": ((9, 9, 9, 10, 10, 11, 11, 11, 10, 10, 10, 13), (7, 7, 8, 10, 17, 20, 12)),
    "bill": ((11, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10), (13, 12, 12, 12, 12, 3, 2)),
}
"""How the transactions of a category spread over the year and the week."""

# Loadings before the scale of each trait. Pubs, gambling and fines are sensitive: who leaves them out loses a little.
_LOADINGS: dict[str, dict[str, float]] = {
    "openness": {
        "airlines": 1.0, "books_news": 1.0, "art_antiques": 0.7, "entertainment_events": 0.8, "education": 0.6,
        "hotels_lodging": 0.6, "fuel_ev": -0.8, "groceries": -0.5,
    },
    "conscientiousness": {
        "savings_investments": 0.9, "health_fitness_clubs": 0.9, "insurance": 0.9, "housing_rent_mortgage": 0.6,
        "pubs_bars": -0.8, "fast_food_coffee": -0.8, "taxi_ride_hailing": -0.6, "digital_media_games": -0.6,
    },
    "extraversion": {
        "restaurants": 1.0, "pubs_bars": 1.0, "entertainment_events": 0.8, "clothing_shoes": 0.6,
        "taxi_ride_hailing": 0.6, "insurance": -0.7, "accounting_tax_legal": -0.5,
        "diy_garden_home_improvement": -0.6,
    },
    "agreeableness": {
        "charity_donations": 1.0, "pets_vet": 0.8, "gifts_florists": 0.8, "children_childcare": 0.7,
        "electronics": -0.6, "parking_tolls_car_care": -0.6, "department_general_merchandise": 0.5,
    },
    "neuroticism": {
        "housing_rent_mortgage": -0.9, "stationery": -0.6, "hotels_lodging": -0.7, "mail_order_subscription": 0.9,
        "sweets_bakery": 0.8, "public_transport": 0.7, "restaurants": -0.6, "gambling": 0.7, "fines": 0.6,
    },
}  # fmt: skip
# Found by iteration, so that the model gives PUBLISHED.
_SCALE = {
    "openness": 0.0767,
    "conscientiousness": 0.0795,
    "extraversion": 0.1062,
    "agreeableness": 0.0781,
    "neuroticism": 0.0974,
}

_NODES = 41


def names(*, sensitive: bool = True) -> tuple[str, ...]:
    """The categories, ascending; without the sensitive ones if these do not count."""
    return tuple(name for name, about in CATEGORIES.items() if sensitive or not about.sensitive)


def shares() -> Float64:
    """Share of each category in the transactions of the population, about, shape (55,)."""
    counts = np.array([about.share for about in CATEGORIES.values()], np.int64)
    return counts.astype(np.float64) / float(counts.sum())


def loadings(effect: float = 1.0) -> Float64:
    """Change of the log propensity of each category with a standard deviation of each trait, shape (55, 5).

    Parameters
    ----------
    effect : float, default 1.0
        Times the published size.

    Raises
    ------
    InputError
        The effect is negative, or leaves no room for tastes of one's own.
    """
    if not 0.0 <= effect <= 5.0:
        raise InputError(f"effect={effect} is not in 0 .. 5; 1 is the published size, 0 plants nothing")
    table = np.zeros((len(CATEGORIES), len(TRAITS)))
    for column, trait in enumerate(TRAITS):
        for row, name in enumerate(CATEGORIES):
            table[row, column] = _LOADINGS[trait].get(name, 0.0) * _SCALE[trait] * effect
    return table


def own_spread(planted: Float64) -> Float64:
    """Standard deviation of the own taste for each category: what the planted part leaves of :data:`SPREAD`."""
    variance = np.zeros(len(planted))
    for column in range(planted.shape[1]):
        variance = variance + planted[:, column] * planted[:, column]
    return np.sqrt(SPREAD * SPREAD - variance)


def best_attainable(
    transactions: int = 200, *, effect: float = 1.0, a: float = 5.0, sensitive: bool = False
) -> dict[str, float]:
    """Correlation of the best linear predictor of each trait with the trait, computed from the planted model.

    Parameters
    ----------
    transactions : int, default 200
        Of each customer, sensitive ones included.
    effect : float, default 1.0
        As given to :func:`gpuseg.datasets.make_personality`.
    a : float, default 5.0
        Smoothing of the over-index: pseudo-transactions of the population.
    sensitive : bool, default False
        Whether sensitive categories count.

    Returns
    -------
    dict of str to float
        For each trait, of all linear functions of the log over-index of all categories, the largest correlation.

    Raises
    ------
    InputError
        No transactions, or the effect is out of range.

    Notes
    -----
    With C the covariance of the features and c their covariance with the trait it is sqrt(c' C^-1 c). Variances are
    exact for a binomial count whose log propensity is normal (Gauss-Hermite); covariances are of first order in the
    normal part, after Stein's lemma, and the sum of the propensities is linearised. Against a regression on 200,000
    made-up customers it is within 2 %.

    Examples
    --------
    >>> {trait: round(r, 2) for trait, r in best_attainable().items()} == PUBLISHED
    True
    """
    _, _, to_trait, covariance = _feature_moments(transactions, effect, a, sensitive)
    explained = (to_trait * np.linalg.solve(covariance, to_trait)).sum(axis=0)
    return {trait: float(np.sqrt(r2)) for trait, r2 in zip(TRAITS, explained, strict=True)}


def feature_correlations(
    transactions: int = 200, *, effect: float = 1.0, a: float = 5.0, sensitive: bool = False
) -> tuple[tuple[str, ...], Float64]:
    """Correlation of the log over-index of each category with each trait, computed from the planted model.

    Parameters
    ----------
    transactions, effect, a, sensitive : as in :func:`best_attainable`
        Count, size of the effect, smoothing, and whether sensitive categories count.

    Returns
    -------
    names : tuple of str
        The categories.
    correlations : ndarray of float64, shape (len(names), 5)
        Zero only where nothing was planted and nothing is crowded out.
    """
    kept, root, to_trait, _ = _feature_moments(transactions, effect, a, sensitive)
    return kept, to_trait / root[:, None]


def _feature_moments(
    transactions: int, effect: float, a: float, sensitive: bool
) -> tuple[tuple[str, ...], Float64, Float64, Float64]:
    """Names, standard deviations, covariances with the traits (C, 5) and among each other (C, C) of the features."""
    if transactions < 1:
        raise InputError(f"transactions={transactions}: a customer has at least 1")
    kept = names(sensitive=sensitive)
    use = np.isin(np.array(list(CATEGORIES)), np.array(kept))
    share, planted = shares()[use], loadings(effect)[use]
    own = own_spread(loadings(effect))[use]
    counted = float(share.sum())
    count = max(round(transactions * counted), 1)
    share = share / counted
    # log propensity - log of their sum, to first order: both normal parts of the category less the weighted mean of all
    centre = np.eye(len(share)) - share[None, :]
    loading = centre @ planted
    normal = centre @ (planted @ planted.T + np.diag(own * own)) @ centre.T
    slope, variance = _logged_counts(share, np.sqrt(np.diag(normal)), count, a)
    to_trait = slope[:, None] * loading
    covariance = (slope[:, None] * slope[None, :]) * (normal - 1.0 / count)
    np.fill_diagonal(covariance, variance)
    return kept, np.sqrt(variance), to_trait, covariance


def _logged_counts(share: Float64, spread: Float64, count: int, a: float) -> tuple[Float64, Float64]:
    """Mean slope of E ln(n + a b) in the log propensity, and its variance, for n binomial, shape (C,) each."""
    from scipy.stats import binom

    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    seen = np.arange(count + 1)
    slope, variance = np.empty(len(share)), np.empty(len(share))
    for row, (b, s) in enumerate(zip(share, spread, strict=True)):
        chance = np.minimum(b * np.exp(nodes * s - s * s / 2.0), 0.999)
        pmf = binom.pmf(seen[None, :], count, chance[:, None])
        logs = np.log(seen + a * b)
        first, second = pmf @ logs, pmf @ (logs * logs)
        mean = float(weights @ first)
        variance[row] = float(weights @ second) - mean * mean
        slope[row] = float(weights @ (first * nodes)) / s  # Stein: E f' = E[f z] / s
    return slope, variance
