"""The section of a job file that declares message groups (jobs, called by job_file)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gpuseg.insight.styles import STYLES
from gpuseg.jobs.declared.job_problems import nearest, refuse
from gpuseg.jobs.declared.job_sections import Day, Section, Text
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.use_limits import require_allowed

USUAL_MARGIN = {"styles": 0.03, "personality": 3.0}
"""Points by which another group has to be nearer: styles go from 0 to 1, scores have a spread of 10 around 50."""
USUAL_EVIDENCE = {"styles": 10.0, "personality": 20.0}
"""Baskets, or transactions, below which nobody is put in a group by scores."""

Score = Annotated[float, Field(allow_inf_nan=False)]
Bounds = tuple[Score | None, Score | None]


class Learned(Section):
    """Groups that are found among the scores, and fixed from then on."""

    groups: Annotated[int, Field(ge=2, le=20)] = Field(description="How many.")
    of: tuple[Text, ...] | None = Field(
        None, description="Styles, or traits, to learn from; by default all that may choose a message."
    )
    names: tuple[Text, ...] | None = Field(
        None, description="What they are called, in ascending order of their centres."
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.names is not None and len(self.names) != self.groups:
            refuse([f"names has {len(self.names)} names for {self.groups} groups"])
        return self

    def called(self) -> tuple[str, ...]:
        """Their names."""
        return self.names or tuple(f"group {number + 1}" for number in range(self.groups))


class Messages(Section):
    """Which message each customer gets: one of thresholds, centres and learned says by what."""

    by: Literal["styles", "personality"] = Field(
        "styles",
        description="What chooses: spending styles (columns of styles.parquet), or scores, which need personality.",
    )
    thresholds: dict[Text, dict[Text, Bounds]] | None = Field(
        None, description="Group, style, and [lowest, highest]; null for no bound."
    )
    centres: dict[Text, dict[Text, Score]] | None = Field(
        None, description="Group, style, and the score of its centre; all groups of the same styles."
    )
    learned: Learned | None = Field(None, description="How many groups are to be found among the scores.")
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Points by which another group has to be nearer before a customer moves: by default 0.03 of "
        "styles, 3 of scores.",
    )
    review: Literal["monthly", "quarterly", "yearly"] | tuple[Day, ...] = Field(
        "monthly",
        description="The days on which groups may change: the first of each month, quarter or year, or a list.",
    )
    fallback: Text = Field(
        "everyone", description="Group of those whose scores cannot be used, and of whom no bounds fit."
    )
    least_evidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Baskets (of scores: transactions) below which scores choose nothing: by default 10, or 20.",
    )
    modules: Text | None = Field(
        None,
        description="JSON file with style, tone and language of the message of each group and the fallback.",
    )
    opt_in: dict[Text, Text] = Field(
        default_factory=dict,
        description="Barred traits and sensitive categories that may choose all the same, each with its purpose.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        ways = [name for name in ("thresholds", "centres", "learned") if getattr(self, name) is not None]
        if len(ways) != 1:
            refuse(["say one of thresholds, centres and learned: what the groups go by"])
        refuse(list(self._unknown_styles()))
        groups = self.declared()  # an InputError is a ValueError: pydantic lists it
        if groups is None:
            assert self.learned is not None
            require_allowed(self.learned.of or (), self.opt_in)
            if self.fallback in self.learned.called():
                refuse([f"fallback: {self.fallback!r} is a group too; name each once"])
        return self

    def _unknown_styles(self) -> Any:
        if self.by != "styles":
            return
        known = [style.name for style in STYLES]
        for name in dict.fromkeys(self.asked()):
            if name not in known:
                yield f"there is no style {name!r}; {nearest(name, known)}"

    def asked(self) -> tuple[str, ...]:
        """Styles or traits that the groups name."""
        given: Mapping[str, Mapping[str, Any]] = self.thresholds or self.centres or {}
        named = [name for asked in given.values() for name in asked]
        return (*named, *(self.learned.of or () if self.learned else ()))

    def names(self) -> tuple[str, ...]:
        """The groups, then the fallback."""
        given = self.learned.called() if self.learned else tuple(self.thresholds or self.centres or {})
        return (*given, self.fallback)

    def options(self) -> dict[str, Any]:
        """What groups of every kind are made with."""
        return {
            "review": self.review,
            "opt_in": self.opt_in,
            "margin": USUAL_MARGIN[self.by] if self.margin is None else self.margin,
            "fallback": self.fallback,
            "least_evidence": USUAL_EVIDENCE[self.by] if self.least_evidence is None else self.least_evidence,
        }

    def declared(self) -> MessageGroups | None:
        """The groups; None where they are to be learned.

        Raises
        ------
        InputError
            Names the group and what is wrong with it.
        """
        if self.thresholds is not None:
            return MessageGroups.by_thresholds(self.thresholds, **self.options())
        return None if self.centres is None else MessageGroups.by_centres(self.centres, **self.options())
