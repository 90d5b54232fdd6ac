"""The report of a run (jobs; for the steps of a job): its words, and everything that the run found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gpuseg.insight.report import Report
from gpuseg.insight.words import Wording
from gpuseg.jobs.building import count_unplaced
from gpuseg.jobs.pipeline import Segmentation


@dataclass(frozen=True)
class Words:
    """What a report asks.

    Parameters
    ----------
    title : str
        The question, short.
    question : str
        The same in one or two sentences.
    decision : str or None
        The decision that the segments serve; None: a generic segmentation.
    """

    title: str
    question: str
    decision: str | None


def report_of(found: Segmentation, words: Words, source: str, started: datetime, wording: Wording) -> Report:
    """All that the page of a run is made of.

    Parameters
    ----------
    found : Segmentation
        What the run found.
    words : Words
        What it asks.
    source : str
        Whose records these are.
    started : datetime
        When the run began, in UTC.
    wording : Wording
        What this business calls its things.
    """
    return Report(
        title=words.title,
        question=words.question,
        decision=words.decision,
        source=source,
        started=started,
        wording=wording,
        tx=found.tx,
        facts=found.facts,
        feature_names=found.feature_names,
        seed=found.settings.seed,
        choice=found.choice,
        profiles=found.profiles,
        names=found.names,
        certainty=found.certainty,
        retention=found.retention,
        clusters=found.clusters,
        answer=found.answer,
        alternatives=found.alternatives,
        outliers=found.outliers,
        min_cell=found.settings.min_cell,
        styles=found.style_profiles,
        unplaced=count_unplaced(found.unplaced),
        kept_out=tuple(found.kept_out),
        opted_in=found.settings.opt_in,
        opt_in_purpose=found.settings.opt_in_purpose,
        messages=found.messages,
        traits=found.traits,
    )
