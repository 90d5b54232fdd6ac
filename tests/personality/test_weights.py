"""Trait weights: the shipped evidence, files with every mistake named by its line, and what the digest is of."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from gpuseg.errors import InputError, SchemaError, SourceError
from gpuseg.personality.weight_files import COLUMNS, lint
from gpuseg.personality.weights import OCEAN, TraitWeight, TraitWeights

GOOD = TraitWeight("books", "openness", 1.0, "a study", "measured")


def shipped() -> list[dict[str, str]]:
    text = resources.files("gpuseg").joinpath("data", "spend_trait_evidence.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def study_categories() -> set[str]:
    text = resources.files("gpuseg").joinpath("data", "mcc_categories.csv").read_text(encoding="utf-8")
    return {row["category"] for row in csv.DictReader(text.splitlines())}


def test_the_shipped_weights_are_the_signs_of_the_evidence():
    weights = TraitWeights.default()
    assert weights.traits == OCEAN
    rows = [row for row in shipped() if row["trait"] in OCEAN]
    assert len(weights.entries) == len(rows) > 20
    for trait in OCEAN:
        raw = {}
        for row in rows:
            if row["trait"] == trait:
                size = {"A": 1.0, "B": 0.5}[row["evidence_class"][0]]
                used = row["verified"] == "yes" and row["category"] != "christmas_season_total"
                raw[row["category"]] = (1 if row["sign"] == "+" else -1) * size * used
        length = math.sqrt(sum(w * w for w in raw.values()))
        found = {e.category: e.weight for e in weights.entries if e.trait == trait}
        assert found == {category: w / length for category, w in raw.items()}
        assert sum(w * w for w in found.values()) == pytest.approx(1.0)


def test_what_is_not_used_is_listed():
    unused = TraitWeights.default().unused
    seasonal = {(e.category, e.trait) for e in unused if e.evidence_class == "seasonal"}
    assert seasonal == {("christmas_season_total", trait) for trait in OCEAN if trait != "agreeableness"}
    assert {e.category for e in unused if not e.verified} >= {"hotels_lodging", "toys_hobbies_crafts"}
    assert all(e.source for e in unused)


def test_every_weighted_category_is_one_that_merchant_codes_map_to():
    assert set(TraitWeights.default().categories) <= study_categories()


def test_matrix_follows_the_categories_it_is_asked_for():
    weights = TraitWeights("x", ("b", "a"), (replace(GOOD, trait="a"), replace(GOOD, trait="b", weight=-2.0)))
    assert weights.matrix(["tea", "books"]).tolist() == [[0.0, -2.0], [0.0, 1.0]]
    assert weights.matrix([]).shape == (2, 0)
    assert weights.without(["books"]).matrix(["books"]).tolist() == [[0.0], [0.0]]
    assert weights.without(["tea"]) == weights


def test_unit_length_leaves_an_empty_trait_alone():
    weights = TraitWeights(
        "x",
        ("a", "b"),
        tuple(replace(GOOD, category=c, trait="a", weight=w) for c, w in [("p", 3.0), ("q", 4.0)]),
    )
    assert weights.of_unit_length().matrix(["p", "q"]).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_the_digest_is_of_what_scores_depend_on():
    entries = (GOOD, replace(GOOD, category="tea", weight=-0.5), replace(GOOD, category="wine", weight=0.0))
    weights = TraitWeights("x", ("openness",), entries)
    assert TraitWeights("x", ("openness",), entries[::-1]).digest == weights.digest
    assert replace(weights, entries=(*entries[:2],)).digest == weights.digest
    assert (
        replace(weights, entries=tuple(replace(e, source="another") for e in entries)).digest
        == weights.digest
    )
    others = [
        replace(weights, construct="y"),
        replace(weights, traits=("openness", "b")),
        replace(weights, entries=(replace(GOOD, weight=np.nextafter(1.0, 2.0).item()), *entries[1:])),
        replace(weights, entries=(replace(GOOD, category="Books"), *entries[1:])),
    ]
    assert len({weights.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((replace(GOOD, weight=math.nan),), "nan is no number"),
        ((replace(GOOD, weight=math.inf),), "inf is no number"),
        ((replace(GOOD, weight=-2e6),), "between"),
        ((replace(GOOD, category=" books"),), "blanks around it"),
        ((replace(GOOD, source=""),), "source '' is empty"),
        ((replace(GOOD, evidence_class="heard"),), "'heard' is not known"),
        ((replace(GOOD, verified=False),), "not verified"),
        ((replace(GOOD, evidence_class="seasonal"),), "a season"),
        ((replace(GOOD, trait="grit"),), "none of openness"),
        ((GOOD, replace(GOOD, weight=2.0)), r"entry 1 .* there already"),
    ],
)
def test_records_refuse_what_files_refuse(entries, said):
    with pytest.raises(InputError, match=said):
        TraitWeights("x", ("openness",), entries)


@pytest.mark.parametrize("traits", [(), ("a", "a")])
def test_traits_are_named_once(traits):
    with pytest.raises(InputError, match="name each trait once"):
        TraitWeights("x", traits, ())


HEADER = ",".join(COLUMNS)


def write(path, *lines, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_file_of_any_construct_in_any_order_of_columns(tmp_path):
    lines = [
        "yes,measured,Study A,2,thrift,tea",
        "",
        'no,rated,"Study, B",0,calm,wine',
        "yes,assumed,us,-1.5e0,thrift,wine",
    ]
    path = write(tmp_path / "household.csv", *lines, header=",".join(reversed(COLUMNS)))
    weights = TraitWeights.from_csv(path)
    assert (weights.construct, weights.traits) == ("household", ("thrift", "calm"))
    assert weights.matrix(["tea", "wine"]).tolist() == [[2.0, -1.5], [0.0, 0.0]]
    assert weights.unused[0].source == "Study, B"
    assert TraitWeights.from_csv(path, "vendor", categories=["tea", "wine"]).construct == "vendor"
    assert lint(path, ["tea", "wine"]) == []


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = write(tmp_path / "w.csv", "tea,thrift,1,us,assumed,yes")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert TraitWeights.from_csv(path).traits == ("thrift",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tea,thrift,heavy,us,assumed,yes", "weight 'heavy' is no number"),
        ("tea,thrift,nan,us,assumed,yes", "nan is no number between"),
        ("tea,thrift,1,us,assumed", "5 fields where the header has 6"),
        ("tea,thrift,1,us,assumed,maybe", "'maybe' is neither yes nor no"),
        ("tea,thrift,1,us,assumed,no", "not verified"),
        ("tea,thrift,1,,assumed,yes", "source '' is empty"),
        (",thrift,1,us,assumed,yes", "category '' is empty"),
        ("tea,,1,us,assumed,yes", "trait '' is empty"),
        ("tea ,thrift,1,us,assumed,yes", "category 'tea ' is empty or has blanks"),
        ("tea,thrift,1,us,heard,yes", "'heard' is not known; use one of measured"),
        ("tea,thrift,1,us,seasonal,yes", "season"),
        ("wine,thrift,2,us,assumed,yes", "stand in line 2 already"),
        ("teas,thrift,1,us,assumed,yes", "none of the 2 there are; is 'tea' meant?"),
        ('tea,thrift,1,"us,assumed,yes', "quote"),
    ],
)
def test_each_mistake_names_its_line(tmp_path, line, said):
    path = write(tmp_path / "w.csv", "wine,thrift,1,us,assumed,yes", "", line)
    (problem,) = lint(path, ["tea", "wine"])
    assert problem.startswith("line 4: ")
    assert said in problem
    with pytest.raises(SchemaError, match="line 4") as caught:
        TraitWeights.from_csv(path, categories=["tea", "wine"])
    assert caught.value.problems == (problem,)


def test_all_mistakes_come_at_once(tmp_path):
    path = write(
        tmp_path / "w.csv", "tea,a,x,us,assumed,yes", "tea,a,1,us,assumed,yes", "tea,a,2,us,assumed,no"
    )
    assert [problem.partition(":")[0] for problem in lint(path)] == ["line 2", "line 4"]


def test_files_without_columns_or_weights(tmp_path):
    assert lint(write(tmp_path / "a.csv", header="category,trait")) == [
        "line 1: column 'weight' is not there once; the columns are " + ", ".join(COLUMNS)
    ]
    assert lint(write(tmp_path / "b.csv"))[0].startswith("line 2: there are no weights")
    (tmp_path / "c.csv").write_bytes(b"")
    assert lint(tmp_path / "c.csv")[0].startswith("line 1: column 'category'")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        lint(tmp_path / "missing.csv")
    (tmp_path / "w.csv").write_bytes(b"the\xe9")
    with pytest.raises(SourceError, match="byte 3 is not UTF-8"):
        TraitWeights.from_csv(tmp_path / "w.csv")
