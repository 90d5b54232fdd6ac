"""Personality in a run (jobs; the pipeline calls it): the traits of every customer, from records that count."""

from __future__ import annotations

import datetime as dt

from gpuseg.insight.traits import Traits, estimated_traits
from gpuseg.jobs.personality_plan import ToScore, up_to
from gpuseg.personality.measurable import measurable_at_most

PERSONALITY = "personality.parquet"
"""File of a run: the estimated traits of every customer."""
PERSONALITY_FACTS = "personality.json"
"""File of a run: what the estimates rest on, what they are for and what they are not for."""


def score_traits(to_score: ToScore, last_day: dt.date) -> Traits:
    """Estimate the traits of every customer.

    Parameters
    ----------
    to_score : ToScore
        Whom to score, and with what.
    last_day : date
        The last local day that counts: what comes later may be what a decision is judged by.

    Returns
    -------
    Traits

    Raises
    ------
    InputError
        The records cannot be used.
    TooFewRowsError
        Nobody bought in a mapped category.
    """
    plan, model = to_score.plan, to_score.model
    model.fit(up_to(to_score.tx, last_day))
    return estimated_traits(
        model,
        purpose=plan.purpose,
        legal_basis=plan.legal_basis,
        opt_in=plan.opt_in,
        at_most=measurable_at_most(model.weights_, model.state_.rule.categories.categories),
    )
