"""From a file to a job file (jobs; for ``gpuseg init``): guesses, each written down as a declaration to correct.

The job file runs as written: before it is written, the records are read with it, and what is found (rows that cannot
be used, digits past the cent) is declared too. A guess that may be wrong says so in its comment.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa

from gpuseg.customers.reading.file_sources import file_format, find_files
from gpuseg.customers.reading.roles import ROLE_KINDS, value_kind
from gpuseg.customers.reading.sources import open_source
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.errors import InputError, SourceError
from gpuseg.jobs.declared.draft import Draft, job_lines
from gpuseg.jobs.declared.guess_roles import Column, currency_sign, guess_roles
from gpuseg.jobs.declared.guess_text import GuessedText, guess_text, guess_times, is_numbers
from gpuseg.jobs.declared.job_file import JobFile
from gpuseg.jobs.kept.one_file import refuse_existing, write_new_file

VERIFIED_ROWS = 2_000_000
"""Records of each file that are read to see that the job runs."""

_REQUIRED = ("customer", "time", "amount")
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
_FLAGS = frozenset({"true", "false", "yes", "no", "y", "n", "ja", "nein", "oui", "non"})
_REASONS = {"decimal comma", "grouped digits"}


def init_job(file: str, out: Path, stated: Mapping[str, str]) -> str:
    """Write a job file for a file of records.

    Parameters
    ----------
    file : str
        Parquet or CSV: a path, a folder or a glob.
    out : Path
        The job file to write; it must not exist.
    stated : mapping of str to str
        Columns of roles that the user named.

    Returns
    -------
    str
        What was guessed, and what to do next, in a few lines.

    Raises
    ------
    InputError
        The file cannot be read, no column looks like the customer, time or amount, or no declaration mends the records.
    OutputError
        The job file exists or cannot be written.
    """
    refuse_existing(out)
    draft, columns = _first_draft(file, out.parent, stated)
    missing = [role for role in _REQUIRED if role not in draft.values["roles"]]
    if missing:
        raise InputError(f"{file}: {_unguessed(missing, draft, columns)}")
    try:
        draft, tx = _verified(draft, out.parent)
    except SourceError as error:
        raise SourceError(f"{error}{_no_amount(draft, columns)}") from error
    sign = currency_sign(draft.values["roles"]["amount"])
    if sign:
        draft = _changed(
            draft, {"words": {"currency": sign}}, {"words.currency": "as the column's name says"}
        )
    played = {*draft.values["roles"].values()}
    others = [column for column in columns if column.name not in played]
    write_new_file(out, "\n".join([*job_lines(draft, tx, others), ""]).encode())
    return "\n".join(_summary(draft, tx, out))


def _unguessed(missing: list[str], draft: Draft, columns: list[Column]) -> str:
    """Which roles nothing points to, and what there is to choose from."""
    if len(columns) == 1 and re.search(r"\S\s+\S", columns[0].name):
        return (
            f"one column only, {columns[0].name!r}: fields between spaces cannot be read; put commas between "
            "them, for example with sed -E 's/^ +//; s/ +/,/g' OLD > NEW.csv"
        )
    listed = ", ".join(
        f"{column.name} ({column.kind}{f', such as {column.example}' if column.example else ''})"
        for column in columns
    )
    options = " ".join(f"--{role} COLUMN" for role in missing)
    headless = draft.notes.get("source.csv.header")
    numbered = f"; {headless}, so the columns are numbered" if headless else ""
    return (
        f"no column looks like the {' or the '.join(missing)}; name {'it' if len(missing) == 1 else 'them'}: {options} "
        f"(the columns are {listed}{numbered}){_with_decimals(missing, columns)}"
    )


def _with_decimals(missing: list[str], columns: list[Column]) -> str:
    """Ids that a program made floats of, because some were empty: 1.0 is another text than 1."""
    if "customer" not in missing:
        return ""
    as_whole = [Column(column.name, "whole") for column in columns if column.kind == "number"]
    name = guess_roles(as_whole, {})[0].get("customer")
    if name is None:
        return ""
    return f"; {name} holds numbers with decimals, as 1.0 for 1: write them as whole numbers or text"


def _no_amount(draft: Draft, columns: list[Column]) -> str:
    """What is the matter with a column of texts that was named as the amount."""
    amount = next(column for column in columns if column.name == draft.values["roles"]["amount"])
    if amount.kind != "text" or not amount.example:
        return ""
    return (
        f"; column {amount.name!r} holds such as {amount.example!r}: an amount is digits with marks, so take any sign "
        "of a currency out of it"
    )


def _first_draft(file: str, folder: Path, stated: Mapping[str, str]) -> tuple[Draft, list[Column]]:
    filesystem, first = find_files(file)[0]
    source: dict[str, Any] = {"path": _from_folder(file, folder)}
    notes: dict[str, str] = {}
    values: dict[str, Any] = {"version": 1, "job": {"name": _job_name(file)}, "source": source}
    text: GuessedText | None = None
    if file_format(first, declared_csv=True) == "csv":
        text = guess_text(filesystem, first)
        source |= {"format": "csv", "csv": _dialect(text)}
        notes |= {f"source.csv.{key}": note for key, note in text.notes.items()}
        columns = [
            Column(name, _text_kind(values, text), "".join(values[:1])[:40])
            for name, values in ((name, text.column(name)) for name in text.names)
        ]
    else:
        schema = open_source(file, ()).parts[0].schema
        columns = [Column(column.name, _arrow_kind(column.type)) for column in schema]
        source["format"] = "parquet"
    _check_stated(file, stated, columns)
    roles, role_notes = guess_roles(columns, stated)
    consent = roles.pop("consent", None)
    values["roles"] = {role: roles[role] for role in ROLE_KINDS if role in roles}
    if "amount_of" in role_notes:
        values["amount_of"] = "piece"
        notes["amount_of"] = role_notes.pop("amount_of")
    notes |= {f"roles.{role}": note for role, note in role_notes.items()}
    if consent is not None:
        notes["consent"] = f"{consent!r} looks like it: consent: {{column: {consent}, purpose: ...}}"
    if text is not None and "time" in roles:
        declared, note = guess_times(text.column(roles["time"])) or ({}, "")
        source["csv"] |= declared
        notes |= {f"source.csv.{key}": note for key in declared if note}
    values |= {"time_zone": "UTC", "naive": "local", "minor_units": 2, "bad_rows": "error"}
    notes["time_zone"] = "assumed"
    return Draft(values, notes), columns


def _check_stated(file: str, stated: Mapping[str, str], columns: list[Column]) -> None:
    names = [column.name for column in columns]
    unknown = [f"--{role} {name}" for role, name in stated.items() if name not in names]
    if unknown:
        raise InputError(
            f"{file}: there is no column for {', '.join(unknown)}; the columns are {', '.join(names)}"
        )


def _from_folder(file: str, folder: Path) -> str:
    """The path from the job file's folder, so that both can move together."""
    return file if "://" in file else os.path.relpath(file, folder)


