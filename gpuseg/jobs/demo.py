"""The demo (jobs; for ``gpuseg demo``): a year of real household transactions to described segments and a report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpuseg import datasets
from gpuseg.customers.transactions import read_transactions
from gpuseg.insight.findings import findings
from gpuseg.insight.report import Report
from gpuseg.insight.words import Wording
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.pipeline import Segmentation, Settings, segment_customers
from gpuseg.jobs.progress import Progress
from gpuseg.jobs.stages import Stages
from gpuseg.jobs.writing import REPORT, write_manifest, write_report, write_tables

SOURCE = "The Complete Journey: households of a grocery chain"
SETTINGS = Settings(n_categories=6, coverage=("2017-01-01", "2017-12-31"), lookback=31)
"""The six largest departments have at least a twentieth of a household's spend each; a share of a smaller one is mostly
zeros, and its few heavy buyers would become a segment of their own. The records cover 2017. They begin in January, and
80 % of the households with them: those are no acquisition cohort."""

_DEPARTMENTS = {
    "DELI": "deli",
    "DRUG GM": "drugstore and general goods",
    "FUEL": "fuel",
    "GROCERY": "grocery",
    "MEAT": "meat",
    "MEAT-PCKGD": "packaged meat",
    "MISCELLANEOUS": "miscellaneous",
    "PRODUCE": "produce",
}
_WORDING = Wording("household", "households", "department", "departments", "$", _DEPARTMENTS)


@dataclass(frozen=True)
class DemoResult:
    """What the demo made and found.

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


def run_demo(out: Path | None, progress: Progress) -> DemoResult:
    """Segment the households of the Complete Journey and write the results.

    Parameters
    ----------
    out : Path or None
        New folder for the results; None for ``runs/demo-<UTC time>`` under the working directory.
    progress : Progress
        Told of every stage.

    Returns
    -------
    DemoResult
        Where the results are and what they say.

    Raises
    ------
    InputError
        The demo data are not installed or cannot be used.
    OutputError
        The results cannot be written; nothing is left behind.
    """
    started = datetime.now(UTC)
    stages = Stages(progress)
    with RunFolder(out, "demo", started) as folder:
        with stages.stage("read transactions") as stage:
            roles: dict[str, Any] = dict(datasets.COMPLETE_JOURNEY_ROLES)
            tx = read_transactions(datasets.complete_journey(), **roles)
            stage.add_rows(tx.n_rows or 0)
        found = segment_customers(tx, SETTINGS, stages, _WORDING)
        said = findings(found.profiles, found.names, found.certainty, _WORDING)
        report = _report(found, started)
        with stages.stage("write results") as stage:
            write_tables(folder, found)
            write_report(folder, report)
            stage.add_rows(found.profiles.n_customers)
        write_manifest(folder, "demo", found, report, stages, said)
    return DemoResult(folder.path, said)


def _report(found: Segmentation, started: datetime) -> Report:
    return Report(
        title="Which households shop alike?",
        question=(
            "Groups of households that behave alike: how often and how regularly they come, how much and what they "
            "buy, how far on discount."
        ),
        decision=None,
        source=SOURCE,
        started=started,
        wording=_WORDING,
        tx=found.tx,
        facts=found.facts,
        feature_names=found.feature_names,
        seed=found.settings.seed,
        choice=found.choice,
        profiles=found.profiles,
        names=found.names,
        certainty=found.certainty,
        retention=found.retention,
    )
