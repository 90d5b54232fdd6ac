"""The manifest: strict JSON, every field, the weakest promise of its stages."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

import gpuseg
from gpuseg.core.promise import CONTRACT, Promise
from gpuseg.jobs.manifest import FORMAT, Manifest, Stage
from gpuseg.jobs.output import OutputFile

MANIFEST = Manifest(
    job="demo",
    started=datetime(2024, 5, 6, 7, 8, 9, 123, tzinfo=UTC),
    input={"where": "a table", "fingerprint": "ab"},
    parameters={"seed": 0},
    engine="cpu (asked for)",
    placement="threads",
    counts={"rows": 3},
    stages=(Stage("read", Promise.EXACT, 3, 0.12345),),
    files=(OutputFile("segments.parquet", "00", 12, holds_customer_ids=True),),
    findings=("Ein Fund: 3 Häuser.",),
)


def test_the_record():
    record = json.loads(MANIFEST.to_json())
    assert record["format"] == FORMAT == 1
    assert (record["gpuseg"], record["contract"], record["promise"]) == (
        gpuseg.__version__,
        CONTRACT,
        "exact",
    )
    assert record["started"] == "2024-05-06T07:08:09Z"
    assert record["stages"] == [{"name": "read", "promise": "exact", "rows": 3, "seconds": 0.123}]
    assert record["files"] == [
        {"name": "segments.parquet", "sha256": "00", "size": 12, "holds_customer_ids": True}
    ]
    assert record["libraries"]["numpy"] == np.__version__
    assert record["findings"] == ["Ein Fund: 3 Häuser."]
    assert list(record)[-1] == "files"


def test_a_repeatable_stage_makes_the_run_repeatable():
    stages = (*MANIFEST.stages, Stage("tree", Promise.REPEATABLE, 0, 1.0))
    assert json.loads(replace(MANIFEST, stages=stages).to_json())["promise"] == "repeatable"


def test_a_figure_that_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        replace(MANIFEST, counts={"rows": float("nan")}).to_json()
