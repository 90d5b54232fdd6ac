"""A job from its file to its folder (jobs; for ``gpuseg run``)."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpuseg.customers.reading.reader import Erased
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.insight.model_files import load_model
from gpuseg.insight.words import Wording
from gpuseg.jobs.customer_table import attribute_rules, read_customers, table_record
from gpuseg.jobs.declared.job_file import JobFile, read_job
from gpuseg.jobs.erasing.job_list import known_to
from gpuseg.jobs.erasing.suppression import load_suppression
from gpuseg.jobs.events import read_asked
from gpuseg.jobs.finishing import Occasion, RunResult, write_run
from gpuseg.jobs.kept.runs import open_run
from gpuseg.jobs.message_plan import MessagePlan, message_plan
from gpuseg.jobs.message_run import earlier_messages
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.personality_plan import PersonalityPlan, ToScore, personality_plan
from gpuseg.jobs.personality_run import earlier_reference
from gpuseg.jobs.pipeline import segment_customers
from gpuseg.jobs.progress import Progress
from gpuseg.jobs.reporting import Words
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.stages import Stages
from gpuseg.personality.reference import Reference

N_BOOT = 20
"""Bootstrap replicates behind the stability of a job's segments."""


def run_job(path: Path, out: Path | None, progress: Progress, refresh: Path | None = None) -> RunResult:
    """Segment the customers of a job and write the results.

    Parameters
    ----------
    path : Path
        The job file.
    out : Path or None
        New folder for the results; None for ``<job>-<UTC time>`` in the job's output folder.
    progress : Progress
        Told of every stage.
    refresh : Path, optional
        Folder of an earlier run: segments that are still there keep their ids and names, customers their message groups
        until a review moves them, and scores of personality stay relative to the same reference.

    Returns
    -------
    RunResult
        Where the results are and what they say.

    Raises
    ------
    InputError
        The job file, its records or the earlier run cannot be used.
    OutputError
        The results cannot be written, or customers were erased while they were computed; nothing is left behind.

    Notes
    -----
    Customers who were erased from any run of the job, or from the earlier run, are left out before anything is
    computed, and counted.
    """
    started = datetime.now(UTC)
    job = read_job(path)
    previous = None if refresh is None else load_model(open_run(refresh).path)
    last = None if refresh is None else open_run(refresh)
    earlier = None if last is None or job.messages is None else earlier_messages(last)
    reference = None if last is None or job.personality is None else earlier_reference(last)
    settings = settings_of(job)
    stages = Stages(progress)
    name, runs = job.job.name, Path(job.locate(job.output.folder))
    erased = load_suppression(runs / name)
    if refresh is not None:
        erased = erased.merged(known_to(open_run(refresh).path))
    who_is_erased = erased.blocked if erased else None
    with ExitStack() as until_published, RunFolder(out, name, started, runs) as folder:
        with stages.stage("read transactions") as stage:
            tx = job.read_records(erased=who_is_erased)
            stage.add_rows(tx.n_rows or 0)
        given = None
        if job.customers is not None:
            with stages.stage("read customers") as stage:
                given = read_customers(job, tx, who_is_erased)
                stage.add_rows(0 if given is None else len(given.keys))
        asked = None
        if job.use_case is not None and job.use_case.outcome is not None:
            with stages.stage("read the outcome") as stage:
                asked = read_asked(job, tx, who_is_erased)
                stage.add_rows(0 if asked is None else len(asked.outcome.happened))
        wording = Wording(**job.words.model_dump())
        to_score = _to_score(job, tx, who_is_erased, reference)
        found = segment_customers(tx, settings, stages, wording, asked, previous, given, earlier, to_score)
        source = Path(job.source.path).name
        occasion = Occasion(name, words_of(job), source, wording, started, job.consent.model_dump())
        said = write_run(folder, found, occasion, stages, runs / name, erased, until_published)
    return RunResult(folder.path, said)


def settings_of(job: JobFile) -> Settings:
    """The choices of a job."""
    case = job.use_case
    used = job.used_roles()
    coverage = job.cohorts.coverage
    return Settings(
        clusters=job.segments.clusters,
        seed=job.segments.seed,
        n_categories=job.features.categories,
        opt_in=job.sensitive.opt_in,
        opt_in_purpose=job.sensitive.purpose,
        describe_only=tuple(role for role, column in used.items() if job.use_of(column) == "describe"),
        attributes=attribute_rules(job),
        attributes_only=job.attributes_only,
        attribute_table=table_record(job),
        as_of=None if job.as_of is None else job.as_of.isoformat(),
        period=job.cohorts.period,
        coverage=None if coverage is None else (coverage[0].isoformat(), coverage[1].isoformat()),
        lookback=job.cohorts.lookback,
        min_size=None if case is None else case.min_size,
        max_share=None if case is None else case.max_share,
        n_boot=N_BOOT,
        outliers=job.outliers.as_rule(),
        min_cell=job.min_cell,
        reading=_reading(job),
        messages=messages_of(job),
        personality=personality_of(job),
    )


def messages_of(job: JobFile) -> MessagePlan | None:
    """The message groups of a job, with their modules.

    Raises
    ------
    SourceError
        The file of message modules cannot be read.
    SchemaError
        It does not fit the groups.
    """
    section = job.messages
    if section is None:
        return None
    return message_plan(section, None if section.modules is None else job.locate(section.modules))


def personality_of(job: JobFile) -> PersonalityPlan | None:
    """What a job declares of personality; None: nobody is scored.

    Raises
    ------
    InputError
        The map of categories or the weights cannot be used.
    """
    return None if job.personality is None else personality_plan(job.personality, job.locate)[0]


def _to_score(
    job: JobFile, tx: Transactions, erased: Erased | None, earlier: Reference | None
) -> ToScore | None:
    """The records with the categories that personality rests on: read again where those are another column."""
    if job.personality is None:
        return None
    plan, model = personality_plan(job.personality, job.locate)
    if plan.column not in {None, tx.roles.category}:
        tx = job.read_records(erased=erased, category=plan.column)
    return ToScore(plan, model, tx, earlier)


def _reading(job: JobFile) -> dict[str, Any]:
    """How files to be assigned are read: as the job's own."""
    csv = job.source.csv
    found: dict[str, Any] = {"naive": job.naive, "on_bad_rows": job.bad_rows, "amount_of": job.amount_of}
    return found if csv is None else found | {"csv": csv.model_dump(mode="json")}


def words_of(job: JobFile) -> Words:
    """What the report of a job asks."""
    customers, case = job.words.customers, job.use_case
    if case is None:
        title = job.job.title or f"Which {customers} behave alike?"
        return Words(title, f"Groups of {customers} that behave alike.", None)
    owner = "" if case.owner is None else f" Decided by: {case.owner}."
    decision = case.decision if case.decision.endswith((".", "?", "!")) else f"{case.decision}."
    return Words(job.job.title or case.decision, case.objective, f"{decision}{owner}")
