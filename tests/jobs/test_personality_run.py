"""Personality in a job: off without a purpose and a legal basis, estimated with them, and no way round the limits."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import gpuseg
from gpuseg import datasets
from gpuseg.cli import app
from gpuseg.personality.spend_personality import SpendPersonality

N = 60
TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
USE = "Not for eligibility, price, credit or employment"
DECLARED = {"purpose": "The tone of letters", "legal_basis": "Consent", "weights": "weights.csv"}
BY_OPENNESS = {"by": "personality", "thresholds": {"curious": {"openness": [50, None]}}}
JOB = {
    "version": 1,
    "job": {"name": "tones"},
    "source": "cards.parquet",
    "roles": {"customer": "customer", "time": "time", "amount": "amount", "category": "mcc"},
    "time_zone": "UTC",
    "consent": {"not_recorded": "made-up people"},
    "segments": {"clusters": [2]},
    "features": {"as_of": "2023-10-31", "categories": 3},
}


def told(folder, personality=None, **changes):
    """The job file of a folder."""
    given = {**JOB, **changes} | ({} if personality is None else {"personality": personality})
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    return path


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def run(path, out):
    done = command("run", path, "--out", out, "--quiet")
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tones")
    table, _, entries = datasets.make_personality(N, 60, seed=5)
    pq.write_table(table, made / "cards.parquet")
    with (made / "weights.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["category", "trait", "weight", "source", "evidence_class", "verified"])
        lines.writerows((e.category, e.trait, e.weight, "made up", "planted", "yes") for e in entries)
    return made


@pytest.fixture(scope="module")
def scored(folder):
    return run(told(folder, DECLARED, messages=BY_OPENNESS), folder / "scored")


def facts_of(done):
    return json.loads((done / "personality.json").read_text(encoding="utf-8"))


def section(done, name):
    page = (done / "report.html").read_text(encoding="utf-8")
    found = re.search(rf'<section aria-labelledby="{name}">.*?</section>', page, re.DOTALL)
    return "" if found is None else found[0]


def test_the_scores_are_those_of_the_records_up_to_the_last_day_that_counts(folder, scored):
    cards = pq.read_table(folder / "cards.parquet")
    until = pc.less_equal(pc.strftime(cards["time"], "%Y-%m-%d"), "2023-10-31")
    tx = gpuseg.read_transactions(cards.filter(until), **JOB["roles"], time_zone="UTC")
    wanted = SpendPersonality(weights=folder / "weights.csv").fit(tx).scores(details=True)
    found = pq.read_table(scored / "personality.parquet")
    assert found.column_names == wanted.column_names
    assert found.column_names[:7] == ["customer", *TRAITS, "evidence"]
    assert len(found) == N
    for name in wanted.column_names:
        assert found[name].to_pylist() == wanted[name].to_pylist()
    assert all(found[trait].null_count == 0 for trait in TRAITS)
    late = SpendPersonality(weights=folder / "weights.csv").fit(
        gpuseg.read_transactions(cards, **JOB["roles"], time_zone="UTC")
    )
    assert late.scores()["openness"].to_pylist() != found["openness"].to_pylist()


def test_every_file_says_that_it_is_estimated_and_what_it_is_not_for(scored):
    metadata = pq.read_schema(scored / "personality.parquet").metadata
    assert metadata[b"gpuseg.use"].decode().startswith("Estimated.")
    facts = facts_of(scored)
    assert json.loads(metadata[b"gpuseg.facts"]) == facts
    assert (facts["purpose"], facts["legal_basis"], facts["estimated"]) == (
        "The tone of letters",
        "Consent",
        True,
    )
    assert [*facts["traits"]] == [*TRAITS]
    manifest = json.loads((scored / "manifest.json").read_text(encoding="utf-8"))
    files = {entry["name"]: entry["holds_customer_ids"] for entry in manifest["files"]}
    assert (files["personality.parquet"], files["personality.json"]) == (True, False)
    assert manifest["parameters"]["personality"]["purpose"] == "The tone of letters"
    assert manifest["counts"]["personality"] == facts
    assert "estimate personality" in [stage["name"] for stage in manifest["stages"]]
    assert manifest["promise"] == "exact"
    readme = (scored / "README.txt").read_text(encoding="utf-8")
    for text in (
        facts["note"],
        metadata[b"gpuseg.use"].decode(),
        section(scored, "traits"),
        section(scored, "messages"),
    ):
        assert USE in text
        assert "stimated" in text
    for name in ("personality.parquet", "personality.json", "messages.parquet"):
        line = next(line for line in readme.splitlines() if line.startswith(name))
        assert USE in line
        assert line.endswith("[holds customer ids]") == files[name]


def test_the_page_says_what_for_and_shows_no_score_of_anybody(scored):
    part = section(scored, "traits")
    assert "Purpose: The tone of letters. Legal basis: Consent." in part
    assert "5 of the 5 traits" in part
    page = (scored / "report.html").read_text(encoding="utf-8")
    for row in pq.read_table(scored / "personality.parquet").to_pylist()[:20]:
        assert all(f"{row[trait]:.2f}" not in page for trait in TRAITS)


def test_message_groups_go_by_scores(scored):
    scores = {row["customer"]: row for row in pq.read_table(scored / "personality.parquet").to_pylist()}
    groups = pq.read_table(scored / "messages.parquet").to_pylist()
    assert [row["customer"] for row in groups] == [*scores]
    for row in groups:
        own = scores[row["customer"]]
        curious = own["openness"] >= 50 and own["evidence"] >= 20
        assert row["group"] == ("curious" if curious else "everyone")
    assert {row["group"] for row in groups} == {"curious", "everyone"}


def test_without_the_section_nobody_is_scored(folder, tmp_path):
    done = run(told(folder), tmp_path / "plain")
    assert not list(done.glob("personality*"))
    assert section(done, "traits") == ""
    manifest = json.loads((done / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["parameters"]["personality"], manifest["counts"]["personality"]) == (None, None)
    for path in done.rglob("*.parquet"):
        assert not [name for name in pq.read_schema(path).names if name.startswith(TRAITS)], path


NOBODY = "nobody is scored without"


@pytest.mark.parametrize(
    ("personality", "messages", "problem"),
    [
        ({}, None, f"{NOBODY} purpose and legal_basis"),
        ({"purpose": "The tone of letters"}, None, f"{NOBODY} legal_basis:"),
        ({"legal_basis": "Consent"}, None, f"{NOBODY} purpose:"),
        ({"purpose": "  ", "legal_basis": "Consent"}, None, f"{NOBODY} purpose:"),
        ({"purpose": "\u00a0\u200b\u2003", "legal_basis": "Consent"}, None, f"{NOBODY} purpose:"),
        ({"purpose": "-- 12 ...", "legal_basis": "Consent"}, None, f"{NOBODY} purpose:"),
        ({"purpose": "x", "legal_basis": "?"}, None, f"{NOBODY} purpose and legal_basis"),
        ({"purpose": ["a list"], "legal_basis": "Consent"}, None, "'personality.purpose' is"),
        (True, None, "'personality' is True"),
        ({**DECLARED, "opt_in": {"gambling": " "}}, None, "say in words what it is for"),
        ({**DECLARED, "opt_in": ["gambling"]}, None, "'personality.opt_in' is"),
        ({**DECLARED, "opt_in": {"gamblin": "Our lottery tickets"}}, None, "gamblin"),
        ({**DECLARED, "categories": "none.csv"}, None, "none.csv"),
        ({**DECLARED, "weights": "bad.csv"}, None, "line 2"),
        ({**DECLARED, "column": "mccc"}, None, "did you mean 'mcc'?"),
        ({**DECLARED, "column": "customer"}, None, "it plays another role"),
        ({**DECLARED, "level": 0.42}, None, "level=0.42 is not known"),
        (None, BY_OPENNESS, "declare a section personality"),
        (DECLARED, {"by": "personality", "thresholds": {"a": {"opennes": [50, None]}}}, "no trait 'opennes'"),
        (
            DECLARED,
            {"by": "personality", "thresholds": {"a": {"neuroticism": [None, 40]}}},
            "never chooses a message",
        ),
        (
            DECLARED,
            {"by": "personality", "centres": {"a": {"Emotional_Stability": 60}}},
            "never chooses a message",
        ),
        (
            DECLARED,
            {"by": "personality", "learned": {"groups": 2, "of": ["openness", "neuroticism"]}},
            "never chooses a message",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_sentence_and_nothing_runs(
    folder, tmp_path, personality, messages, problem
):
    (folder / "bad.csv").write_text(
        "category,trait,weight,source,evidence_class,verified\npubs_bars,x,heavy,a,assumed,yes\n"
    )
    path = told(folder, personality, **({} if messages is None else {"messages": messages}))
    for done in (command("check", path), command("run", path, "--out", tmp_path / "x", "--quiet")):
        assert done.exit_code == 2
        assert problem in done.stderr
        assert "Traceback" not in done.output
    assert not (tmp_path / "x").exists()


def test_a_column_that_may_not_be_read_scores_nobody(folder):
    done = command("check", told(folder, DECLARED, columns={"mcc": "protected"}))
    assert done.exit_code == 2
    assert "personality" in done.stderr


def test_check_tells_what_would_be_scored(folder):
    done = command("check", told(folder, {**DECLARED, "opt_in": {"gambling": "Our lottery tickets"}}))
    assert done.exit_code == 0, done.output
    assert "Estimates personality for: The tone of letters (legal basis: Consent)" in done.stdout
    assert "counts although sensitive: gambling (purpose: Our lottery tickets)" in done.stdout


def test_check_tells_of_groups_that_nobody_will_be_in(folder):
    shipped = {"purpose": "The tone of letters", "legal_basis": "Consent"}
    done = command("check", told(folder, shipped, messages=BY_OPENNESS))
    assert done.exit_code == 0, done.output
    assert "nobody's openness can be measured with these weights: all will be in everyone" in done.stdout
    done = command("check", told(folder, DECLARED, messages=BY_OPENNESS))
    assert "can be measured" not in done.stdout


def test_sensitive_categories_count_only_where_they_are_opted_in(folder, scored, tmp_path):
    """Gambling called a fine changes no score; opted in with a purpose it does, and the page tells."""
    cards = pq.read_table(folder / "cards.parquet")
    codes = cards["mcc"].cast(pa.string())
    assert pc.any(pc.equal(codes, "7995")).as_py()
    moved = pc.if_else(pc.equal(codes, "7995"), "9222", codes)
    pq.write_table(
        cards.set_column(cards.column_names.index("mcc"), "mcc", moved), tmp_path / "cards.parquet"
    )
    shutil.copy(folder / "weights.csv", tmp_path / "weights.csv")
    again = run(told(tmp_path, DECLARED), tmp_path / "fines")
    left, right = (
        pq.read_table(done / "personality.parquet").replace_schema_metadata(None) for done in (scored, again)
    )
    assert left.equals(right)
    opted = {**DECLARED, "opt_in": {"gambling": "Our lottery tickets"}}
    allowed = run(told(folder, opted, min_cell=1000), tmp_path / "allowed")
    third = pq.read_table(allowed / "personality.parquet").replace_schema_metadata(None)
    assert not left.equals(third)
    part = section(allowed, "traits")
    assert "gambling: Our lottery tickets" in part
    assert not re.search(r"\u00b1 \d", part)  # everybody is fewer than min_cell


def test_a_trait_that_rests_on_pubs_chooses_no_message_unless_that_is_opted_in_too(folder, tmp_path):
    with (folder / "weights.csv").open(encoding="utf-8", newline="") as file:
        rests = {(row["trait"], row["category"]) for row in csv.DictReader(file)}
    trait = "extraversion"
    assert (trait, "pubs_bars") in rests
    groups = {"by": "personality", "thresholds": {"a": {trait: [50, None]}}}
    opted = {**DECLARED, "opt_in": {"alcohol": "Our wine bar"}}
    refused = command("run", told(folder, opted, messages=groups), "--out", tmp_path / "x", "--quiet")
    assert refused.exit_code == 2
    assert f"'{trait}' rests on 'pubs_bars'" in refused.stderr
    assert not (tmp_path / "x").exists()
    allowed = {**groups, "opt_in": {"pubs_bars": "Invitations to our wine bar"}}
    done = run(told(folder, opted, messages=allowed), tmp_path / "y")
    assert "pubs_bars: Invitations to our wine bar" in section(done, "messages")


def test_a_small_weight_of_what_is_sensitive_bars_a_trait_as_well(folder, tmp_path):
    weights = tmp_path / "weights.csv"
    ordinary = [(name, 1.0) for name in ("restaurants", "groceries", "airlines", "books_news")]
    lines = [f"{name},openness,{w},made up,assumed,yes" for name, w in [*ordinary, ("gambling", 0.09)]]
    weights.write_text(
        "category,trait,weight,source,evidence_class,verified\n" + "\n".join(lines) + "\n", encoding="utf-8"
    )
    scored = {**DECLARED, "weights": str(weights), "opt_in": {"gambling": "Players asked for it"}}
    refused = command("run", told(folder, scored, messages=BY_OPENNESS), "--out", tmp_path / "x", "--quiet")
    assert refused.exit_code == 2
    assert "'openness' rests on 'gambling'" in refused.stderr


def test_what_cannot_be_measured_is_null_and_chooses_nobody_and_says_why(folder, tmp_path):
    shipped = {"purpose": "The tone of letters", "legal_basis": "Consent"}
    done = run(told(folder, shipped, messages=BY_OPENNESS), tmp_path / "shipped")
    table = pq.read_table(done / "personality.parquet")
    facts = facts_of(done)
    known = [trait for trait, about in facts["traits"].items() if about["measurable"]]
    assert facts["measurable_at_most"] == ["conscientiousness", "extraversion"]
    assert set(known) <= set(facts["measurable_at_most"])
    for trait in TRAITS:
        assert table[trait].null_count == (0 if trait in known else N)
        assert (facts["traits"][trait]["reason"] is None) == (trait in known)
    groups = pq.read_table(done / "messages.parquet")
    assert set(groups["group"].to_pylist()) == {"everyone"}
    assert set(groups["reason"].to_pylist()) == {"not measurable: openness"}
    assert "conscientiousness and extraversion at most" in section(done, "traits")
    said = command("show", done, "--customer", "7").stdout
    assert "openness is not measurable on these data" in said
    learned = {"by": "personality", "learned": {"groups": 2, "of": ["openness"]}}
    refused = command("run", told(folder, shipped, messages=learned), "--out", tmp_path / "x", "--quiet")
    assert refused.exit_code == 2
    assert "openness cannot be measured on these records" in refused.stderr


def test_groups_are_learned_without_neuroticism(folder, tmp_path):
    learned = {"by": "personality", "learned": {"groups": 2}}
    done = run(told(folder, DECLARED, messages=learned), tmp_path / "learned")
    held = json.loads((done / "message_groups.json").read_text(encoding="utf-8"))["message_groups"]
    assert held["left_out"] == ["neuroticism"]
    chosen = {trait for group in held["groups"] for trait, _ in group["centre"]}
    assert chosen == {*TRAITS} - {"neuroticism"}


def test_nobody_moves_without_acting_where_the_earlier_reference_is_kept(folder, tmp_path):
    """Twenty people buy nothing after June: with --refresh their scores stay to the last bit, others' do not."""
    shutil.copy(folder / "weights.csv", tmp_path / "weights.csv")
    cards = pq.read_table(folder / "cards.parquet")
    late = pc.greater(pc.strftime(cards["time"], "%Y-%m-%d"), "2023-06-30")
    idle = pc.less_equal(cards["customer"], 20)
    pq.write_table(cards.filter(pc.invert(pc.and_(late, idle))), tmp_path / "cards.parquet")
    first = run(told(tmp_path, DECLARED, features={"as_of": "2023-06-30"}), tmp_path / "first")
    path = told(tmp_path, DECLARED)
    kept = tmp_path / "kept"
    assert command("run", path, "--refresh", first, "--out", kept, "--quiet").exit_code == 0
    anew = run(path, tmp_path / "anew")
    scores = [
        pq.read_table(done / "personality.parquet").select(["customer", *TRAITS])
        for done in (first, kept, anew)
    ]
    before, after, other = ([row for row in table.to_pylist() if row["customer"] <= 20] for table in scores)
    assert before == after
    assert before != other
    assert scores[0].to_pylist()[20:] != scores[1].to_pylist()[20:]
    references = [(done / "personality_reference.json").read_bytes() for done in (first, kept, anew)]
    assert references[0] == references[1] != references[2]
    assert "of an earlier run, so that nobody moves without acting" in section(kept, "traits")
    assert "of this run" in section(anew, "traits")
    own = told(tmp_path, {**DECLARED, "half_life_days": 90})
    assert command("run", own, "--refresh", first, "--out", tmp_path / "own", "--quiet").exit_code == 0
    assert not facts_of(tmp_path / "own")["reference"]["of_an_earlier_run"]  # another rule, another reference


