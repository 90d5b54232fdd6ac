"""The customers of one segment as a file (jobs; for ``gpuseg export``): for a mailing, a CRM, another program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from gpuseg.errors import InputError
from gpuseg.jobs.kept.formats import KINDS, table_bytes
from gpuseg.jobs.kept.one_file import refuse_existing, write_new_file
from gpuseg.jobs.kept.runs import open_run


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Parameters
    ----------
    path : Path
        The file.
    segment_id : int
        Whose customers.
    name : str
        Of the segment.
    customers : int
        Rows.
    """

    path: Path
    segment_id: int
    name: str
    customers: int

    @property
    def summary(self) -> str:
        """What is in the file, and what that means for who keeps it."""
        return (
            f'{self.path}: {self.customers:,} customers of segment {self.segment_id} "{self.name}".\n'
            "The file holds customer ids: keep it where ids may be, and delete it when it has served its purpose. "
            "gpuseg erase does not reach it."
        )


def export_segment(folder: Path, segment: str, kind: str, out: Path | None = None) -> Exported:
    """Write the rows of one segment's customers into a new file.

    Parameters
    ----------
    folder : Path
        Of the run.
    segment : str
        Name or id of the segment.
    kind : {"csv", "parquet", "json"}
        Format of the file.
    out : Path, optional
        The file to make. Default: ``segment-<id>-<name>.<kind>`` in the working directory.

    Returns
    -------
    Exported

    Raises
    ------
    InputError
        There is no such run, segment or format.
    OutputError
        The file exists or cannot be written.
    """
    if kind not in KINDS:
        raise InputError(f"--to {kind!r} is no format; use {', '.join(KINDS)}")
    if out is not None:
        refuse_existing(out)
    run = open_run(folder)
    number = run.segment(segment)
    name = run.names[number]
    path = Path(f"segment-{number}-{_slug(name)}.{kind}") if out is None else out
    table = run.segments.filter(pc.equal(run.segments["segment_id"], number))
    write_new_file(path, table_bytes(table, kind))
    return Exported(path, number, name, len(table))


def _slug(name: str) -> str:
    return re.sub(r"[^\w]+", "-", name.casefold()).strip("-")[:60] or "unnamed"
