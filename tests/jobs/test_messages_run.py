"""Message groups of a job: declared in its file, chosen by spending styles; what may not be told is left out."""

from __future__ import annotations

import json
import re
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gpuseg import datasets
from gpuseg.cli import app

N = 80
THRESHOLDS = {
    "reduced": {"deal_responsive": [0.02, None]},
    "own label": {"own_label": [0.3, None]},
}
MODULES = {
    "modules": {
        name: {"style": f"style of {name}", "tone": "<b>dry</b>", "language": "short"}
        for name in (*THRESHOLDS, "everyone")
    }
}
JOB = {
    "version": 1,
    "job": {"name": "letters"},
    "source": "sales.parquet",
    "roles": {
        "customer": "customer",
        "time": "time",
        "amount": "amount",
        "basket": "basket",
        "category": "department",
        "discount": "discount",
        "own_label": "own_label",
    },
    "time_zone": "Europe/Paris",
    "consent": {"not_recorded": "made-up members"},
    "segments": {"clusters": [3]},
    "words": {"customer": "member", "customers": "members"},
    "messages": {"thresholds": THRESHOLDS, "modules": "messages.json", "least_evidence": 13},
}


def told(folder, **changes):
    """The job file of a folder, with changes; a change of ``messages`` is one of its keys."""
    messages = {**JOB["messages"], **changes.pop("messages", {})}
    messages = {key: value for key, value in messages.items() if value is not None}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**JOB, "messages": messages, **changes}), encoding="utf-8")
    return path


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("letters")
    pq.write_table(datasets.make_transactions(N, seed=3, text_keys=True)[0], made / "sales.parquet")
    (made / "messages.json").write_text(json.dumps(MODULES), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def first(folder):
    done = command(
        "run", told(folder, features={"as_of": "2023-09-15"}), "--out", folder / "first", "--quiet"
    )
    assert done.exit_code == 0, done.output
    return folder / "first"


def rows_of(run):
    return {row["customer"]: row for row in pq.read_table(run / "messages.parquet").to_pylist()}


def test_every_customer_with_styles_has_a_group_by_the_declared_bounds(first):
    styles = pq.read_table(first / "styles.parquet").to_pylist()
    found = rows_of(first)
    assert [*found] == [row["customer"] for row in styles]
    for row in styles:
        inside = {"reduced": row["deal_responsive"] - 0.02, "own label": row["own_label"] - 0.3}
        best = max(inside, key=inside.__getitem__)
        thin = min(row["deal_responsive_n"], row["own_label_n"]) < 13
        wanted = "everyone" if thin or inside[best] < 0 else best
        assert found[row["customer"]]["group"] == wanted
        assert found[row["customer"]]["style"] == f"style of {wanted}"
    assert {row["group"] for row in found.values()} == {"reduced", "own label", "everyone"}
    assert {"thin evidence: fewer than 13 purchases", "within the bounds of no group"} < {
        row["reason"] for row in found.values()
    }


def test_the_file_is_known_to_hold_ids_and_says_what_it_is_not_for(first):
    manifest = json.loads((first / "manifest.json").read_text(encoding="utf-8"))
    files = {entry["name"]: entry["holds_customer_ids"] for entry in manifest["files"]}
    assert (files["messages.parquet"], files["message_groups.json"]) == (True, False)
    facts = json.loads(pq.read_schema(first / "messages.parquet").metadata[b"gpuseg.facts"])
    assert "Not for eligibility, price, credit or employment" in facts["note"]
    assert facts["on"] == "2023-09-01"  # the last review by the last day that counts
    assert manifest["counts"]["messages"] == facts
    readme = (first / "README.txt").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith("messages.parquet"))
    assert "Not for eligibility" in line
    assert line.endswith("[holds customer ids]")


def test_the_page_shows_shares_and_escapes_what_the_file_says(first):
    page = (first / "report.html").read_text(encoding="utf-8")
    part = re.search(r'<section aria-labelledby="messages">.*?</section>', page, re.DOTALL)[0]
    sizes = json.loads((first / "manifest.json").read_text(encoding="utf-8"))["counts"]["messages"]["sizes"]
    assert "&lt;b&gt;dry" in part
    assert "<b>dry" not in part
    assert "Not for eligibility" in part
    assert min(sizes.values()) >= 10  # nothing to withhold; below, a run where there is
    assert re.findall(r'data-label="Members">([^<]*)<', part) == [str(size) for size in sizes.values()]