def test_no_order_of_records_changes_a_score_or_a_group(folder, scored, tmp_path):
    shutil.copy(folder / "weights.csv", tmp_path / "weights.csv")
    cards = pq.read_table(folder / "cards.parquet")
    order = np.random.default_rng(0).permutation(len(cards))
    pq.write_table(cards.take(pa.array(order)), tmp_path / "cards.parquet", row_group_size=777)
    again = run(told(tmp_path, DECLARED, messages=BY_OPENNESS), tmp_path / "again")
    for name in ("personality.parquet", "personality.json", "personality_reference.json", "messages.parquet"):
        assert (again / name).read_bytes() == (scored / name).read_bytes(), name


def test_a_map_that_knows_no_value_of_the_column_is_told_before_a_run(folder):
    (folder / "other.csv").write_text("value,category\nPets,pets_vet\n", encoding="utf-8")
    done = command("check", told(folder, {**DECLARED, "categories": "other.csv"}))
    assert done.exit_code == 2
    assert "other.csv knows none of the" in done.stderr


def test_show_says_estimated(scored):
    row = next(
        row for row in pq.read_table(scored / "personality.parquet").to_pylist() if row["customer"] == 7
    )
    said = command("show", scored, "--customer", "7")
    assert said.exit_code == 0
    assert f"openness: estimated {row['openness']:.1f} (" in said.stdout
    assert USE in said.stdout


