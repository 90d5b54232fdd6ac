"""New names in the files of a run (jobs; for ``gpuseg names``): in tables and models, on the page, in the workbook."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from gpuseg.errors import SourceError
from gpuseg.insight.model_files import ARRAYS, FOLDER, RECORD, load_model, model_contents
from gpuseg.insight.report.named import rename_on_page
from gpuseg.jobs.kept.formats import table_bytes
from gpuseg.jobs.kept.runs import SEGMENTS, Run
from gpuseg.jobs.kept.workbook_names import rename_in_workbook

REVIEW, PAGE, WORKBOOK, QUALITY = "review.csv", "report.html", "profiles.xlsx", "quality.json"


def in_tables(run: Run, names: Mapping[int, str]) -> dict[str, bytes]:
    """New contents of the files that programs read.

    Parameters
    ----------
    run : Run
        As it is.
    names : mapping of int to str
        New names, by segment id; others stay.

    Returns
    -------
    dict of str to bytes
        By name of the file.
    """
    contents: dict[str, bytes] = {}
    for name in run.files:
        if name.endswith(".parquet"):
            table = run.table(name)
            if {"segment_id", "segment_name"} <= {*table.column_names}:
                contents[name] = table_bytes(_with_names(table, names), "parquet")
    twin = SEGMENTS.replace(".parquet", ".csv")
    if run.has(twin):
        header = next(csv.reader(io.StringIO(run.read(twin).decode("utf-8-sig"), newline="")), [])
        if {*header} <= {*run.segments.column_names}:
            contents[twin] = table_bytes(_with_names(run.segments, names).select(header), "csv")
    if run.has(f"{FOLDER}/{RECORD}"):
        run.read(f"{FOLDER}/{RECORD}")  # compared with its digest
        model = load_model(run.path / FOLDER)
        segments = tuple(
            replace(segment, name=names.get(segment.segment_id, segment.name)) for segment in model.segments
        )
        contents[f"{FOLDER}/{RECORD}"] = model_contents(replace(model, segments=segments))[RECORD]
    if run.has(QUALITY):
        found = json.loads(run.read(QUALITY))
        for segment in found["segments"]:
            segment["name"] = names.get(segment["segment_id"], segment["name"])
        contents[QUALITY] = (json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    return contents


def in_what_people_read(
    run: Run, names: Mapping[int, str], approved: Sequence[int], waiting: Sequence[int]
) -> dict[str, bytes]:
    """New contents of the page and of the workbook, as far as they say where names stand.

    Parameters
    ----------
    run : Run
        As it is.
    names : mapping of int to str
        New names, by segment id; others stay.
    approved, waiting : sequence of int
        Segments whose names are approved; those with a proposal still.

    Returns
    -------
    dict of str to bytes
        By name of the file. A run of an earlier version does not say where names stand.
    """
    contents: dict[str, bytes] = {}
    if run.has(PAGE):
        page = rename_on_page(run.read(PAGE).decode(), names, approved, waiting)
        contents |= {} if page is None else {PAGE: page.encode()}
    if names and run.has(WORKBOOK):
        try:
            book = rename_in_workbook(run.read(WORKBOOK), names)
        except SourceError:  # people open it, and some save it: theirs stays as it is, and is told
            book = None
        contents |= {} if book is None else {WORKBOOK: book}
    return contents


def shows(run: Run, name: str, old_names: Sequence[str]) -> bool:
    """Whether a file that stays as it is shows one of these names; a workbook is packed, so it may.

    Parameters
    ----------
    run : Run
        As it was.
    name : str
        Of the file.
    old_names : sequence of str
        What segments were called.
    """
    if name in {REVIEW, f"{FOLDER}/{ARRAYS}"} or not old_names:
        return False
    if name.endswith(".xlsx"):
        return True
    content = run.read(name)
    spelt = {spelling for old in old_names for spelling in (old, html.escape(old), json.dumps(old)[1:-1])}
    return any(spelling.encode() in content for spelling in spelt)


def _with_names(table: pa.Table, names: Mapping[int, str]) -> pa.Table:
    place = table.column_names.index("segment_name")
    pairs = zip(table["segment_id"].to_pylist(), table["segment_name"].to_pylist(), strict=True)
    column = pa.array([names.get(number, name) for number, name in pairs], pa.string())
    return table.set_column(place, "segment_name", column)
