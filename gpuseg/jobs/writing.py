"""The files of a run (jobs; for the steps of a job): tables, model, report and, last, the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyarrow as pa

from gpuseg import __version__
from gpuseg.core.promise import CONTRACT
from gpuseg.insight.model import FALLBACK_ID
from gpuseg.insight.model_files import FOLDER, model_contents
from gpuseg.insight.report import Report, render_report
from gpuseg.insight.withheld import cohorts_table
from gpuseg.jobs.building import count_unplaced
from gpuseg.jobs.erasing.suppression import SUPPRESSED, WHAT_IT_IS
from gpuseg.jobs.kept.formats import table_bytes
from gpuseg.jobs.kept.names import review_bytes
from gpuseg.jobs.kept.renaming import PAGE, REVIEW, WORKBOOK
from gpuseg.jobs.kept.runs import REJECTS
from gpuseg.jobs.manifest import Manifest
from gpuseg.jobs.message_run import MESSAGE_GROUPS, MESSAGES
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.personality_run import PERSONALITY, PERSONALITY_FACTS, PERSONALITY_REFERENCE
from gpuseg.jobs.pipeline import Segmentation
from gpuseg.jobs.quality_file import quality_json
from gpuseg.jobs.stages import Stages
from gpuseg.jobs.workbook import profiles_workbook
from gpuseg.personality.use_limits import NOT_FOR

REPORT = PAGE
README = "README.txt"
_LINES = {
    "segments.parquet": "the segment of every customer, with margin and silhouettes",
    "segments.csv": "the same, for spreadsheets (UTF-8 with a byte order mark)",
    "features.parquet": "figures of every customer in original units, for gpuseg show",
    "styles.parquet": "spending styles of every customer, with intervals",
    MESSAGES: f"the message group of every customer, second best, reason, and how to speak to them. {NOT_FOR}",
    MESSAGE_GROUPS: "the message groups themselves, for gpuseg run --refresh",
    PERSONALITY: f"estimated traits of every customer, with intervals and what they rest on. {NOT_FOR}",
    PERSONALITY_FACTS: f"which traits can be measured on these data, what the estimates are for. {NOT_FOR}",
    PERSONALITY_REFERENCE: "what those estimates are relative to, for gpuseg run --refresh; exact, like quality.json",
    REJECTS: "rows that were left out and can be mended, as they came: file, row and reasons",
    "profiles.parquet": "figures of every segment in original units; what would tell of a small group is empty",
    WORKBOOK: "the same, for spreadsheets",
    "cohorts.parquet": "customers by the period of their first purchase, and who keeps buying; withheld where few",
    "quality.json": "how far to trust the segments: silhouettes, stability, other choices, the outcome; exact, small "
    "groups too: not to be passed round",
    REVIEW: "proposed names with their evidence: change and sign them, then gpuseg names",
    f"{FOLDER}/model.json": "the model: gpuseg assign gives new customers a segment; exact, like quality.json",
    f"{FOLDER}/arrays.safetensors": "the model's centres",
    SUPPRESSED: WHAT_IT_IS,
    REPORT: "the report: open this first",
}


def run_id_of(job: str, found: Segmentation) -> str:
    """What a run is called in its tables: by records, choices and version, so the same answer has the same id.

    Parameters
    ----------
    job : str
        Name of the job.
    found : Segmentation
        What it found.
    """
    made_of = json.dumps([found.tx.fingerprint, _parameters(found), __version__, CONTRACT], sort_keys=True)
    return f"{job}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def write_tables(folder: RunFolder, found: Segmentation, run_id: str) -> None:
    """Write segments, features, styles, messages, profiles, cohorts and the model; profiles and on hold no keys."""
    segments = found.segments_table(run_id)
    folder.write_table("segments.parquet", segments, holds_customer_ids=True)
    folder.write_bytes("segments.csv", table_bytes(segments, "csv"), holds_customer_ids=True)
    folder.write_table("features.parquet", found.summary, holds_customer_ids=True)
    folder.write_table("styles.parquet", found.styles.to_arrow(), holds_customer_ids=True)
    if found.messages is not None:
        folder.write_table(MESSAGES, found.messages.to_arrow(), holds_customer_ids=True)
        folder.write_text(MESSAGE_GROUPS, found.messages.to_json())
    if found.traits is not None:
        folder.write_table(PERSONALITY, found.traits.to_arrow(), holds_customer_ids=True)
        folder.write_text(PERSONALITY_FACTS, found.traits.to_json())
        folder.write_text(PERSONALITY_REFERENCE, found.traits.reference.to_json())
    folder.write_table(REJECTS, found.tx.rejected_rows(), holds_customer_ids=True)
    folder.write_table("profiles.parquet", found.profiles.to_table(found.names, found.withheld))
    folder.write_table("cohorts.parquet", cohorts_table(found.retention, found.settings.min_cell))
    folder.write_text("quality.json", quality_json(found, run_id))
    for name, content in model_contents(found.model).items():
        folder.write_bytes(f"{FOLDER}/{name}", content)


def customers_of(found: Segmentation) -> pa.ChunkedArray:
    """Every customer whose key is in a file of the run, as text: those in segments, and those of rejected rows."""
    customer = found.tx.roles.customer
    keys = [found.summary[customer], found.tx.rejected_rows()[customer]]
    keys += [] if found.traits is None else [found.traits.to_arrow()[customer]]
    return pa.chunked_array(
        [chunk for column in keys for chunk in column.cast(pa.string()).chunks], pa.string()
    )


def write_report(folder: RunFolder, found: Segmentation, report: Report) -> None:
    """Write what people read: the workbook, the names to review, the page, and what each file is."""
    book = profiles_workbook(found.profiles, found.names, found.answer, found.withheld, report.started)
    folder.write_bytes(WORKBOOK, book)
    review = review_bytes(found.profiles, found.names, report.wording.currency, found.withheld)
    folder.write_bytes(REVIEW, review)
    folder.write_text(REPORT, render_report(report))
    folder.write_text(README, _readme(folder, report.started))


def _readme(folder: RunFolder, started: datetime) -> str:
    lines = [f"Files of the run of {started:%Y-%m-%d %H:%M:%S} UTC, made by gpuseg {__version__}.", ""]
    for file in folder.files:
        held = "  [holds customer ids]" if file.holds_customer_ids else ""
        lines.append(f"{file.name}: {_LINES[file.name]}{held}")
    lines.append(
        "manifest.json: parameters, counts, versions and the digest of every file; exact; written last"
    )
    return "\n".join(lines) + "\n"


def write_manifest(
    folder: RunFolder,
    job: str,
    found: Segmentation,
    report: Report,
    stages: Stages,
    findings: Sequence[str],
    consent: Mapping[str, Any] | None = None,
) -> None:
    """Write the manifest, with the consent that the job declares: the folder is whole."""
    manifest = Manifest(
        job=job,
        run_id=run_id_of(job, found),
        started=report.started,
        input={"where": report.source, "fingerprint": found.tx.fingerprint},
        parameters={
            **_parameters(found),
            "consent": None if consent is None else dict(consent),
            "currency": report.wording.currency,
        },
        engine=found.choice.model.engine_,
        placement=found.choice.model.placement_,
        counts=_counts(found),
        stages=stages.ended,
        files=folder.files,
        findings=findings,
    )
    folder.write_text("manifest.json", manifest.to_json())


def _parameters(found: Segmentation) -> Mapping[str, Any]:
    tx = found.tx
    return {
        "roles": tx.roles.declared(),
        "time_zone": tx.time_zone,
        "minor_units": tx.minor_units,
        **asdict(found.settings),
        "as_of": found.facts["as_of"],
        "features": list(found.feature_names),
        "categories": found.facts["categories"],
        "sensitive_kept_out": found.kept_out,
        "scaling": "z-score; a group of category shares weighs as one feature",
        "outcome": _asked(found),
        "k": found.choice.k,
        "k_rule": found.choice.reason,
    }


def _asked(found: Segmentation) -> Mapping[str, Any] | None:
    if found.answer is None:
        return None
    asked = found.answer.asked
    return {
        "did": asked.did,
        "contacted": asked.counted,
        "window": [day.isoformat() for day in asked.outcome.window],
        "validation_window": None
        if asked.validation is None
        else [day.isoformat() for day in asked.validation.window],
        "denominator": found.answer.rates.denominator,
    }


def _consent_counts(found: Segmentation) -> dict[str, int]:
    counts = found.tx.consent
    if counts is None:
        return {}
    return {"customers_without_consent": counts.excluded, "customers_partly_without_consent": counts.partly}


def _counts(found: Segmentation) -> Mapping[str, Any]:
    audit = found.tx.audit
    assert audit is not None  # files and Arrow tables are read at once
    retention = found.retention
    return {
        "rows_read": audit.n_rows,
        "rows_left_out": audit.n_rejected,
        "rows_left_out_by_reason": audit.rejects(),
        "customers_erased_left_out": found.tx.n_erased,
        "rejects": {"rows": found.tx.n_rejected_rows, "written": found.tx.rejected_rows().num_rows},
        **_consent_counts(found),
        "rows_noted": found.tx.notes(),
        "rows_after_as_of": found.facts["n_records_after_as_of"],
        "customers": found.facts["n_customers"],
        "customers_in_segments": found.profiles.n_customers,
        "customers_without_purchase": found.facts["n_without_purchase"],
        "outliers": found.outliers.facts(),
        "customers_not_placed": count_unplaced(found.unplaced),
        "customers_with_changing_attributes": found.facts.get("n_attribute_changes", {}),
        "customers_with_neutral_regularity": found.facts["n_neutral_regularity"],
        "fallback_segment": FALLBACK_ID,
        "segments": {
            str(segment_id): {
                "name": found.names[segment_id],
                "customers": found.profiles.size(segment_id),
                "cluster": cluster,
            }
            for segment_id, cluster in found.clusters.items()
        },
        "cohorts": {
            "customers_followed": retention.n_in_cohorts,
            "customers_already": retention.n_already_customers,
            "customers_in_incomplete_period": retention.n_incomplete_cohort,
        },
        "personality": None if found.traits is None else dict(found.traits.facts),
        "messages": None if found.messages is None else found.messages.assigned.facts(),
    }
