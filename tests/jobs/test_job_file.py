"""The job file: what it may say, and everything that is wrong with it at once, with line and remedy."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from importlib import resources
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from gpuseg.customers.outliers import OutlierRule
from gpuseg.errors import SchemaError, SourceError
from gpuseg.jobs.declared.job_file import JobFile, job_schema, read_job
from gpuseg.jobs.declared.job_yaml import read_yaml

DATA = Path(str(resources.files("gpuseg"))) / "data"

SMALL = """\
version: 1
job: {name: small}
source: sales.csv
roles: {customer: who, time: at, amount: paid}
consent: {not_recorded: made up}
"""

CASE = """\
use_case:
  objective: o
  decision: d
"""


@pytest.fixture
def job(tmp_path):
    def read(text):
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return read_job(path)

    return read


@pytest.fixture
def wrong(job, tmp_path):
    def read(text):
        with pytest.raises(SchemaError) as caught:
            job(text)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert caught.value.where == str(tmp_path / "job.yaml")
        return list(caught.value.problems)

    return read


def test_the_least_job(job, tmp_path):
    found = job(SMALL)
    assert found.source.path == "sales.csv"
    assert found.source.dialect() is None
    assert found.locate("sales.csv") == str(tmp_path / "sales.csv")
    assert found.locate("/x/sales.csv") == "/x/sales.csv"
    assert found.locate("s3://x/sales.csv") == "s3://x/sales.csv"
    assert (found.min_cell, found.bad_rows, found.use_case) == (10, "error", None)
    assert found.outliers.as_rule() == OutlierRule("flag", "zscore", 3.0)
    assert found.segments.clusters == (3, 4, 5, 6, 7, 8)
    assert found.as_of is None
    with pytest.raises(ValidationError, match="frozen"):
        found.min_cell = 5


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("winsorise", OutlierRule("winsorise", "zscore", 3.0)),
        ("{action: drop, rule: iqr}", OutlierRule("drop", "iqr", 1.5)),
        ("{rule: mad}", OutlierRule("flag", "mad", 3.5)),
        ("{rule: mad, limit: 5}", OutlierRule("flag", "mad", 5.0)),
    ],
)
def test_outliers_are_an_action_or_a_section(job, written, rule):
    assert job(f"{SMALL}outliers: {written}\n").outliers.as_rule() == rule


def test_the_example_is_complete():
    found = read_job(DATA / "job.example.yaml")
    assert found.use_case.outcome_window == (dt.date(2024, 10, 1), dt.date(2024, 12, 31))
    assert found.use_case.validation_window == (dt.date(2024, 9, 1), dt.date(2024, 9, 30))
    assert found.as_of == dt.date(2024, 8, 31)
    assert found.used_roles().get("own_label") is None
    assert found.use_of("Rabatt") == "describe"
    text = (DATA / "job.example.yaml").read_text(encoding="utf-8")
    missing = {name for name in JobFile.model_fields if f"\n{name}:" not in text}
    assert missing == set()
    for section in ("use_case", "roles", "sensitive", "cohorts", "outliers", "segments", "words", "output"):
        written = yaml.safe_load(text)[section]
        annotation = type(getattr(found, section))
        assert set(written) == set(annotation.model_fields), section


def test_the_shipped_schema_is_the_models():
    assert (DATA / "job.schema.json").read_text(encoding="utf-8") == job_schema()
    schema = json.loads(job_schema())
    assert set(schema["properties"]) == set(JobFile.model_fields)
    assert schema["additionalProperties"] is False
    assert [
        name for name, value in schema["properties"].items() if not {"description", "$ref"} & set(value)
    ] == []


def test_every_problem_is_listed_at_once_by_line(wrong):
    found = wrong(
        """\