def _job_name(file: str) -> str:
    stem = Path(file.rsplit("://", maxsplit=1)[-1].rstrip("/")).name.split(".")[0]
    letters = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", letters).strip("-_")[:64] or "job"


def _dialect(text: GuessedText) -> dict[str, Any]:
    dialect = text.dialect
    found: dict[str, Any] = {"separator": dialect.separator, "decimal": dialect.decimal}
    if dialect.thousands is not None:
        found["thousands"] = dialect.thousands
    return found | {"encoding": dialect.encoding, "header": dialect.header}


def _text_kind(values: list[str], text: GuessedText) -> str:
    if not values:
        return "text"
    if {value.lower() for value in values} <= _FLAGS:
        return "flag"
    if all(_WHOLE.fullmatch(value) for value in values):
        dates = all(len(value) == 8 for value in values) and guess_times(values) is not None
        return "time" if dates else "whole"
    if any(re.fullmatch(r"0\d+", value) for value in values):
        return "text"  # a leading zero is a part of a name
    if is_numbers(values, text.dialect):
        return "number"
    return "time" if guess_times(values) is not None else "text"


def _arrow_kind(dtype: pa.DataType) -> str:
    kind = value_kind(dtype)
    if kind.startswith("time") or kind == "date":
        return "time"
    return {"integer": "whole", "float": "number", "decimal": "number"}.get(kind, kind)


def _job(draft: Draft, folder: Path, **changes: Any) -> JobFile:
    values = {**draft.values, "consent": {"not_recorded": "not stated at init"}, **changes}
    return JobFile.model_validate(values, context={"folder": folder})


def _read(draft: Draft, folder: Path) -> Transactions:
    """Unheard: what a try leaves out is no news; what is left out in the end is declared."""
    with _unheard("gpuseg.customers"):
        return _job(draft, folder, bad_rows="reject").read_records(head=VERIFIED_ROWS)


