"""Run folders for the tests of commands: with the least that a run has, and with every optional file."""

from __future__ import annotations

import html
import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg import datasets
from gpuseg.cluster.kmeans import KMeans
from gpuseg.customers.features import customer_state, customer_summary, features
from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.customers.scaling import ExactScaler
from gpuseg.insight.customer_rows import facts_of, recipe_of
from gpuseg.insight.measures import measures_of
from gpuseg.insight.model import SegmentModel, build_model
from gpuseg.insight.model_files import FOLDER, model_contents
from gpuseg.insight.naming import name_segments
from gpuseg.insight.profile import Profiles, profile_segments
from gpuseg.insight.report.named import origin_of_names, placeholders, with_names
from gpuseg.jobs.kept.formats import table_bytes
from gpuseg.jobs.kept.names import review_bytes
from gpuseg.jobs.manifest import Manifest
from gpuseg.jobs.output import RunFolder

STARTED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ROLES = {
    "customer": "customer",
    "time": "time",
    "amount": "amount",
    "basket": "basket",
    "category": "department",
    "discount": "discount",
    "own_label": "own_label",
}
N = 49


@dataclass(frozen=True)
class Small:
    """A small segmentation."""

    records: pa.Table
    built: pa.Table
    segments: pa.Table
    summary: pa.Table
    profiles: Profiles
    names: dict[int, str]
    model: SegmentModel


def records() -> pa.Table:
    """Lines of 48 customers with text ids, and of one who only brought something back."""
    table = datasets.make_transactions(N - 1, seed=3, text_keys=True)[0]
    odd = table.slice(0, 1)
    odd = odd.set_column(odd.column_names.index("customer"), "customer", pa.array(["C99999"]))
    odd = odd.set_column(odd.column_names.index("amount"), "amount", pa.array([-2.5]))
    return pa.concat_tables([table, odd.cast(table.schema)])


@cache
def small(k: int = 4, n_categories: int = 3) -> Small:
    """Segments 1 to k of those customers."""
    lines = records()
    tx = read_transactions(lines, **ROLES, time_zone="UTC")
    state = customer_state(tx)
    built = features(tx, None, n_categories, state=state)
    summary = customer_summary(tx, None, n_categories, state=state)
    scaler = ExactScaler()
    estimator = KMeans(k, random_state=0).fit(scaler.fit_transform(built))
    ids = np.asarray(estimator.labels_) + 1
    placed = summary.filter(pc.is_in(summary["customer"], value_set=built["customer"].combine_chunks()))
    profiles = profile_segments(placed, ids, measures_of(placed.column_names))
    names = name_segments(profiles)
    numbered = [(number, names[number], number - 1) for number in profiles.segment_ids]
    recipe = recipe_of(tx, state, facts_of(built), None)
    model = build_model(estimator, scaler, built, numbered, recipe=recipe)
    return Small(lines, built, model.assign(tx), summary, profiles, names, model)


def _page(names: dict[int, str], *, marked: bool) -> str:
    """A page that says where names stand, or one of an earlier version that does not."""
    if not marked:
        return "".join(f"<li>{html.escape(name)}</li>" for name in names.values())
    places = "".join(f"<li>{place}</li>" for place in placeholders(names).values())
    return with_names(f"<ol>{places}</ol><p>{origin_of_names(waiting=names)}</p>", names)


def _write(folder: Path, kind: str, done: Small, parameters: dict[str, Any]) -> Path:
    with RunFolder(folder, "test", STARTED) as run:
        least = done.segments.select(["customer", "segment_id", "segment_name"])
        full = kind == "full"
        run.write_table("segments.parquet", done.segments if full else least, holds_customer_ids=True)
        run.write_table("profiles.parquet", done.profiles.to_table(done.names))
        run.write_text("report.html", _page(done.names, marked=kind == "full"))
        run.write_text("README.txt", "What is in this folder.")
        if full:
            run.write_bytes("segments.csv", table_bytes(done.segments, "csv"), holds_customer_ids=True)
            run.write_table("features.parquet", done.summary, holds_customer_ids=True)
            run.write_bytes("review.csv", review_bytes(done.profiles, done.names))
            for name, content in model_contents(done.model).items():
                run.write_bytes(f"{FOLDER}/{name}", content)
        counts = {
            "fallback_segment": 0,
            "segments": {str(number): {"name": done.names[number]} for number in done.names},
        }
        manifest = Manifest(
            job="test",
            started=STARTED,
            input={"where": "made up", "fingerprint": "0"},
            parameters={"roles": ROLES, "features": list(done.model.feature_names), **parameters},
            engine="cpu",
            placement="here",
            counts=counts,
            stages=(),
            files=run.files,
            findings=(f'"{done.names[1]}" is a segment.',),
        )
        run.write_text("manifest.json", manifest.to_json())
    return folder


@cache
def _template(kind: str, k: int, n_categories: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gpuseg-test-")) / "run"
    return _write(folder, kind, small(k, n_categories), {"k": k, "n_categories": n_categories})


def run_folder(
    parent: Path, kind: str = "full", name: str = "run", *, k: int = 4, n_categories: int = 3
) -> Path:
    """A fresh copy of a run: "full", or "plain" with the least that a run has."""
    return Path(shutil.copytree(_template(kind, k, n_categories), parent / name))


def manifest(folder: Path) -> dict[str, Any]:
    """What the run says about itself."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Change keys of the manifest."""
    (folder / "manifest.json").write_text(json.dumps(manifest(folder) | changes))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