def test_small_groups_and_what_would_tell_of_them_are_not_shown(folder, tmp_path):
    """Three members in one group: neither that, nor another count that it could be reckoned from."""
    shares = sorted(
        row["own_label"] for row in pq.read_table(folder / "first" / "styles.parquet").to_pylist()
    )
    bounds = {"few": {"own_label": [shares[-3], None]}, "reduced": {"deal_responsive": [0.1, None]}}
    path = told(
        folder,
        features={"as_of": "2023-09-15"},
        messages={"thresholds": bounds, "modules": None, "least_evidence": 0},
    )
    done = command("run", path, "--out", tmp_path / "few", "--quiet")
    assert done.exit_code == 0, done.output
    sizes = json.loads((tmp_path / "few" / "manifest.json").read_text())["counts"]["messages"]["sizes"]
    assert 0 < sizes["few"] < 10
    page = (tmp_path / "few" / "report.html").read_text(encoding="utf-8")
    part = re.search(r'<section aria-labelledby="messages">.*?</section>', page, re.DOTALL)[0]
    assert part.count(">\u2217<") >= 4  # size and share, of the small group and of the one beside it
    assert f">{sizes['few']}<" not in part


def test_the_number_of_those_in_no_segment_cannot_be_reckoned_from_the_groups(folder, tmp_path):
    """A few extreme members are in no segment: the page tells neither all sizes nor their sum."""
    path = told(folder, outliers={"action": "drop", "limit": 2.8}, messages={"least_evidence": 0})
    done = command("run", path, "--out", tmp_path / "dropped", "--quiet")
    assert done.exit_code == 0, done.output
    counts = json.loads((tmp_path / "dropped" / "manifest.json").read_text(encoding="utf-8"))["counts"]
    sizes = counts["messages"]["sizes"]
    assert 0 < sum(sizes.values()) - counts["customers_in_segments"] < 10
    page = (tmp_path / "dropped" / "report.html").read_text(encoding="utf-8")
    part = re.search(r'<section aria-labelledby="messages">.*?</section>', page, re.DOTALL)[0]
    shown = re.findall(r'data-label="Members">([^<]*)<', part)
    assert "\u2217" in shown
    assert set(re.findall(r'data-label="Share">([^<]*)<', part)) == {"\u2217"}
    assert f"{sum(sizes.values())} members" not in part
    assert "\u2217 members by group" in part


def test_nobody_moves_but_on_a_review_date_and_by_more_than_the_margin(folder, first, tmp_path):
    same_month = command(
        "run",
        told(folder, features={"as_of": "2023-09-29"}),
        "--refresh",
        first,
        "--out",
        tmp_path / "a",
        "--quiet",
    )
    assert same_month.exit_code == 0, same_month.output
    before, after = rows_of(first), rows_of(tmp_path / "a")
    assert {who: row["group"] for who, row in after.items() if who in before} == {
        who: row["group"] for who, row in before.items()
    }
    assert not any(row["moved"] for row in after.values())
    next_year = command(
        "run",
        told(folder, features={"as_of": "2023-12-31"}),
        "--refresh",
        tmp_path / "a",
        "--out",
        tmp_path / "b",
        "--quiet",
    )
    assert next_year.exit_code == 0, next_year.output
    reviewed = rows_of(tmp_path / "b")
    styles = {row["customer"]: row for row in pq.read_table(tmp_path / "b" / "styles.parquet").to_pylist()}
    kept = [who for who, row in reviewed.items() if row["reason"].startswith("kept:")]
    for who, row in reviewed.items():
        inside = {
            "reduced": styles[who]["deal_responsive"] - 0.02,
            "own label": styles[who]["own_label"] - 0.3,
            "everyone": 0.0,
        }
        lead = max(inside.values()) - inside[after[who]["group"]]
        assert row["moved"] == (lead > 0.03 and row["group"] != after[who]["group"])
    assert any(row["moved"] for row in reviewed.values())
    assert kept
    page = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "who had a group before are in another one now" in page


def test_other_groups_start_anew_and_say_so(folder, first, tmp_path):
    path = told(folder, messages={"thresholds": {"all": {"own_label": [0, None]}}, "modules": None})
    done = command("run", path, "--refresh", first, "--out", tmp_path / "new", "--quiet")
    assert done.exit_code == 0, done.output
    assert "the earlier run had other groups" in (tmp_path / "new" / "report.html").read_text()
    assert not any(row["moved"] for row in rows_of(tmp_path / "new").values())


def test_learned_groups_are_fixed_from_then_on(folder, tmp_path):
    learned = {
        "thresholds": None,
        "modules": None,
        "learned": {"groups": 2, "of": ["own_label", "coupon_use"]},
    }
    roles = {**JOB["roles"], "coupon": "coupon"}
    path = told(folder, messages=learned, roles=roles, features={"as_of": "2023-06-30"})
    assert command("run", path, "--out", tmp_path / "one", "--quiet").exit_code == 0
    path = told(folder, messages=learned, roles=roles)
    assert (
        command("run", path, "--refresh", tmp_path / "one", "--out", tmp_path / "two", "--quiet").exit_code
        == 0
    )
    groups = [
        json.loads((tmp_path / name / "message_groups.json").read_text())["message_groups"]
        for name in ("one", "two")
    ]
    assert groups[0] == groups[1]
    assert groups[0]["learned_from"] > 0
    assert [group["name"] for group in groups[0]["groups"]] == ["group 1", "group 2"]


