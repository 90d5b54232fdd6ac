"""The section of a job file that lets personality be estimated (jobs, called by job_file): off without a purpose."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gpuseg.jobs.declared.job_problems import refuse
from gpuseg.jobs.declared.job_sections import Section, Text
from gpuseg.personality.intervals import quantile
from gpuseg.personality.use_limits import says_something

SHIPPED_MAPS = ("mcc", "complete_journey")
"""Category maps that ship with the package; any other is a file."""


def _known_level(level: float) -> float:
    quantile(level)  # an InputError is a ValueError: pydantic lists it
    return level


class Personality(Section):
    """Estimated traits of each customer: nobody is scored unless purpose and legal_basis are declared."""

    purpose: str | None = Field(None, description="What the scores are for, in words; needed.")
    legal_basis: str | None = Field(
        None, description="What allows them, in words, such as consent of the customers; needed."
    )
    categories: Text = Field(
        "mcc",
        description="What the spend categories mean to the studies: mcc (merchant category codes), complete_journey, "
        "or a CSV file with the columns value and category.",
    )
    column: Text | None = Field(
        None, description="Column with those categories; by default the one that plays the role category."
    )
    weights: Text | None = Field(
        None,
        description="CSV file of what each category says of each trait; by default the shipped evidence.",
    )
    half_life_days: Annotated[float, Field(ge=1 / 24, lt=1e5)] | None = Field(
        None, description="After so many days a transaction counts half; by default it counts for ever."
    )
    refunds: Literal["ignore", "subtract"] = Field(
        "ignore", description="What returns do: nothing, or take a transaction and its money back."
    )
    level: Annotated[float, AfterValidator(_known_level)] = Field(
        0.95, description="Of the intervals: 0.5, 0.8, 0.9, 0.95 or 0.99."
    )
    opt_in: dict[Text, Text] = Field(
        default_factory=dict,
        description="Sensitive kinds or categories that count all the same, each with its purpose.",
    )

    @model_validator(mode="after")
    def _declared(self) -> Self:
        missing = [
            name
            for name, words in (("purpose", 2), ("legal_basis", 1))
            if not says_something(getattr(self, name), words)
        ]
        if missing:
            lacking = " and ".join(missing)
            said = "say in words what the scores are for and what allows them, or leave the section out"
            refuse([f"nobody is scored without {lacking}: {said}"])
        refuse(
            [
                f"opt_in: {name!r} has the purpose {purpose!r}; say in words what it is for"
                for name, purpose in self.opt_in.items()
                if not says_something(purpose)
            ]
        )
        return self