version: 2
job: {name: "a b"}
source: {path: a.csv, formt: csv, csv: {separator: ";;"}}
roles: {custommer: 1, time: t, amount: no}
time_zone: Europe/Berln
columns: {x: bild}
consent: {}
segments: {clusters: [3, 3], seed: x}
outliers: flags
features: {categories: -1}
"""
    )
    assert found == [
        "'version' is 2 (line 1); known here: 1",
        "'job.name' is 'a b' (line 2); it must be letters, digits, - _ and . (64 at most, a letter or digit first)",
        "source.csv (line 3): separator=';;' is not one mark; use ',', ';', '|' or a tab ('\\t')",
        "unknown key 'source.formt' (line 3); did you mean 'format'?",
        "'roles.customer' is missing (line 4); Column with the key of the customer; leading zeros are kept",
        "unknown key 'roles.custommer' (line 4); did you mean 'customer'?",
        "time_zone (line 5): time_zone='Europe/Berln' is not a known time zone; did you mean 'Europe/Berlin'?",
        "'columns.x' is 'bild' (line 6); did you mean 'build'?",
        "consent (line 7): say either column (and its purpose) or not_recorded (and the reason), one of the two",
        "'segments.seed' is 'x' (line 8); it must be a whole number",
        "'outliers.action' is 'flags' (line 9); did you mean 'flag'?",
        (
            "features.categories (line 10): -1 is neither a number from 0 to 200 nor a list of names; put names that "
            "are numbers between quotes"
        ),
    ]


def test_what_must_be_there(wrong):
    found = wrong("version: 1\n")
    assert [text.split(" ")[0] for text in found] == ["'job'", "'source'", "'roles'", "'consent'"]
    assert all("is missing" in text for text in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("minor_units: 9", "'minor_units' is 9 (line 6); it must be at most 6"),
        ("minor_units: two", "'minor_units' is 'two' (line 6); it must be a whole number"),
        ("columns: [a]", "'columns' is ['a'] (line 6); it must be a section with keys"),
        ("features:", "'features' is empty (line 6); it must be a section with keys"),
        ("amount_of: piece", "amount_of: piece needs the role quantity"),
        ("naive: local", "naive: local needs a time_zone"),
        ("sensitive: {opt_in: [alcohol]}", "sensitive (line 6): opt_in needs a purpose"),
        (
            "columns: {who: ignore}",
            "columns: 'who' is the customer, without which there is no segment; not ignore",
        ),
        ("columns: {age: build}", "segmentation_type is behavioural, and columns lets 'age' build"),
        ("segmentation_type: demographic", "segmentation_type is demographic, and only roles build"),
        ("segments: {clusters: 1}", "'segments.clusters.0' is 1 (line 6); it must be at least 2"),
        ("cohorts: {coverage: [2024-01-01]}", "cohorts.coverage"),
        (
            "cohorts: {coverage: [2024-02-30, 2024-03-01]}",
            "'2024-02-30' is no calendar day; write it as 2024-12-31",
        ),
        ("outliers: {limit: 0}", "'outliers.limit' is 0 (line 6); it must be above 0"),
        ("outliers: {rule: iqrs}", "'outliers.rule' is 'iqrs' (line 6); did you mean 'iqr'?"),
        ("outliers: 3", "'outliers' is 3 (line 6); it must be a section with keys"),
        ("min_cell: 0", "'min_cell' is 0 (line 6); it must be at least 1"),
    ],
)
def test_single_problems(wrong, line, said):
    (found,) = wrong(f"{SMALL}{line}\n")
    assert said in found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("features_until: 0001-01-01", "0001-01-01 lies before 1900 or after 2199; is it an error of entry?"),
        ("features_until: 9999-12-31", "9999-12-31 lies before 1900 or after 2199; is it an error of entry?"),
        ("features_until: 2024-8-1", "'2024-8-1' is no calendar day"),
        ("features_until: 2024", "2024 is no calendar day"),
        (
            "outcome_window: [2024-05-01, 2024-01-01]",
            "the first day, 2024-05-01, comes after the last, 2024-01-01",
        ),
        ("outcome_window: [2024-05-01, 2024-06-01]", "outcome_window without an outcome"),
        ("contact_filter: {source: a, customer: c, time: t}", "contact_filter without an outcome"),
        ("validation_window: [2024-05-01, 2024-06-01]", "validation_window without an outcome"),
        ("max_share: 1.5", "'use_case.max_share' is 1.5 (line 9); it must be at most 1"),
        ("min_size: 0", "'use_case.min_size' is 0 (line 9); it must be at least 1"),
    ],
)
def test_a_use_case_that_cannot_be(wrong, line, said):
    (found,) = wrong(f"{SMALL}{CASE}  {line}\n")
    assert said in found


def test_an_outcome_comes_after_the_features(wrong, job):
    outcome = "  outcome: {source: o.csv, customer: c, time: t}\n"
    assert wrong(f"{SMALL}{CASE}{outcome}") == [
        "use_case (line 6): an outcome needs features_until",
        "use_case (line 6): an outcome needs outcome_window",
    ]
    days = "  features_until: 2024-08-31\n  outcome_window: [{}, 2024-12-31]\n"
    for early in ("2024-08-31", "2024-01-01"):
        (found,) = wrong(SMALL + CASE + outcome + days.format(early))
        assert f"the outcome window begins on {early}, not after features_until, 2024-08-31" in found
    good = job(SMALL + CASE + outcome + days.format("2024-09-01"))
    assert good.as_of == dt.date(2024, 8, 31)
    (found,) = wrong(SMALL + CASE + outcome + days.format("2024-09-01") + "features: {as_of: 2024-01-01}\n")
    assert "features.as_of is 2024-01-01 and use_case.features_until is 2024-08-31" in found


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("[2024-08-31, 2024-09-09]", "begins on 2024-08-31, not after features_until, 2024-08-31"),
        ("[2024-09-01, 2024-10-01]", "ends on 2024-10-01, not before the outcome window begins, 2024-10-01"),
        ("[2024-09-09, 2024-09-01]", "the first day, 2024-09-09, comes after the last, 2024-09-01"),
    ],
)
def test_a_validation_window_lies_between_features_and_outcome(wrong, job, window, said):
    case = (
        f"{SMALL}{CASE}  outcome: {{source: o.csv, customer: c, time: t}}\n"
        "  features_until: 2024-08-31\n  outcome_window: [2024-10-01, 2024-12-31]\n  validation_window: "
    )
    (found,) = wrong(f"{case}{window}\n")
    assert said in found
    good = job(f"{case}[2024-09-01, 2024-09-30]\n").use_case
    assert good.validation_window == (dt.date(2024, 9, 1), dt.date(2024, 9, 30))


def test_contacts_have_one_clock(wrong):
    for keys in ("", ", start: s", ", time: t, start: s", ", time: t, start: s, end: e"):
        found = wrong(f"{SMALL}{CASE}  contact_filter: {{source: a.csv, customer: c{keys}}}\n")
        assert "say either time, or start and end" in found[0]


def test_consent_is_a_column_with_a_purpose_or_a_reason(wrong):
    base = SMALL.replace("consent: {not_recorded: made up}", "consent: {}")
    for keys, said in [
        ("column: ok", "column needs a purpose"),
        ("column: ok, purpose: x, not_recorded: y", "one of the two"),
        ("not_recorded: y, purpose: x", "purpose goes with a column"),
    ]:
        assert said in wrong(base.replace("{}", f"{{{keys}}}"))[0]
    (found,) = wrong(base.replace("{}", "{column: paid, purpose: x}"))
    assert "the column 'paid' plays several roles" in found


def test_yaml_has_no_surprises(job, tmp_path):
    found = job(
        SMALL.replace("who", "no").replace("paid", "on").replace("at,", "2024-01-01,")
        + "columns: {007: ignore, yes: ignore, 1.5: ignore}\nwords: {category_names: {0410: NO, 12:30: off}}\n"
        "features: {as_of: '2024-01-31', categories: [no, 08, 12:30]}\nsource_: 1\n".replace(
            "source_: 1\n", ""
        )
    )
    assert found.roles.declared() == {"customer": "no", "time": "2024-01-01", "amount": "on"}
    assert list(found.columns) == ["007", "yes", "1.5"]
    assert found.words.category_names == {"0410": "NO", "12:30": "off"}
    assert found.features.categories == ("no", "08", "12:30")
    assert found.as_of == dt.date(2024, 1, 31)
    job("\ufeff" + SMALL)


def test_flags_may_be_written_yes_and_no(job):
    source = "source: {path: a.csv, csv: {day_first: yes, header: no}}"
    found = job(SMALL.replace("source: sales.csv", source))
    assert (found.source.csv.day_first, found.source.csv.header) == (True, False)


def test_files_that_are_no_job(wrong, tmp_path):
    assert "'version' stands twice (lines 1 and 6); keep one" in wrong(f"{SMALL}version: 1\n")[0]
    assert (
        "'roles.time' stands twice (lines 4 and 4)"
        in wrong(SMALL.replace("time: at", "time: at, time: b"))[0]
    )
    assert "anchors are not read (line 1)" in wrong("a: &x [1]\nb: *x\n")[0]
    assert "tags are not read (line 1)" in wrong("a: !!python/object:os.system x\n")[0]
    assert "there is no mapping of keys" in wrong("")[0]
    assert "there is no mapping of keys" in wrong("- a\n")[0]
    assert "this is not YAML (line 2, column" in wrong("a: [1\nb: 2\n")[0]
    assert "a key is no text (line 1)" in wrong("? [a]\n: 1\n")[0]
    with pytest.raises(
        SourceError, match=r"cannot be read .no such file or directory.; `gpuseg init FILE` writes one"
    ):
        read_job(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("job: é\n".encode("latin-1"))
    with pytest.raises(SchemaError, match="the text is not UTF-8"):
        read_job(tmp_path / "latin.yaml")


def test_lines_are_those_of_the_keys(tmp_path):
    (tmp_path / "a.yaml").write_text("a:\n  b: 1\n  c:\n    - x\n    - y\n")
    written = read_yaml(tmp_path / "a.yaml")
    assert written.values == {"a": {"b": 1, "c": ["x", "y"]}}
    assert [written.line(place) for place in [("a",), ("a", "b"), ("a", "c", 1), ("a", "z"), ("q",)]] == [
        1,
        2,
        5,
        1,
        None,
    ]


def test_records_are_read_as_declared(job, tmp_path):
    (tmp_path / "sales.csv").write_text(
        "who;at;paid;off;ok\n007;3.4.2024;1,50;0,1;yes\n008;4.4.2024;2;x;no\n", encoding="utf-8"
    )
    text = SMALL.replace(
        "source: sales.csv", 'source: {path: sales.csv, csv: {separator: ";", decimal: ",", day_first: true}}'
    )
    text = text.replace("paid}", "paid, discount: off}").replace(
        "{not_recorded: made up}", "{column: ok, purpose: offers}"
    )
    with pytest.raises(SchemaError, match="carries no time zone in 2 of 2 rows; state time_zone"):
        job(f"{text}columns: {{off: protected}}\n").read_records()
    tx = job(f"{text}columns: {{off: protected}}\ntime_zone: UTC\n").read_records()
    (row,) = [row for table in tx.tables() for row in table.to_pylist()]
    assert (row["customer"], row["amount"], row["day"]) == ("007", 150, dt.date(2024, 4, 3))
    assert "discount" not in row
    assert tx.n_without_consent == 1
    with pytest.raises(SchemaError, match=r"'off' .discount. is text that is not a number"):
        job(f"{text}time_zone: UTC\n").read_records(head=5)