def test_show_tells_the_group_and_the_reason(first):
    who, row = next((who, row) for who, row in rows_of(first).items() if row["group"] == "own label")
    said = command("show", first, "--customer", who)
    assert said.exit_code == 0
    assert f'Message group "own label": {row["reason"]}' in said.stdout
    assert "tone: <b>dry</b>" in said.stdout
    assert "Not for eligibility" in said.stdout


def test_erase_takes_the_row_out_and_export_and_compare_go_on(first, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    (tmp_path / "ids.txt").write_text("C00007\n")
    assert command("erase", copy, "--ids", tmp_path / "ids.txt").exit_code == 0
    assert "C00007" in rows_of(first)
    assert "C00007" not in rows_of(copy)
    for path in copy.rglob("*.parquet"):
        table = pq.read_table(path)
        if "customer" in table.column_names:
            assert not pc.any(pc.equal(table["customer"].cast(pa.string()), "C00007")).as_py(), path
    assert command("export", copy, "--segment", "1", "--to", "csv", "-o", tmp_path / "one.csv").exit_code == 0
    assert command("compare", first, copy).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"thresholds": {"a": {"own_labl": [0, 1]}}, "modules": None}, "did you mean 'own_label'?"),
        (
            {"thresholds": {"a": {"neuroticism": [0, 1]}}, "modules": None, "by": "personality"},
            "never chooses a message",
        ),
        ({"thresholds": None, "modules": None}, "say one of thresholds, centres and learned"),
        ({"centres": {"a": {"own_label": 1}}}, "say one of thresholds, centres and learned"),
        ({"thresholds": {"a": {"own_label": [1, 0]}}, "modules": None}, "above the highest"),
        (
            {"thresholds": {"a": {"coupon_use": [0.1, None]}}, "modules": None},
            "needs a column with the role coupon",
        ),
        ({"fallback": "reduced"}, "name each once"),
        ({"thresholds": {"a": {"own_label": [0, None]}}}, "modules.a: missing"),
        ({"modules": "none.json"}, "messages.modules: "),
        ({"opt_in": {"gambling": "fun"}}, "say in words what it is for"),
        ({"review": "daily"}, "messages.review"),
        (
            {"learned": {"groups": 2, "names": ["a"]}, "thresholds": None, "modules": None},
            "1 names for 2 groups",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(folder, changes, problem):
    said = command("check", told(folder, messages=changes))
    assert said.exit_code == 2
    assert problem in said.stderr
    assert "Traceback" not in said.output


def test_sensitive_spend_that_builds_segments_still_chooses_no_message(folder, tmp_path):
    table = pq.read_table(folder / "sales.parquet")
    names = pc.replace_substring(table["department"].cast(pa.string()), "HOME", "Lottery")
    pq.write_table(
        table.set_column(table.column_names.index("department"), "department", names),
        tmp_path / "sales.parquet",
    )
    by_breadth = {"thresholds": {"broad": {"breadth": [0.5, None]}}, "modules": None}
    sensitive = {"opt_in": ["gambling"], "purpose": "We sell lottery tickets"}
    refused = command(
        "run", told(tmp_path, messages=by_breadth, sensitive=sensitive), "--out", tmp_path / "x", "--quiet"
    )
    assert refused.exit_code == 2
    assert "gambling" in refused.stderr
    assert not (tmp_path / "x").exists()
    learned = {"thresholds": None, "modules": None, "learned": {"groups": 2}}
    done = command(
        "run", told(tmp_path, messages=learned, sensitive=sensitive), "--out", tmp_path / "z", "--quiet"
    )
    assert done.exit_code == 0, done.output
    held = json.loads((tmp_path / "z" / "message_groups.json").read_text(encoding="utf-8"))["message_groups"]
    assert held["left_out"] == ["variety_seeking", "breadth"]
    assert not {"breadth", "variety_seeking"} & {name for name, _ in held["groups"][0]["centre"]}
    allowed = {**by_breadth, "opt_in": {"gambling": "Members agreed to offers of the lottery"}}
    done = command(
        "run", told(tmp_path, messages=allowed, sensitive=sensitive), "--out", tmp_path / "y", "--quiet"
    )
    assert done.exit_code == 0, done.output
    assert "Members agreed to offers of the lottery" in (tmp_path / "y" / "report.html").read_text(
        encoding="utf-8"
    )
