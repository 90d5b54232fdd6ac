"""Erase customers from a run (jobs; for ``gpuseg erase``): every file that holds ids, in one step, and for good."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.errors import InputError, SourceError
from gpuseg.jobs.formats import table_bytes
from gpuseg.jobs.runs import REJECTS, Run, locked, rewrite_run, typed_key
from gpuseg.jobs.suppression import SUPPRESSED, Suppression, load_suppression

_SHOWN = 5


@dataclass(frozen=True)
class Erased:
    """What was erased.

    Parameters
    ----------
    run : Run
        As it is now.
    asked : int
        Customers whom the list names.
    found : int
        Those of them who were in the run.
    rows : dict of str to int
        Rows taken out of each file.
    """

    run: Run
    asked: int
    found: int
    rows: dict[str, int]

    @property
    def summary(self) -> str:
        """What was done, what stays, and what is left to the user; a line each."""
        files = ", ".join(f"{name} ({count:,})" for name, count in self.rows.items()) or "no file"
        absent = self.asked - self.found
        lines = [f"{self.found:,} of {self.asked:,} customers erased; rows taken out of: {files}."]
        if absent:
            lines.append(f"{absent:,} were not in this run; they are kept out of it all the same.")
        lines += [
            f"{SUPPRESSED} keeps them out of what is assigned with this run's model (hashes, no ids).",
            "What was fitted with them stays: centres, profiles and report. Run the job again to be rid of that.",
            "Files that were exported or copied from this run, and the list of ids itself, are yours to delete.",
        ]
        return "\n".join(lines)


def erase_customers(folder: Path, ids: Path) -> Erased:
    """Take customers out of every file of a run that holds ids.

    Parameters
    ----------
    folder : Path
        Of the run.
    ids : Path
        Their ids: a text file with one a line, a CSV file with the customer's column (or ids alone in the first), or
        a Parquet file with that column.

    Returns
    -------
    Erased

    Raises
    ------
    InputError
        There are no ids, or some that cannot be ids of this run.
    SourceError
        A file of the run is damaged or of a kind that nobody can erase from; nothing was changed.
    OutputError
        The folder cannot be rewritten; nothing was changed.
    """
    with locked(folder) as run:
        wanted = _read_ids(ids, run)
        present = _present(run, wanted)
        contents, rows = _without(run, wanted)
        before = load_suppression(run.path) or Suppression()
        contents[SUPPRESSED] = before.adding(wanted).to_bytes()
        entry = {
            "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "customers": len(present),
            "rows": rows,
            "note": "counts, profiles, report and model are of the run before customers were erased",
        }
        erased = [*run.manifest.get("erased", []), entry]
        after = rewrite_run(run, contents, {"erased": erased}, without_ids=(SUPPRESSED,))
    return Erased(after, len(wanted), len(present), rows)


def _present(run: Run, wanted: Collection[str]) -> set[str]:
    """Which of them the run knows: those in segments, and those all of whose rows were left out."""
    found: set[str] = set()
    for table in (run.segments, *([run.table(REJECTS)] if run.has(REJECTS) else [])):
        _require_column(run.customer in table.column_names, REJECTS, run)
        keys = table[run.customer]
        found |= {str(key) for key in keys.filter(pa.array(_is_wanted(keys, wanted))).unique().to_pylist()}
    return found


def _without(run: Run, wanted: Collection[str]) -> tuple[dict[str, bytes], dict[str, int]]:
    """New contents of the files that lose rows, and how many each."""
    contents: dict[str, bytes] = {}
    rows: dict[str, int] = {}
    for name, file in run.files.items():
        if not file["holds_customer_ids"]:
            continue
        old = run.read(name)
        new, count = _filter(old, name, run, wanted)
        if count:
            contents[name], rows[name] = new, count
    return contents, rows


def _filter(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    match Path(name).suffix:
        case ".parquet":
            return _filter_parquet(content, name, run, wanted)
        case ".csv":
            return _filter_csv(content, name, run, wanted)
        case ".json":
            return _filter_json(content, name, run, wanted)
        case kind:
            raise SourceError(
                f"{run.path / name} holds ids, but nobody can erase from a {kind or 'nameless'} file; nothing was "
                "changed: delete that file and its line in the manifest, then erase again"
            )


def _filter_parquet(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    table = pq.read_table(io.BytesIO(content))
    _require_column(run.customer in table.column_names, name, run)
    stays = ~_is_wanted(table[run.customer], wanted)
    kept = table.filter(pa.array(stays))
    return table_bytes(kept, "parquet"), len(table) - len(kept)


def _is_wanted(keys: pa.ChunkedArray, wanted: Collection[str]) -> Any:
    text = keys.cast(pa.string())
    return np.asarray(
        pc.is_in(text, value_set=pa.array(sorted(wanted), pa.string())).to_numpy(zero_copy_only=False)
    )


def _filter_csv(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    """Lines that stay keep their bytes; a quoted field may span several of them."""
    lines = io.StringIO(content.decode("utf-8"), newline="").readlines()
    reader = csv.reader([lines[0].removeprefix("\ufeff"), *lines[1:]] if lines else [])
    header = next(reader, [])
    _require_column(run.customer in header, name, run)
    place = header.index(run.customer)
    kept, count, start = lines[: reader.line_num], 0, reader.line_num
    for row in reader:
        if len(row) > place and row[place] in wanted:
            count += 1
        else:
            kept += lines[start : reader.line_num]
        start = reader.line_num
    return "".join(kept).encode(), count


def _filter_json(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    try:
        rows = json.loads(content)
        kept = [row for row in rows if str(row[run.customer]) not in wanted]
    except (ValueError, TypeError, KeyError):
        _require_column(present=False, name=name, run=run)
        raise
    return (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode(), len(rows) - len(kept)


def _require_column(present: bool, name: str, run: Run) -> None:
    if not present:
        raise SourceError(
            f"{run.path / name} is listed as holding ids, but has no column {run.customer!r}; nothing was changed: "
            "run the job again"
        )


def _read_ids(path: Path, run: Run) -> set[str]:
    """The ids as text, each spelt as the run spells its own."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    ids = (
        _ids_of_parquet(content, path, run)
        if path.suffix in {".parquet", ".pq"}
        else _ids_of_text(content, path, run)
    )
    wanted = {found for found in ids if found}
    if not wanted:
        raise InputError(f"{path}: no ids in it; give one a line")
    kind = run.segments[run.customer].type
    wrong = sorted(found for found in wanted if typed_key(found, kind) is None)
    if wrong:
        shown = ", ".join(map(repr, wrong[:_SHOWN]))
        raise InputError(
            f"{path}: {len(wrong):,} of {len(wanted):,} cannot be ids of this run, whose ids are whole numbers without "
            f"leading zeros ({shown}); nothing was changed"
        )
    return wanted


def _ids_of_parquet(content: bytes, path: Path, run: Run) -> list[str]:
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path} is no Parquet file ({error})") from error
    if run.customer not in table.column_names:
        raise InputError(
            f"{path} has no column {run.customer!r}; it has {', '.join(table.column_names[:12])}"
        )
    return [str(key) for key in table[run.customer].to_pylist() if key is not None]


def _ids_of_text(content: bytes, path: Path, run: Run) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    rows = list(csv.reader(io.StringIO(text, newline="")))
    header = rows[0] if rows else []
    place = header.index(run.customer) if run.customer in header else 0
    if run.customer in header:
        rows = rows[1:]
    elif any(len(row) > 1 for row in rows):
        raise InputError(
            f"{path} has several columns, but none is called {run.customer!r}; name the column of the ids so"
        )
    return [row[place].strip() for row in rows if len(row) > place]