@contextmanager
def _unheard(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_read(draft: Draft, folder: Path) -> tuple[Draft, Transactions]:
    """Read with as many decimals as some row can be read with."""
    while True:
        try:
            return draft, _read(draft, folder)
        except SourceError as error:
            more = _more_decimals(draft, {"amount too many decimals": 1})
            if "too many decimals" not in str(error) or more is None:
                raise
            draft = more


def _verified(draft: Draft, folder: Path) -> tuple[Draft, Transactions]:
    """Read the records and declare what they need, until nothing more can be mended by a declaration."""
    draft, tx = _first_read(draft, folder)
    for mend in (_thousands, _other_order, _more_decimals, _without_negative):
        tried = mend(draft, tx.rejects or {})
        while tried is not None:
            try:
                read = _read(tried, folder)
            except SourceError:  # the change leaves no row at all
                break
            if (read.n_rejected or 0) < (tx.n_rejected or 0):
                draft, tx = tried, read
            elif mend is not _more_decimals:  # a third decimal may mend nothing, and the fourth all
                break
            tried = mend(tried, read.rejects or {})
    if tx.n_rejected:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in (tx.rejects or {}).items())
        rows = (tx.n_rows or 0) + tx.n_rejected
        draft = _changed(
            draft, {"bad_rows": "reject"}, {"bad_rows": f"{tx.n_rejected:,} of {rows:,} rows ({reasons})"}
        )
    if draft.values["source"]["format"] == "parquet":
        zone = _job(draft, folder, time_zone=None, naive="utc", bad_rows="reject")
        draft = _own_zone(draft, zone)
    return draft, tx


def _changed(draft: Draft, values: Mapping[str, Any], notes: Mapping[str, str]) -> Draft:
    return replace(draft, values={**draft.values, **values}, notes={**draft.notes, **notes})


def _with_csv(draft: Draft, notes: Mapping[str, str], **options: Any) -> Draft:
    source = draft.values["source"]
    csv = {key: value for key, value in {**source["csv"], **options}.items() if value is not None}
    return _changed(draft, {"source": {**source, "csv": csv}}, notes)


def _thousands(draft: Draft, rejects: Mapping[str, int]) -> Draft | None:
    csv = draft.values["source"].get("csv")
    marked = any(reason.split(" ", 1)[1] in _REASONS for reason in rejects)
    if csv is None or "thousands" in csv or not marked:
        return None
    return _with_csv(draft, {}, thousands="." if csv["decimal"] == "," else ",")


def _other_order(draft: Draft, rejects: Mapping[str, int]) -> Draft | None:
    csv = draft.values["source"].get("csv", {})
    if "day_first" not in csv or "time not in declared order" not in rejects:
        return None
    return _with_csv(draft, {"source.csv.day_first": ""}, day_first=not csv["day_first"])


def _more_decimals(draft: Draft, rejects: Mapping[str, int]) -> Draft | None:
    units = draft.values["minor_units"]
    if units == 6 or not any(reason.endswith("too many decimals") for reason in rejects):
        return None
    return _changed(draft, {"minor_units": units + 1}, {"minor_units": "as many as the amounts have"})


def _without_negative(draft: Draft, rejects: Mapping[str, int]) -> Draft | None:
    wrong = [role for role in ("discount", "coupon") if f"{role} negative" in rejects]
    if not wrong:
        return None
    roles = {role: column for role, column in draft.values["roles"].items() if role != wrong[0]}
    column = draft.values["roles"][wrong[0]]
    return _changed(
        draft, {"roles": roles}, {"roles": f"{column} looks like the {wrong[0]}, but it has negative values"}
    )


def _own_zone(draft: Draft, job: JobFile) -> Draft:
    """The zone that a Parquet column carries, which is no assumption."""
    schema = open_source(job.locate(job.source.path), ()).parts[0].schema
    dtype = schema.field(job.roles.time).type
    zone = dtype.tz if pa.types.is_timestamp(dtype) else None
    return (
        draft if zone is None else _changed(draft, {"time_zone": zone}, {"time_zone": "as the column says"})
    )


def _summary(draft: Draft, tx: Transactions, out: Path) -> Iterator[str]:
    roles = ", ".join(f"{role} = {column}" for role, column in draft.values["roles"].items())
    yield f"{tx.where}: {tx.n_rows:,} rows can be used"
    yield f"Guessed: {roles}"
    yield from (f"Look at {place}: {note}" for place, note in draft.notes.items() if note)
    yield f"Every key and its meaning: {files('gpuseg') / 'data' / 'job.example.yaml'}"
    yield f"Written: {out}. Read and correct it, then: gpuseg check {out}"
