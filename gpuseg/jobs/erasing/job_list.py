"""The list of a job (jobs; for erase, runs and assign): who was erased from any of its runs, beside ``LATEST``.

It outlives every run, so that a new one leaves these customers out although nobody names an earlier run. Whoever
changes it, or publishes a run that it was applied to, holds its lock: no erasure falls between the two.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from gpuseg.errors import OutputError
from gpuseg.jobs.erasing.suppression import SUPPRESSED, Suppression, load_suppression
from gpuseg.jobs.kept.runs import MANIFEST, Run, open_run
from gpuseg.jobs.output import LATEST

logger = logging.getLogger("gpuseg.jobs")

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
"""What file systems without locks answer."""


def list_folder(run: Run) -> Path | None:
    """Where the list of a run's job lies; None for a run outside of the folder where its job's runs are.

    Parameters
    ----------
    run : Run
        Any run.
    """
    job = run.manifest.get("job")
    if not isinstance(job, str) or job != Path(job).name:
        return None
    folder = run.path.parent / job
    started = str(run.manifest.get("started")).replace("-", "").replace(":", "")
    named_by_us = run.path.name.startswith(f"{job}-{started}")
    known = (folder / LATEST).exists() or (folder / SUPPRESSED).exists()
    return folder if (named_by_us or known) and folder != run.path else None


def known_to(folder: Path) -> Suppression:
    """Everybody who was erased from a run, or from another run of its job.

    Parameters
    ----------
    folder : Path
        Of the run; one without a manifest, such as a model that was taken out of its run, has its own list at most.

    Raises
    ------
    SourceError
        A list is there, but cannot be used.
    """
    own = load_suppression(folder)
    listed = list_folder(open_run(folder)) if _is_run(folder) else None
    return own if listed is None else own.merged(load_suppression(listed))


def _is_run(folder: Path) -> bool:
    """Whether a folder has a manifest of ours: a model may have been put beside somebody else's."""
    try:
        return "gpuseg" in json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TypeError):
        return True  # whoever opens it says what is wrong


def add_to_list(folder: Path, customers: Iterable[object]) -> Suppression:
    """Put customers on the list of a job.

    Parameters
    ----------
    folder : Path
        Of the job; made if it is not there.
    customers : iterable
        Their keys.

    Returns
    -------
    Suppression
        The whole list.

    Raises
    ------
    SourceError
        The list is there, but cannot be used.
    OutputError
        It cannot be written; it is as it was.
    """
    with _locked(folder):
        before = load_suppression(folder)
        after = before.adding(customers)
        if after != before:
            _write(folder, after)
    return after


@contextmanager
def publishing(folder: Path, applied: Suppression, customers: pa.ChunkedArray) -> Iterator[Suppression]:
    """Keep the list of a job as it is while a run is published; yields what the run carries on.

    Parameters
    ----------
    folder : Path
        Of the job.
    applied : Suppression
        Whom the run left out. Those who are not on the job's list yet are put there.
    customers : pyarrow.ChunkedArray
        Who is in the run.

    Raises
    ------
    OutputError
        Some of them were erased while the run computed, or the list cannot be written.
    SourceError
        The list is there, but cannot be used.
    """
    if not applied and not folder.exists():
        yield applied
        return
    with _locked(folder):
        listed = load_suppression(folder)
        erased = listed.merged(applied)
        meanwhile = 0
        if erased != applied:
            meanwhile = len(customers.filter(pa.array(erased.blocked(customers))).unique())
        if meanwhile:
            raise OutputError(
                f"{meanwhile:,} customers were erased while this run computed; nothing was written: run again"
            )
        if erased != listed:
            _write(folder, erased)
        yield erased


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Whoever comes second waits: nobody holds it longer than a run takes to be written."""
    if (folder / MANIFEST).exists():
        raise OutputError(
            f"{folder} is a run, but the list of whom its job erased belongs there; give that run another name"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritten(folder, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning("%s: nothing can be locked here; let no two commands work on one job", folder)
        yield
    finally:
        os.close(handle)


def _write(folder: Path, erased: Suppression) -> None:
    """Replace the list in one step."""
    hidden = folder / f".{SUPPRESSED}.{secrets.token_hex(4)}.partial"
    try:
        with hidden.open("xb") as file:
            file.write(erased.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(folder / SUPPRESSED)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unwritten(folder, error) from error
    finally:
        with suppress(OSError):
            hidden.unlink()


def _unwritten(folder: Path, error: OSError) -> OutputError:
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"{folder / SUPPRESSED} cannot be written: {reason}; nothing was changed")
