"""The files of a run (jobs; for the steps of a job): tables, report and, last, the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gpuseg.insight.report import Report, render_report
from gpuseg.jobs.manifest import Manifest
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.pipeline import FALLBACK_ID, Segmentation
from gpuseg.jobs.stages import Stages

REPORT = "report.html"


def write_tables(folder: RunFolder, found: Segmentation) -> None:
    """Write segments, profiles and cohorts; only the first holds customers' keys."""
    folder.write_table("segments.parquet", found.segments_table(), holds_customer_ids=True)
    folder.write_table("profiles.parquet", found.profiles.to_table(found.names))
    folder.write_table("cohorts.parquet", found.retention.to_arrow())


def write_report(folder: RunFolder, report: Report) -> None:
    """Write the page."""
    folder.write_text(REPORT, render_report(report))


def write_manifest(
    folder: RunFolder, job: str, found: Segmentation, report: Report, stages: Stages, findings: Sequence[str]
) -> None:
    """Write the manifest: the folder is whole."""
    manifest = Manifest(
        job=job,
        started=report.started,
        input={"where": report.source, "fingerprint": found.tx.fingerprint},
        parameters=_parameters(found),
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
        "scaling": "z-score",
        "k": found.choice.k,
        "k_rule": found.choice.reason,
    }


def _counts(found: Segmentation) -> Mapping[str, Any]:
    audit = found.tx.audit
    assert audit is not None  # files and Arrow tables are read at once
    retention = found.retention
    return {
        "rows_read": audit.n_rows,
        "rows_left_out": audit.n_rejected,
        "rows_left_out_by_reason": audit.rejects(),
        "rows_noted": found.tx.notes(),
        "rows_after_as_of": found.facts["n_records_after_as_of"],
        "customers": found.facts["n_customers"],
        "customers_in_segments": found.profiles.n_customers,
        "customers_without_purchase": found.facts["n_without_purchase"],
        "customers_with_neutral_regularity": found.facts["n_neutral_regularity"],
        "fallback_segment": FALLBACK_ID,
        "segments": {
            str(segment_id): {
                "name": found.names[segment_id],
                "customers": found.profiles.size(segment_id),
                "cluster": cluster,
            }
            for segment_id, cluster in zip(found.profiles.segment_ids, found.clusters, strict=True)
        },
        "cohorts": {
            "customers_followed": retention.n_in_cohorts,
            "customers_already": retention.n_already_customers,
            "customers_in_incomplete_period": retention.n_incomplete_cohort,
        },
    }
