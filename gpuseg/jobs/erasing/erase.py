"""Erase customers from a run (jobs; for ``gpuseg erase``): every file that holds ids, in one step, and for good.

Whoever is erased goes on the list of the job first, so that no run that ends meanwhile brings them back; then out of
the run, and out of its siblings where that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpuseg.errors import InputError, OutputError, RunError, SourceError
from gpuseg.jobs.erasing.ids_file import read_ids
from gpuseg.jobs.erasing.job_list import add_to_list, list_folder
from gpuseg.jobs.erasing.rows_out import customers_in, without_rows
from gpuseg.jobs.erasing.siblings import sibling_runs
from gpuseg.jobs.erasing.suppression import SUPPRESSED, WHAT_IT_IS, load_suppression
from gpuseg.jobs.kept.runs import MANIFEST, Run, locked, open_run, rewrite_run
from gpuseg.jobs.output import sweep_cut_off

README = "README.txt"


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
    listed : Path or None
        Folder of the job, whose list has them now; None for a run that lies outside of it.
    others : tuple of Erased
        The same for other runs of the job, where that was asked for.
    held : dict of Path to int
        Other runs of the job that still hold some of them, and how many.
    unknown : dict of Path to str
        Runs of which nobody can say, and why.
    """

    run: Run
    asked: int
    found: int
    rows: dict[str, int]
    listed: Path | None
    others: tuple[Erased, ...] = ()
    held: Mapping[Path, int] | None = None
    unknown: Mapping[Path, str] | None = None

    @property
    def summary(self) -> str:
        """What was done, what stays, and what is left to the user; a line each."""
        absent = self.asked - self.found
        lines = [
            f"{self.found:,} of {self.asked:,} customers erased; rows taken out of: {_words(self.rows)}."
        ]
        if absent:
            lines.append(f"{absent:,} were not in this run; they are kept out of it all the same.")
        lines += [
            f"{other.run.path.name}: {other.found:,} erased; rows taken out of: {_words(other.rows)}."
            for other in self.others
        ]
        lines += _about_others(self.held or {}, self.unknown or {})
        lines.append(_kept_out(self.listed, self.run))
        lines += [
            "What was fitted with them stays: centres, profiles and report. Run the job again to be rid of that.",
            "Files that were exported or copied from this run, and the list of ids itself, are yours to delete.",
        ]
        return "\n".join(lines)


def _words(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in rows.items()) or "no file"


def _about_others(held: Mapping[Path, int], unknown: Mapping[Path, str]) -> list[str]:
    lines = []
    if held:
        listed = ", ".join(f"{path.name} ({count:,})" for path, count in held.items())
        lines.append(f"Other runs of this job still hold them: {listed}; erase there too with --all-runs.")
    return [
        *lines,
        *(f"Nobody can say whether {path.name} holds them: {why}" for path, why in unknown.items()),
    ]


def _kept_out(listed: Path | None, run: Run) -> str:
    if listed is None:
        return (
            f"{SUPPRESSED} keeps them out of what is assigned with this run's model, and of runs with --refresh "
            f"{run.path} (hashes, no ids); this run is not where its job's runs are, so others do not know of it."
        )
    return (
        f"{listed / SUPPRESSED} keeps them out of new runs of this job, and of what is assigned with its models "
        "(hashes, no ids)."
    )


def erase_customers(folder: Path, ids: Path, *, all_runs: bool = False) -> Erased:
    """Take customers out of every file of a run that holds ids, and keep them out of the job.

    Parameters
    ----------
    folder : Path
        Of the run.
    ids : Path
        Their ids: a text file with one a line, a CSV file with the customer's column (or ids alone in the first), or
        a Parquet file with that column.
    all_runs : bool, default False
        Erase them from every run of the same job in the same folder, each in one step.

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
        The folder cannot be rewritten; it is as it was. With ``all_runs``: some folder; the message says which runs
        are done and which are not.
    """
    run = open_run(folder)
    wanted = read_ids(ids, run)
    if all_runs:
        return _erase_everywhere(run, wanted)
    done = _erase(run.path, wanted)
    sweep_cut_off(run.path.parent)
    siblings, unknown = sibling_runs(done.run)
    held: dict[Path, int] = {}
    for other in siblings:
        try:
            held[other.path] = _held(other, wanted)
        except SourceError as error:
            unknown[other.path] = str(error)
    return replace(done, held={path: count for path, count in held.items() if count}, unknown=unknown)


def _erase_everywhere(run: Run, wanted: frozenset[str]) -> Erased:
    """Erase from a run and its siblings: what one of them lacks does not keep the others from being done."""
    done: dict[Path, Erased] = {}
    siblings, failed = sibling_runs(run)
    for path in (run.path, *(other.path for other in siblings)):
        try:
            done[path] = _erase(path, wanted)
        except (InputError, RunError) as error:
            failed[path] = str(error)
    sweep_cut_off(run.path.parent)
    if failed:
        names = ", ".join(path.name for path in done) or "no run"
        reasons = "\n".join(f"  - {path.name}: {why}" for path, why in failed.items())
        raise OutputError(f"erased from {names}; not from {len(failed)} others, so erase again:\n{reasons}")
    return replace(done.pop(run.path), others=tuple(done.values()))


def _held(run: Run, wanted: frozenset[str]) -> int:
    """How many of these customers some file of a run holds; a run that is rewritten meanwhile is looked at again."""
    try:
        _, rows = without_rows(run, wanted)
    except SourceError:
        run = open_run(run.path)
        _, rows = without_rows(run, wanted)
    return max(customers_in(run, wanted), 1) if rows else 0


def _erase(folder: Path, wanted: frozenset[str]) -> Erased:
    """Erase from one run."""
    with locked(folder) as run:
        found = customers_in(run, wanted)
        contents, rows = without_rows(run, wanted)
        erased, listed = load_suppression(run.path), list_folder(run)
        erased = erased.adding(wanted) if listed is None else erased.merged(add_to_list(listed, wanted))
        contents[SUPPRESSED] = erased.to_bytes()
        entry = {
            "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "customers": found,
            "rows": rows,
            "note": "counts, profiles, report and model are of the run before customers were erased",
        }
        if run.has(README):
            contents[README] = _told(run.read(README, edited=True), entry)
        entries = [*run.manifest.get("erased", []), entry]
        try:
            after = rewrite_run(run, contents, {"erased": entries}, without_ids=(SUPPRESSED,))
        except OutputError as error:
            if listed is None:
                raise
            raise OutputError(
                f"{error} but {listed / SUPPRESSED}, which keeps these customers out of new runs; erase again"
            ) from error
    return Erased(after, len(wanted), found, rows, listed)


def _told(readme: bytes, entry: Mapping[str, Any]) -> bytes:
    """What the folder says about itself, with what was erased."""
    lines = readme.decode("utf-8", "replace").splitlines()
    if not any(line.startswith(f"{SUPPRESSED}:") for line in lines):
        last = [place for place, line in enumerate(lines) if line.startswith(f"{MANIFEST}:")]
        lines.insert(last[0] if last else len(lines), f"{SUPPRESSED}: {WHAT_IT_IS}")
    if entry["customers"]:
        day = entry["when"][:10]
        lines.append(f"{entry['customers']:,} customers were erased on {day} (UTC): {entry['note']}.")
    return ("\n".join(lines) + "\n").encode()
