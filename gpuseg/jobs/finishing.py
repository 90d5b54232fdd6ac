"""The end of a run (jobs; called by run and demo): what it says, and its folder, published while nobody is erased."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gpuseg.insight.findings import findings, not_placed
from gpuseg.insight.words import Wording
from gpuseg.jobs.building import count_unplaced
from gpuseg.jobs.erasing.job_list import publishing
from gpuseg.jobs.erasing.suppression import SUPPRESSED, Suppression
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.pipeline import Segmentation
from gpuseg.jobs.reporting import Words, report_of
from gpuseg.jobs.stages import Stages
from gpuseg.jobs.writing import REPORT, customers_of, run_id_of, write_manifest, write_report, write_tables


@dataclass(frozen=True)
class RunResult:
    """What a run made and found.

    Parameters
    ----------
    folder : Path
        The result folder.
    findings : tuple of str
        Two or three sentences.
    """

    folder: Path
    findings: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.folder / REPORT

    @property
    def summary(self) -> str:
        """The findings and the path of the report, a line each."""
        return "\n".join([*self.findings, f"Report: {self.report}"])


@dataclass(frozen=True)
class Occasion:
    """What a run is called and what its report asks.

    Parameters
    ----------
    job : str
        Name of the job.
    words : Words
        What the report asks.
    source : str
        Whose records these are.
    wording : Wording
        What this business calls its things.
    started : datetime
        When the run began, in UTC.
    consent : mapping
        What is known of consent.
    """

    job: str
    words: Words
    source: str
    wording: Wording
    started: datetime
    consent: Mapping[str, Any]


def write_run(
    folder: RunFolder,
    found: Segmentation,
    occasion: Occasion,
    stages: Stages,
    listed: Path,
    erased: Suppression,
    until_published: ExitStack,
) -> tuple[str, ...]:
    """Write every file of a run; the manifest comes last.

    Parameters
    ----------
    folder : RunFolder
        Where.
    found : Segmentation
        What was found.
    occasion : Occasion
        Names and words.
    stages : Stages
        Told of the writing.
    listed : Path
        Folder of the job's list of erased customers.
    erased : Suppression
        Who was left out.
    until_published : ExitStack
        Holds the list from here until the folder is published: nobody is erased between.

    Returns
    -------
    tuple of str
        The findings.

    Raises
    ------
    OutputError
        A file cannot be written, or a customer was erased while the run computed.
    """
    said = findings(
        found.profiles,
        found.names,
        found.certainty,
        occasion.wording,
        found.answer,
        found.withheld,
        not_placed(count_unplaced(found.unplaced), occasion.wording, found.settings.min_cell),
    )
    report = report_of(found, occasion.words, occasion.source, occasion.started, occasion.wording)
    carried = until_published.enter_context(publishing(listed, erased, customers_of(found)))
    with stages.stage("write results") as stage:
        if carried:
            folder.write_bytes(SUPPRESSED, carried.to_bytes())
        write_tables(folder, found, run_id_of(occasion.job, found))
        write_report(folder, found, report)
        stage.add_rows(found.profiles.n_customers)
    write_manifest(folder, occasion.job, found, report, stages, said, occasion.consent)
    return said