def test_erase_leaves_no_score_behind(scored, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(scored, copy)
    (tmp_path / "ids.txt").write_text("7\n")
    assert command("erase", copy, "--ids", tmp_path / "ids.txt").exit_code == 0
    before, after = (pq.read_table(done / "personality.parquet") for done in (scored, copy))
    assert after.schema.metadata == before.schema.metadata
    assert after.equals(before.filter(pc.not_equal(before["customer"], 7)))
    gone = next(row for row in before.to_pylist() if row["customer"] == 7)
    marks = [repr(gone[trait]) for trait in TRAITS]
    for path in (path for path in copy.rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            text = json.dumps(table.to_pydict(), default=str)
            assert "customer" not in table.column_names or 7 not in table["customer"].to_pylist(), path
        else:
            text = path.read_bytes().decode("utf-8", errors="replace")
        assert not [mark for mark in marks if mark in text], path
    assert command("show", copy, "--customer", "7").exit_code == 2
    out = tmp_path / "one.csv"
    assert command("export", copy, "--segment", "1", "--to", "csv", "-o", out).exit_code == 0
    assert "openness" not in out.read_text(encoding="utf-8")  # a segment's list carries no estimates
    assert command("compare", scored, copy).exit_code == 0


def test_who_was_erased_is_not_scored_again(folder, tmp_path):
    shutil.copy(folder / "cards.parquet", tmp_path / "cards.parquet")
    shutil.copy(folder / "weights.csv", tmp_path / "weights.csv")
    path = told(tmp_path, {**DECLARED, "column": "kind"})
    cards = pq.read_table(tmp_path / "cards.parquet")
    other = pa.array(np.where(np.arange(len(cards)) % 2 == 0, "shop", "other"))
    table = cards.rename_columns(["customer", "time", "amount", "kind"]).append_column("mcc", other)
    pq.write_table(table, tmp_path / "cards.parquet")
    assert command("run", path, "--quiet").exit_code == 0
    done = next(path for path in (tmp_path / "runs").iterdir() if path.name.startswith("tones-"))
    assert facts_of(done)["traits"]["openness"]["measurable"]  # by the other column
    (tmp_path / "ids.txt").write_text("7\n")
    assert command("erase", done, "--ids", tmp_path / "ids.txt").exit_code == 0
    again = run(path, tmp_path / "again")
    assert pq.read_table(again / "personality.parquet")["customer"].to_pylist() == [
        number for number in range(1, N + 1) if number != 7
    ]
