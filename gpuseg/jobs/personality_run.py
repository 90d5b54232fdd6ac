"""Personality in a run (jobs; the pipeline calls it): the traits of every customer, from records that count."""

from __future__ import annotations

import datetime as dt

from gpuseg.errors import ContractError, InputError, SourceError
from gpuseg.insight.traits import Traits, estimated_traits
from gpuseg.jobs.kept.runs import Run
from gpuseg.jobs.personality_plan import ToScore, up_to
from gpuseg.personality.measurable import measurable_at_most
from gpuseg.personality.reference import Reference
from gpuseg.personality.spend_personality import SpendPersonality

PERSONALITY = "personality.parquet"
"""File of a run: the estimated traits of every customer."""
PERSONALITY_FACTS = "personality.json"
"""File of a run: what the estimates rest on, what they are for and what they are not for."""
PERSONALITY_REFERENCE = "personality_reference.json"
"""File of a run: what scores are relative to."""


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
    kept = _keep(model, to_score.earlier)
    return estimated_traits(
        model,
        purpose=plan.purpose,
        legal_basis=plan.legal_basis,
        opt_in=plan.opt_in,
        kept=kept,
        at_most=measurable_at_most(model.weights_, model.state_.rule.categories.categories),
    )


def _keep(model: SpendPersonality, earlier: Reference | None) -> bool:
    """Go on with an earlier reference, if it was made by the same rule: then nobody moves without acting."""
    new = model.reference_
    if earlier is None or _rule(earlier) != _rule(new):
        return False
    model.reference_, model.measurability_ = earlier, earlier.measurability
    return True


def _rule(reference: Reference) -> tuple[object, ...]:
    return (
        reference.categories,
        reference.weights_digest,
        reference.decay_digest,
        reference.smoothing,
        reference.shrinkage,
    )


def earlier_reference(run: Run) -> Reference | None:
    """What the scores of an earlier run are relative to, if it has any.

    Parameters
    ----------
    run : Run
        The run.

    Raises
    ------
    SourceError
        The file is damaged, or of another contract.
    """
    if not run.has(PERSONALITY_REFERENCE):
        return None
    try:
        return Reference.from_json(run.read(PERSONALITY_REFERENCE).decode("utf-8", "replace"))
    except (ContractError, InputError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{run.path / PERSONALITY_REFERENCE}: {error}; or run without --refresh") from error
