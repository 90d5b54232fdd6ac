"""Names that people approve: signed ones go into every file that a program can change, others wait."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import zipfile
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from gpuseg.errors import OutputError, SchemaError, SourceError
from gpuseg.insight.model_files import load_model
from gpuseg.insight.report import render_report
from gpuseg.insight.report.named import rename_in_sentences, rename_on_page
from gpuseg.jobs.kept import runs
from gpuseg.jobs.kept.formats import BOM
from gpuseg.jobs.kept.names import COLUMNS, apply_names, review_bytes
from gpuseg.jobs.kept.runs import open_run
from gpuseg.jobs.kept.workbook_names import rename_in_workbook
from gpuseg.jobs.workbook import profiles_workbook
from tests.jobs import made_up, small_runs


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def write(path, rows, delimiter=",", encoding="utf-8-sig"):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))


def review(folder, changes, **how):
    """Edit review.csv as a person would: ``{segment: {column: value}}``."""
    path = folder / "review.csv"
    rows = rows_of(path.read_bytes())
    for row in rows:
        row.update(changes.get(int(row["segment"]), {}))
    write(path, rows, **how)


SIGNED = {"approved_by": "Zoë", "date": "2026-01-31", "comment": "as agreed"}


def test_a_review_has_a_row_a_segment_with_evidence():
    done = small_runs.small()
    content = review_bytes(done.profiles, done.names, "€")
    assert content.startswith(BOM)
    rows = rows_of(content)
    assert tuple(rows[0]) == COLUMNS
    assert [(int(row["segment"]), row["proposed_name"]) for row in rows] == list(done.names.items())
    assert all("median" in row["evidence"] or "average" in row["evidence"] for row in rows)
    assert not any(row["approved_by"] for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_signed_name_goes_everywhere(tmp_path, delimiter):
    folder = small_runs.run_folder(tmp_path)
    old = small_runs.small().names
    review(folder, {2: SIGNED | {"proposed_name": 'Frühe "Vögel"; gern'}, 3: SIGNED}, delimiter=delimiter)
    reviewed = (folder / "review.csv").read_bytes()
    done = apply_names(folder)
    new = 'Frühe "Vögel"; gern'
    assert done.changed == {2: (old[2], new)}
    assert [found.segment_id for found in done.approved] == [2, 3]
    assert done.waiting == (1, 4)
    run = open_run(folder)
    assert run.names == {0: "Not placed"} | old | {2: new}
    for name in ("segments.parquet", "profiles.parquet"):
        table = pq.read_table(folder / name)
        assert set(
            zip(table["segment_id"].to_pylist(), table["segment_name"].to_pylist(), strict=True)
        ) <= set(run.names.items())
    rows = rows_of(run.read("segments.csv"))
    assert [row["segment_name"] for row in rows] == run.segments["segment_name"].to_pylist()
    assert load_model(folder).names == run.names
    assert run.manifest["counts"]["segments"]["2"]["name"] == new
    (entry,) = run.manifest["names"]
    assert entry["changed"] == {"2": {"from": old[2], "to": new}}
    assert entry["approved"][0] == {
        "segment": 2, "name": new, "by": "Zoë", "date": "2026-01-31", "comment": "as agreed",
    }  # fmt: skip
    assert run.read("review.csv") == reviewed
    page = run.read("report.html").decode()
    assert f'<span data-segment="2">{html.escape(new)}</span>' in page
    assert f'<span data-segment="1">{html.escape(old[1])}</span>' in page
    assert "Names of segments 2, 3 were approved by people who know them; of 1, 4 they are proposals." in page
    assert done.stale == ()
    assert run.files["segments.csv"]["holds_customer_ids"] is True
    assert run.files["review.csv"]["holds_customer_ids"] is False


def test_files_that_carry_no_name_keep_their_bytes(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    before = small_runs.contents(folder)
    review(folder, {1: SIGNED | {"proposed_name": "Ones"}})
    done = apply_names(folder)
    after = small_runs.contents(folder)
    assert {name for name in after if after[name] != before[name]} == {
        *done.renewed,
        "review.csv",
        "manifest.json",
    }
    assert "model/model.json" in done.renewed
    assert after["model/arrays.safetensors"] == before["model/arrays.safetensors"]
    assert apply_names(folder).changed == {}


def test_every_file_that_shows_an_old_name_is_told(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    old = small_runs.small().names[1]
    with runs.locked(folder) as run:
        quality = json.dumps({"segments": [{"segment_id": 1, "name": old}, {"segment_id": 2, "name": "b"}]})
        extra = {"a.json": f'{{"x": "{old}"}}'.encode(), "b.json": b"{}", "profiles.xlsx": b"PK"}
        extra["quality.json"] = quality.encode()
        runs.rewrite_run(run, extra, {}, without_ids=tuple(extra))
    review(folder, {1: SIGNED | {"proposed_name": "Ones"}})
    done = apply_names(folder)
    assert done.stale == ("a.json", "profiles.xlsx")
    assert [found["name"] for found in json.loads(open_run(folder).read("quality.json"))["segments"]] == [
        "Ones",
        "b",
    ]
    assert "a.json, profiles.xlsx; run the job again with --refresh" in done.summary
    assert open_run(folder).manifest["findings"] == ['"Ones" is a segment.']


def test_nothing_signed_changes_nothing(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    review(folder, {1: {"proposed_name": "Ones"}})
    before = small_runs.contents(folder)
    done = apply_names(folder)
    assert (done.changed, done.approved, done.waiting) == ({}, (), (1, 2, 3, 4))
    assert small_runs.contents(folder) == before
    assert "No name is changed." in done.summary


def test_two_segments_may_exchange_their_names(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    old = small_runs.small().names
    review(folder, {1: SIGNED | {"proposed_name": old[2]}, 2: SIGNED | {"proposed_name": old[1]}})
    apply_names(folder)
    assert open_run(folder).names == {0: "Not placed"} | old | {1: old[2], 2: old[1]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"proposed_name": ""}, "line 2: proposed_name is empty"),
        ({"proposed_name": "x" * 81}, "the name has 81 characters; at most 80"),
        ({"proposed_name": "two\nlines"}, "line breaks or control characters"),
        ({"proposed_name": "12"}, "is a number, which could be taken for a segment id"),
        ({"proposed_name": "Cheap, cheerful"}, r"judges people \(cheap\); say what these customers do"),
        ({"proposed_name": "not PLACED"}, "another segment is called"),
        ({"date": "31/01/2026"}, "date '31/01/2026' is no day; write it as YYYY-MM-DD"),
        ({"date": ""}, "is no day"),
        ({"segment": "0"}, "no segment '0' to be named; the run has 1, 2, 3, 4"),
        ({"segment": "2"}, "segment 2 is approved more than once"),
    ],
)
def test_problems_are_listed_and_nothing_changes(tmp_path, change, problem):
    folder = small_runs.run_folder(tmp_path)
    review(folder, {1: SIGNED | change, 2: SIGNED})
    before = small_runs.contents(folder)
    with pytest.raises(SchemaError, match=problem):
        apply_names(folder)
    assert small_runs.contents(folder) == before


def test_all_problems_are_told_at_once(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    review(folder, {1: SIGNED | {"proposed_name": "", "date": "?"}, 2: SIGNED | {"proposed_name": "Stingy"}})
    with pytest.raises(SchemaError) as caught:
        apply_names(folder)
    assert len(caught.value.problems) == 3


def test_a_file_that_is_no_review_is_refused(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("segment,name\n1,a\n")
    with pytest.raises(SchemaError, match="'proposed_name' is missing"):
        apply_names(folder, other)
    other.write_bytes(b"segment,proposed_name\n1,Fr\xfche\n")
    with pytest.raises(SourceError, match="save it as 'CSV UTF-8'"):
        apply_names(folder, other)
    plain = small_runs.run_folder(tmp_path, "plain", "bare")
    with pytest.raises(
        SourceError, match=r"this run has no review.csv to be reviewed, or give yours with --review"
    ):
        apply_names(plain)


def test_a_run_without_optional_files_takes_a_review_from_elsewhere(tmp_path):
    folder = small_runs.run_folder(tmp_path, "plain")
    done = small_runs.small()
    rows = rows_of(review_bytes(done.profiles, done.names))
    rows[0] |= SIGNED | {"proposed_name": "Ones"}
    write(tmp_path / "mine.csv", rows)
    named = apply_names(folder, tmp_path / "mine.csv")
    assert named.renewed == ("segments.parquet", "profiles.parquet")
    assert named.stale == ("report.html",)  # this page does not say where names stand
    run = open_run(folder)
    assert run.names[1] == "Ones"
    assert run.files["review.csv"]["holds_customer_ids"] is False


def test_a_failure_leaves_the_old_names(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)
    review(folder, {1: SIGNED | {"proposed_name": "Ones"}})
    before = small_runs.contents(folder)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "_exchange", fail)
    with pytest.raises(OutputError, match="nothing was changed"):
        apply_names(folder)
    assert small_runs.contents(folder) == before


def test_a_page_takes_new_names_where_names_stand_and_nowhere_else():
    found = made_up.answered()
    old = found.names
    report = replace(made_up.report_of(found, "A letter."), question=f'Is it "{old[1]}"?')
    first = render_report(report)
    mark = re.compile(r'<span data-segment="(\d+)">([^<]*)</span>')
    before = [(int(number), html.unescape(name)) for number, name in mark.findall(first)]
    assert {number for number, _ in before} == {*old}
    assert all(name == old[number] for number, name in before)
    new = {1: old[2], 2: 'Frühe "Vögel" & <Co>'}
    page = rename_on_page(first, new, [1, 2], [3])
    assert page is not None
    after = [(int(number), html.unescape(name)) for number, name in mark.findall(page)]
    assert after == [(number, new.get(number, old[number])) for number, _ in before]
    assert "<Co>" not in page
    assert f"Is it &#34;{old[1]}&#34;?" in page  # the user's own words stay
    assert not set("\ue000\ue001") & set(page)
    assert rename_on_page(page, {number: old[number] for number in new}, (), old) == first


def test_findings_exchange_names_at_once():
    names = {1: "Early", 2: "Late", 3: 'So "Early" here'}
    said = ['"Early" before "Late".', '"So "Early" here", Early.']
    new = {1: "Late", 2: "Early"}
    assert rename_in_sentences(said, names, new) == ['"Late" before "Early".', '"So "Early" here", Early.']


def cells(content):
    """The texts and numbers of a workbook, as a program finds them: by sheet and cell."""
    book = zipfile.ZipFile(io.BytesIO(content))
    shared = re.findall(r"<si><t[^>]*>(.*?)</t></si>", book.read("xl/sharedStrings.xml").decode(), re.DOTALL)
    found = {}
    for number in (1, 2):
        sheet = book.read(f"xl/worksheets/sheet{number}.xml").decode()
        for cell, kind, value in re.findall(r'<c r="(\w+)"(?: s="\d+")?( t="s")?><v>([^<]*)</v>', sheet):
            found[number, cell] = html.unescape(shared[int(value)]) if kind else float(value)
    return found


def test_a_workbook_takes_new_names_and_keeps_every_figure():
    found = made_up.answered()
    content = profiles_workbook(found.profiles, found.names, found.answer, found.withheld, made_up.STARTED)
    names = {1: "Visits", 2: "_x0041_ & <b>", 3: found.names[1]}
    expected = profiles_workbook(
        found.profiles, found.names | names, found.answer, found.withheld, made_up.STARTED
    )
    renamed = rename_in_workbook(content, names)
    assert cells(renamed) == cells(expected)
    assert cells(renamed) != cells(content)
    again = rename_in_workbook(renamed, {number: found.names[number] for number in names})
    assert cells(again) == cells(content)
    assert rename_in_workbook(b"PK", names) is None
