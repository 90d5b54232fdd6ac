"""Bad input, from the command line to the folder: one clear sentence and nothing left behind, or counted rejects."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import gpuseg as gs
from gpuseg import datasets
from gpuseg.cli import app

N = 60
UNTIL, WINDOW = "2023-09-30", ("2023-10-01", "2023-12-31")
JOB = {
    "version": 1,
    "job": {"name": "shop"},
    "source": "sales.csv",
    "roles": {
        "customer": "member",
        "time": "day",
        "amount": "paid",
        "basket": "receipt",
        "category": "group",
    },
    "time_zone": "Europe/Paris",
    "naive": "local",
    "consent": {"not_recorded": "made-up members"},
    "segments": {"clusters": [3]},
}
CASE = {
    "objective": "More tickets for each letter.",
    "decision": "Which members get the next letter",
    "features_until": UNTIL,
    "outcome_window": [*WINDOW],
    "outcome": {"name": "bought a ticket", "source": "tickets.csv", "customer": "member", "time": "day"},
    "contact_filter": {"source": "letters.csv", "customer": "member", "time": "sent"},
}
GPUSEG = [sys.executable, "-m", "gpuseg.cli"]
MEND = "mend them, or leave such rows out with bad_rows: reject"


def sales() -> list[dict[str, str]]:
    """The lines of 60 members as text; their ids are 001 to 060."""
    return [
        {
            "member": row["customer"][-3:],
            "day": f"{row['time']:%Y-%m-%d}",
            "paid": f"{row['amount']:.2f}",
            "receipt": str(row["basket"]),
            "group": row["department"],
        }
        for row in datasets.make_transactions(N, seed=3, text_keys=True)[0].to_pylist()
    ]


def write_csv(path, rows, mark=","):
    lines = [mark.join(rows[0])] + [mark.join(f'"{field}"' for field in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_events(folder, tickets=range(1, 31), letters=range(1, N + 1), day="2023-11-02"):
    write_csv(folder / "tickets.csv", [{"member": f"{n:03d}", "day": day} for n in tickets])
    write_csv(folder / "letters.csv", [{"member": f"{n:03d}", "sent": "2023-10-05"} for n in letters])


@dataclass
class Shop:
    """A folder with a job and its files, and the commands on them."""

    folder: Path

    def job(self, **changes):
        text = yaml.safe_dump({**JOB, **changes}, allow_unicode=True)
        (self.folder / "job.yaml").write_text(text, encoding="utf-8")

    def listing(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def refused(self, *arguments):
        """The sentence of a command that fails and leaves the folder as it was."""
        before = self.listing()
        done = CliRunner().invoke(app, [*(arguments or ("run", "job.yaml"))])
        assert self.listing() == before
        return one_sentence(done.exit_code, done.stdout, done.stderr)

    def run(self):
        """The folder of a run that works."""
        done = CliRunner().invoke(app, ["run", "job.yaml", "--out", "done", "--quiet"])
        assert (done.exit_code, done.stderr) == (0, "")
        return self.folder / "done"


def one_sentence(code, stdout, stderr, expected=2):
    assert code == expected, stdout + stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    (line,) = stderr.splitlines()
    assert line.startswith("gpuseg: ")
    return line.removeprefix("gpuseg: ")


def counts(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["counts"]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "sales.csv", sales())
    write_events(tmp_path)
    made = Shop(tmp_path)
    made.job()
    return made


# Dates in year 1 or 9999


def with_odd_years(rows):
    return [{**rows[0], "day": "0001-01-01"}, *rows, {**rows[0], "day": "9999-12-31"}]


def as_parquet(path, rows, clock):
    days = [dt.datetime.fromisoformat(row["day"]) for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    times = pa.array(days, pa.timestamp("us")) if clock else pa.array([day.date() for day in days])
    pq.write_table(pa.table({**columns, "day": times, "paid": [float(row["paid"]) for row in rows]}), path)


@pytest.mark.parametrize("kind", ["csv", "clock", "date"])
def test_a_date_in_year_1_or_9999(shop, kind):
    rows = with_odd_years(sales())
    source = "sales.csv" if kind == "csv" else "sales.parquet"
    if kind == "csv":
        write_csv(shop.folder / source, rows)
    else:
        as_parquet(shop.folder / source, rows, clock=kind == "clock")
    shop.job(source=source)
    expected = (
        f"{source}: column 'day' (time) lies before 1900 or after 2199 in 2 of {len(rows):,} rows; {MEND}"
    )
    assert shop.refused() == expected
    assert expected in shop.refused("check", "job.yaml")
    shop.job(source=source, bad_rows="reject")
    folder = shop.run()
    assert counts(folder)["rows_left_out_by_reason"] == {"time out of range": 2}
    found = pq.read_table(folder / "rejects.parquet")
    assert found["source_row"].to_pylist() == [1, len(rows)]
    assert [text[:4] for text in found["day"].to_pylist()] == ["0001", "9999"]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize(("file", "column"), [("tickets.csv", "day"), ("letters.csv", "sent")])
def test_an_event_in_year_1_or_9999(shop, day, file, column):
    with (shop.folder / file).open("a") as more:
        more.write(f"001,{day}\n")
    shop.job(use_case=CASE)
    said = f"column {column!r} lies before 1900 or after 2199 in 1 of"
    assert f"{file}: {said}" in shop.refused()
    assert f"{'outcome' if file == 'tickets.csv' else 'contact_filter'}: {said}" in shop.refused(
        "check", "job.yaml"
    )


def test_a_contact_may_end_in_9999_which_is_not_yet(shop):
    letters = [{"member": f"{n:03d}", "from": "2023-10-05", "to": "9999-12-31"} for n in range(1, N + 1)]
    write_csv(shop.folder / "letters.csv", letters)
    contacts = {"source": "letters.csv", "customer": "member", "start": "from", "end": "to"}
    shop.job(use_case={**CASE, "contact_filter": contacts})
    outcome = json.loads((shop.run() / "quality.json").read_text())["outcome"]
    assert sum(segment["contacted"] for segment in outcome["segments"]) == N


# Misspelt keys


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"segmets": {"clusters": [3]}}, "unknown key 'segmets' (line 15); did you mean 'segments'?"),
        (
            {"segments": {"cluster": [3]}},
            "unknown key 'segments.cluster' (line 13); did you mean 'clusters'?",
        ),
        ({"roles": {**JOB["roles"], "baskt": "x"}}, "did you mean 'basket'?"),
        ({"use_case": {**CASE, "outcome_widow": [*WINDOW]}}, "did you mean 'outcome_window'?"),
        (
            {"roles": {**JOB["roles"], "customer": "membr"}},
            "column 'membr' (customer) is missing; did you mean",
        ),
        ({"naive": "locl"}, "'naive' is 'locl' (line 5); did you mean 'local'?"),
        ({"time_zone": "Europe/Pariss"}, "did you mean 'Europe/Paris'?"),
    ],
)
def test_a_misspelt_key_is_met_with_the_nearest_one(shop, changes, said):
    shop.job(**changes)
    assert said in shop.refused()
    assert said in shop.refused("check", "job.yaml")


# Times without a zone


@pytest.mark.parametrize("kind", ["csv", "clock"])
def test_a_job_must_state_the_zone_of_naive_times(shop, kind):
    source = "sales.csv" if kind == "csv" else "sales.parquet"
    if kind == "clock":
        as_parquet(shop.folder / source, sales(), clock=True)
    shop.job(source=source, time_zone=None, naive="utc")
    said = shop.refused()
    assert said.startswith(f"{source}: column 'day' (time) carries no time zone in ")
    assert "state time_zone, such as 'Europe/Paris'" in said


def test_python_takes_utc_with_one_warning(shop):
    code = (
        "import gpuseg; tx = gpuseg.read_transactions('sales.csv', customer='member', time='day', amount='paid'); "
        "print(tx.time_zone)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "UTC\n"
    assert done.stderr.count("carry no time zone; they are taken as UTC") == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gs.read_transactions("sales.csv", customer="member", time="day", amount="paid", time_zone="UTC")
    assert caught == []


# Leading zeros


def test_leading_zeros_are_kept(shop):
    folder = shop.run()
    ids = [f"{n:03d}" for n in range(1, N + 1)]
    table = pq.read_table(folder / "segments.parquet")
    assert table["member"].to_pylist() == ids
    assert pa.types.is_string(table["member"].type) or pa.types.is_large_string(table["member"].type)
    lines = (folder / "segments.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[0].strip('"') for line in lines] == ["member", *ids]


def test_zeros_in_one_of_two_files_are_zeros_in_both(shop):
    rows = sales()
    (shop.folder / "sales").mkdir()
    bare = [{**row, "member": f"9{row['member']}"} for row in rows]
    write_csv(shop.folder / "sales" / "a.csv", bare)
    write_csv(shop.folder / "sales" / "b.csv", rows)
    shop.job(source="sales")
    found = pq.read_table(shop.run() / "segments.parquet")["member"].to_pylist()
    assert found == sorted([f"{n:03d}" for n in range(1, N + 1)] + [f"9{n:03d}" for n in range(1, N + 1)])


# Decimal commas and day-first dates


def as_german(rows, day="{2}.{1}.{0}"):
    return [
        {**row, "paid": row["paid"].replace(".", ","), "day": day.format(*row["day"].split("-"))}
        for row in rows
    ]


def test_decimal_commas_and_day_first_dates_are_declared(shop):
    rows = as_german(sales())
    write_csv(shop.folder / "sales.csv", rows, ";")
    for csv, said in (
        ({"separator": ";", "day_first": True}, "source.csv: {decimal: ','}"),
        ({"separator": ";", "decimal": ","}, "source.csv: {day_first: true} or false"),
    ):
        shop.job(source={"path": "sales.csv", "csv": csv})
        assert said in shop.refused()
        shop.job(source={"path": "sales.csv", "csv": csv}, bad_rows="reject")
        assert "all " in shop.refused()  # nobody guesses: every row is left out, so there is nothing to use
    shop.job(source={"path": "sales.csv", "csv": {"separator": ";", "decimal": ",", "day_first": True}})
    german = shop.run()
    write_csv(shop.folder / "sales.csv", sales())
    shop.job()
    shutil.move(german, shop.folder / "german")
    assert pq.read_table(shop.run() / "features.parquet").equals(
        pq.read_table(shop.folder / "german" / "features.parquet")
    )


def test_init_declares_what_it_read_and_says_where_it_is_unsure(shop):
    early = [row for row in as_german(sales()) if int(row["day"][:2]) <= 12]  # 3.4.2023: April or March?
    write_csv(shop.folder / "sales.csv", early, ";")
    (shop.folder / "job.yaml").unlink()
    done = CliRunner().invoke(app, ["init", "sales.csv"])
    assert done.exit_code == 0, done.output
    written = (shop.folder / "job.yaml").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in written if "day_first:" in line]
    assert line.split("#")[0].split() == ["day_first:", "true"]
    assert "false if the month comes first" in line
    assert any(line.split("#")[0].split() == ["decimal:", '","'] for line in written)


# Two currencies


def test_two_currencies(shop):
    rows = [{**row, "cur": "EUR"} for row in sales()]
    rows[7]["cur"] = "USD"
    write_csv(shop.folder / "sales.csv", rows)
    for choice in ("error", "reject"):
        shop.job(roles={**JOB["roles"], "currency": "cur"}, bad_rows=choice)
        assert shop.refused() == (
            f"sales.csv: column 'cur' (currency) has 2 currencies (EUR: {len(rows) - 1:,} rows, USD: 1 rows); "
            "convert the amounts to one of them"
        )


# Consent that cannot be read


def test_consent_that_cannot_be_read(shop):
    rows = [{**row, "agreed": "yes"} for row in sales()]
    rows[3]["agreed"] = "perhaps"
    write_csv(shop.folder / "sales.csv", rows)
    consent = {"column": "agreed", "purpose": "offers by post"}
    shop.job(consent=consent)
    assert "column 'agreed' (consent) is neither true/false, yes/no nor 1/0 in 1 of" in shop.refused()
    shop.job(consent=consent, bad_rows="reject")
    told = counts(shop.run())
    assert told["rows_left_out_by_reason"] == {"consent not a flag": 1, "consent not given": 1}
    assert told["customers_partly_without_consent"] == 1


# Outcomes that say nothing


@pytest.mark.parametrize("contacts", [True, False])
@pytest.mark.parametrize(
    ("events", "window", "said"),
    [
        (
            {},
            ["2025-10-01", "2025-12-31"],
            "the outcome window 2025-10-01 to 2025-12-31 lies outside the data, which cover 2023-11-02",
        ),
        (
            {"day": "2023-10-01"},
            ["2023-10-02", "2023-12-31"],
            "lies outside the data, which cover 2023-10-01 to",
        ),
        (
            {},
            ["2023-08-01", "2023-12-31"],
            "the outcome window begins on 2023-08-01, not after features_until, 2023-09-30",
        ),
        ({"tickets": range(700, 730)}, WINDOW, "none of the 60 customers{contacted} "),
        ({"tickets": range(1, N + 1)}, WINDOW, "all 60 customers{contacted} "),
        ({"tickets": range(1, N + 1), "letters": range(1, N)}, WINDOW, "all {most} customers{contacted} "),
    ],
    ids=["outside", "all before", "too early", "nobody", "everybody", "everybody of those contacted"],
)
def test_an_outcome_that_says_nothing(shop, contacts, events, window, said):
    write_events(shop.folder, **events)
    case = {key: value for key, value in CASE.items() if contacts or key != "contact_filter"}
    shop.job(use_case={**case, "outcome_window": [*window]})
    found = shop.refused()
    assert said.format(contacted=" contacted" if contacts else "", most=59 if contacts else 60) in found
    assert ("contacted" in found) == (contacts and "{contacted}" in said)
    if "{contacted}" in said:
        assert "separates nothing: choose another" in found


def test_an_outcome_of_other_customers(shop):
    """Letters and tickets agree with each other and not with the records."""
    write_events(shop.folder, tickets=range(701, 720), letters=range(700, 760))
    shop.job(use_case=CASE)
    assert "none of the 60 customers contacted is among the 60 that have features" in shop.refused()
    write_events(shop.folder, tickets=range(700, 730), letters=[*range(700, 760), 1, 2, 3])
    shop.job(use_case=CASE)
    assert "none of the 3 customers who were contacted had the outcome" in shop.refused()


# A full disk


IN_OWN_MOUNTS = """
mkdir -p full && mount -t tmpfs -o size="$1"k tmpfs full || exit 99
shift
"$@"
code=$?
find full -mindepth 1
exit $code
"""


def on_a_disk_of(kib, *command):
    """Run a command whose folder "full" is a disk of so many KiB; its answer ends with what it left there."""
    alone = ["unshare", "--map-root-user", "--mount", "bash", "-c", IN_OWN_MOUNTS, "-", str(kib)]
    return subprocess.run([*alone, *command], capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.skipif(
    shutil.which("unshare") is None, reason="a disk of one's own needs unshare; see the next test"
)
@pytest.mark.parametrize("kib", [4, 60])
def test_a_full_disk(shop, kib):
    """A disk that is full at the first file, or in the middle."""
    (shop.folder / "full").mkdir()
    if on_a_disk_of(kib, "true").returncode:
        pytest.skip("may not mount a disk of one's own; the next test needs no such right")
    before = shop.listing()
    done = on_a_disk_of(kib, *GPUSEG, "run", "job.yaml", "--out", "full/done")
    said = one_sentence(done.returncode, done.stdout, done.stderr, expected=1)
    assert said.startswith(str(shop.folder / "full" / "done"))
    assert (
        "cannot be written: no space left on device; free some space, or choose a folder on another" in said
    )
    assert shop.listing() == before


@pytest.mark.parametrize("kib", [1, 30])
def test_files_that_may_not_grow(shop, kib):
    """The same through a limit of the system on the size of a file, which needs no right."""
    shop.run()  # so that all kernels are compiled and kept: those files may not grow either
    before = shop.listing()
    limited = ["bash", "-c", 'ulimit -f "$1" && shift && exec "$@"', "-", str(kib)]
    done = subprocess.run(
        [*limited, *GPUSEG, "run", "job.yaml", "--out", "other"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = one_sentence(done.returncode, done.stdout, done.stderr, expected=1)
    assert "cannot be written: file too large; choose another folder" in said
    assert shop.listing() == before
