"""How far a customer's trait may be from the score (room ``personality``; scoring calls it).

Two things keep a score from being the trait: it rests on so many transactions (sampling error), and spending is only
loosely tied to the trait however many there are (the validity ceiling: r of about .15 for the Big Five). The second is
far larger.

Derivation. On the scale of the reference let the trait be tau ~ N(0, 1), and let z* be where a customer's spending
would stand after endless transactions, with corr(tau, z*) = r. After n transactions z is seen; its reliability, the
squared correlation with z*, is rho = n / (n + kappa): that is what kappa stands for, and the factor by which the score
is shrunk. Given z* the sampling error knows nothing of the trait, so corr(tau, z) = r sqrt(rho); for normal variables

    tau | z  ~  N(r sqrt(rho) z,  1 - r**2 rho).

The interval is 50 + 10 (r sqrt(rho) z -+ u sqrt(1 - r**2 rho)), u the normal quantile. Without transactions, or with
r = 0, that is what is known of anybody, 50 -+ 10 u; with r = 1 and n without end it closes on the score. It holds for
customers of every score, and not only on average: an extreme score is mostly error, so the centre lies near 50. As the
score itself stands for spending, an extreme one may lie outside; the interval is then widened to hold it, and covers
more than its level (at r = .15 and many transactions: .806 for .80).

``tests/personality/test_intervals.py`` checks the coverage on simulated customers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

Float64 = npt.NDArray[np.float64]

VALIDITY = 0.15
"""Correlation of spend and trait in the literature (Gladstone, Matz & Lemaire 2019, N = 2,193): 2 % of variance."""
LEVELS = {
    0.5: 0.6744897501960817,
    0.8: 1.2815515655446004,
    0.9: 1.6448536269514722,
    0.95: 1.959963984540054,
    0.99: 2.5758293035489004,
}
"""Levels an interval may have, each with its two-sided normal quantile."""


def intervals(
    stands: Float64, evidence: Float64, shrinkage: float, validity: Float64, level: float
) -> tuple[Float64, Float64]:
    """Ends of the intervals of the traits, on the scale of the scores.

    Parameters
    ----------
    stands : ndarray of float64, shape (T, n)
        z n / (n + kappa); the score is 50 + 10 times it.
    evidence : ndarray of float64, shape (n,)
        Transactions n.
    shrinkage : float
        kappa.
    validity : ndarray of float64, shape (T,)
        r of each trait.
    level : float
        One of :data:`LEVELS`.

    Returns
    -------
    low, high : ndarray of float64, shape (T, n)
        Around the score: ``low <= score <= high``.
    """
    reliability = evidence / (evidence + shrinkage)
    root = np.sqrt(reliability)
    # r sqrt(rho) z = r z rho / sqrt(rho); without transactions both are 0.
    centre = validity[:, None] * (stands / np.where(root > 0.0, root, 1.0))
    half = quantile(level) * np.sqrt(1.0 - (validity * validity)[:, None] * reliability)
    low, high = np.minimum(centre - half, stands), np.maximum(centre + half, stands)
    return 50.0 + 10.0 * low, 50.0 + 10.0 * high


def quantile(level: float) -> float:
    """Two-sided normal quantile of a level.

    Raises
    ------
    InputError
        It is none of :data:`LEVELS`.
    """
    if level not in LEVELS:
        raise InputError(f"level={level!r} is not known; use one of {', '.join(map(str, LEVELS))}")
    return LEVELS[level]


def validities(validity: float | Mapping[str, float], traits: Sequence[str]) -> Float64:
    """Validity of each trait: one for all, or by name, where the others have that of the literature.

    Parameters
    ----------
    validity : float or mapping of str to float
        0 to 1.
    traits : sequence of str
        In the order of the columns.

    Raises
    ------
    InputError
        A value is out of range, or of no trait.
    """
    given = dict.fromkeys(traits, float(validity)) if not isinstance(validity, Mapping) else dict(validity)
    for trait, r in given.items():
        if trait not in traits:
            raise InputError(f"validity names {trait!r}, which is none of {', '.join(traits)}")
        if not 0.0 <= r <= 1.0:
            raise InputError(f"validity of {trait} is {r!r}; give a correlation from 0 to 1")
    return np.array([given.get(trait, VALIDITY) for trait in traits], np.float64)
