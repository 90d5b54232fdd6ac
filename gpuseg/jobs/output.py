"""Result folders (jobs; for the steps of a job): written under a hidden name, renamed when whole.

A reader of ``runs/`` sees a folder with all of its files or no folder at all: the files go to a hidden sibling, reach
the disk, and one rename makes them visible. An error, or Ctrl-C, takes the sibling away again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import OutputError

logger = logging.getLogger("gpuseg.jobs")

LATEST = "LATEST"
"""File in ``runs/<job>/`` with the name of the newest run's folder."""

_REMEDIES = {
    errno.EACCES: "choose a folder that you may write to (--out)",
    errno.EEXIST: "name a new folder (--out)",
    errno.EPERM: "choose a folder that you may write to (--out)",
    errno.EROFS: "choose a folder that you may write to (--out)",
    errno.ENOSPC: "free some space, or choose a folder on another disk (--out)",
    errno.EDQUOT: "free some space, or choose a folder on another disk (--out)",
    errno.ENOTDIR: "a part of this path is a file; choose another folder (--out)",
    errno.ENAMETOOLONG: "choose a shorter name (--out)",
}
_ANY_REMEDY = "choose another folder (--out)"
_HIDDEN = re.compile(r"\..+\.[0-9a-f]{8}\.partial")
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


@dataclass(frozen=True)
class OutputFile:
    """One file of a result folder, as the manifest lists it; ``size`` in bytes."""

    name: str
    sha256: str
    size: int
    holds_customer_ids: bool


class RunFolder:
    """A result folder in the making; a context manager.

    The block writes files; its end makes the folder visible under :attr:`path`, an exception removes every trace.

    Parameters
    ----------
    out : Path or None
        The folder to make. It must not exist. None: ``runs/<job>-<UTC time>`` under the working directory, with a
        number behind the time if that name is taken; ``runs/<job>/LATEST`` holds its name afterwards.
    job : str
        Name of the job.
    started : datetime
        When the run began, in UTC.
    runs : Path, optional
        Where folders without a name go instead of ``runs``.

    Raises
    ------
    OutputError
        The folder exists or cannot be written; the message has the remedy. Raised before any work where possible.

    Examples
    --------
    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> parent = Path(tempfile.mkdtemp())
    >>> with RunFolder(parent / "new", "demo", datetime.now(UTC)) as folder:
    ...     folder.write_text("hello.txt", "hello")
    ...     (parent / "new").exists()
    False
    >>> sorted(path.name for path in folder.path.iterdir())
    ['hello.txt']
    """

    def __init__(self, out: Path | None, job: str, started: datetime, runs: Path | None = None) -> None:
        self._may_number = out is None
        self._job = job
        named = (runs or Path("runs")) / f"{job}-{started:%Y%m%dT%H%M%SZ}" if out is None else out
        self.path = Path(os.path.abspath(named))  # noqa: PTH100 (resolve() would follow links of the user)
        self._hidden = self.path.parent / f".{self.path.name}.{secrets.token_hex(4)}.partial"
        self._made_parents: list[Path] = []
        self._claim = -1
        self._files: list[OutputFile] = []

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """The files written so far, in order."""
        return tuple(self._files)

    def __enter__(self) -> Self:
        if not self._may_number and os.path.lexists(self.path):
            raise OutputError(f"{self.path} exists; name a new folder (--out)")
        try:
            with _plain_errors(self.path):
                self._make_parents()
                self._hidden.mkdir()
                self._claim = os.open(self._hidden, os.O_RDONLY)
                with suppress(OSError):  # where the file system has no locks, nothing is swept either
                    fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OutputError:
            self._remove()
            raise
        sweep_cut_off(self.path.parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with _plain_errors(self.path):
                    self._publish()
        finally:
            self._remove()

    def write_table(self, name: str, table: pa.Table, *, holds_customer_ids: bool = False) -> None:
        """Write an Arrow table as a Parquet file."""
        with _plain_errors(self.path / name):
            pq.write_table(table, self._hidden / name, compression="zstd")
        self._close(name, holds_customer_ids=holds_customer_ids)

    def write_text(self, name: str, text: str, *, holds_customer_ids: bool = False) -> None:
        """Write a text as UTF-8."""
        self.write_bytes(name, text.encode(), holds_customer_ids=holds_customer_ids)

    def write_bytes(self, name: str, content: bytes, *, holds_customer_ids: bool = False) -> None:
        """Write a file as it is; ``name`` may lie in a folder of its own, such as "model/model.json"."""
        with _plain_errors(self.path / name):
            (self._hidden / name).parent.mkdir(exist_ok=True)
            (self._hidden / name).write_bytes(content)
        self._close(name, holds_customer_ids=holds_customer_ids)

    def _close(self, name: str, *, holds_customer_ids: bool) -> None:
        """Bring a file to the disk and note what is in it."""
        with _plain_errors(self.path / name), (self._hidden / name).open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            os.fsync(file.fileno())
        self._files.append(OutputFile(name, digest, size, holds_customer_ids))

    def _make_parents(self) -> None:
        missing = []
        folder = self.path.parent
        while not os.path.lexists(folder):
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with suppress(FileExistsError):  # another run was quicker
                folder.mkdir()
                self._made_parents.insert(0, folder)

    def _publish(self) -> None:
        """Rename the folder; the system refuses a name that holds anything, so no two runs can meet in one folder."""
        for folder in {(self._hidden / file.name).parent for file in self._files}:
            _sync_folder(folder)
        _sync_folder(self._hidden)
        wanted = self.path
        for number in count(2):
            try:
                if os.path.lexists(self.path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                self._hidden.rename(self.path)
            except OSError as error:
                if error.errno not in _TAKEN or not self._may_number:
                    raise
                self.path = wanted.with_name(f"{wanted.name}-{number}")
            else:
                break
        _sync_folder(self.path.parent)
        self._made_parents.clear()
        if self._may_number:
            self._point_here()

    def _point_here(self) -> None:
        """Say in ``runs/<job>/LATEST`` that this is the newest run; the run is whole even if that cannot be said."""
        pointer = self.path.parent / self._job / LATEST
        hidden = pointer.with_name(f".{LATEST}.{secrets.token_hex(4)}.partial")
        try:
            pointer.parent.mkdir(exist_ok=True)
            hidden.write_text(f"{self.path.name}\n", encoding="utf-8")
            hidden.replace(pointer)
        except OSError as error:
            logger.warning("%s still names an older run: %s", pointer, (error.strerror or str(error)).lower())
            with suppress(OSError):
                hidden.unlink()

    def _remove(self) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        for folder in self._made_parents:
            with suppress(OSError):  # somebody else's files are in it by now
                folder.rmdir()


def sweep_cut_off(runs: Path) -> None:
    """Take away what runs that were killed left hidden in a folder: tables of theirs may hold customers' ids.

    Parameters
    ----------
    runs : Path
        The folder. Runs that are being written hold a lock and stay.
    """
    for left in runs.glob(".*.partial"):
        if _HIDDEN.fullmatch(left.name) and any(left.glob("*.parquet")):
            with suppress(OSError), _claimed(left):
                logger.warning("%s: a run that was cut off left this; it is taken away", left)
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; an error if somebody else does."""
    handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into one sentence with the remedy."""
    try:
        yield
    except OSError as error:
        told = os.strerror(error.errno) if error.errno else str(error)  # Arrow's own words would say it twice
        reason = (told or type(error).__name__).lower()
        remedy = _REMEDIES.get(error.errno or 0, _ANY_REMEDY)
        raise OutputError(f"{path} cannot be written: {reason}; {remedy}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
