"""A run that is there (jobs; for the commands that look at one): opened, checked file by file, rewritten whole.

``manifest.json`` is what makes a folder a run. Every file is read through it, so a damaged one is told before anything
is made of it. A rewrite builds the new folder beside the old one and exchanges both names in one step of the system.
"""

from __future__ import annotations

import ctypes
import difflib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.errors import InputError, OutputError, SourceError
from gpuseg.jobs.manifest import FORMAT

MANIFEST, SEGMENTS, PROFILES = "manifest.json", "segments.parquet", "profiles.parquet"
REJECTS = "rejects.parquet"
"""Rows that were left out: written by every run, so that nobody has to ask; without rows where none was left out."""
_LEFT = "rewritten"
"""End of the hidden name under which a folder lies while it is exchanged."""
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}


@dataclass(frozen=True)
class Run:
    """The folder of a finished run.

    Parameters
    ----------
    path : Path
        Absolute, links followed.
    manifest : dict
        What the run says about itself.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def customer(self) -> str:
        """Column of the customer's key."""
        return str(self.manifest["parameters"]["roles"]["customer"])

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """What the manifest lists, by name."""
        return {file["name"]: file for file in self.manifest["files"]}

    def has(self, name: str) -> bool:
        """Whether the run wrote such a file."""
        return name in self.files

    def read(self, name: str, *, edited: bool = False) -> bytes:
        """Contents of a file, compared with the manifest's digest unless people may edit it.

        Raises
        ------
        SourceError
            The run has no such file, or it is not as the run wrote it.
        """
        if not self.has(name):
            raise SourceError(f"{self.path}: this run has no {name}; it has {', '.join(sorted(self.files))}")
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SourceError(f"{self.path / name} cannot be read: {reason}; {_RESTORE}") from error
        if not edited and hashlib.sha256(content).hexdigest() != self.files[name]["sha256"]:
            raise SourceError(
                f"{self.path / name} is damaged: it is not what the run wrote (sha256 differs); {_RESTORE}"
            )
        return content

    def table(self, name: str) -> pa.Table:
        """A Parquet file of the run.

        Raises
        ------
        SourceError
            As :meth:`read`.
        """
        return pq.read_table(io.BytesIO(self.read(name)))

    @cached_property
    def segments(self) -> pa.Table:
        """One row a customer, the key first.

        Raises
        ------
        SourceError
            The file is not there, damaged, or lacks a column.
        """
        table = self.table(SEGMENTS)
        missing = {self.customer, "segment_id", "segment_name"} - {*table.column_names}
        if missing:
            raise SourceError(
                f"{self.path / SEGMENTS} lacks the columns {', '.join(sorted(missing))}; {_RESTORE}"
            )
        return table

    @cached_property
    def names(self) -> dict[int, str]:
        """Name of each segment that has a customer, by id."""
        found = self.segments.group_by(["segment_id", "segment_name"]).aggregate([]).sort_by("segment_id")
        return dict(zip(found["segment_id"].to_pylist(), found["segment_name"].to_pylist(), strict=True))

    def segment(self, wanted: str) -> int:
        """The id of a segment that a user named, by its name or its id.

        Raises
        ------
        InputError
            There is none; the nearest name is told.
        """
        for number, name in self.names.items():
            if wanted == name:
                return number
        folded = {name.casefold(): number for number, name in self.names.items()}
        if wanted.strip().casefold() in folded:
            return folded[wanted.strip().casefold()]
        if wanted.strip().isdecimal() and int(wanted) in self.names:
            return int(wanted)
        close = difflib.get_close_matches(wanted.casefold(), list(folded), n=1, cutoff=0.4)
        listed = "; ".join(f"{number} {name!r}" for number, name in self.names.items())
        hint = f"; did you mean {self.names[folded[close[0]]]!r}?" if close else "."
        raise InputError(f"{self.path}: no segment {wanted!r}{hint} It has {listed}")

    def row(self, customer: str) -> int:
        """Row of a customer in :attr:`segments`, from the key as a user types it.

        Raises
        ------
        InputError
            There is no such customer, or the key is written otherwise in this run.
        """
        keys = self.segments[self.customer]
        key = typed_key(customer, keys.type)
        place = -1 if key is None else pc.index(keys, key).as_py()
        if place >= 0:
            return int(place)
        raise InputError(
            f"{self.path}: no customer {customer!r} in column {self.customer!r}; {_nearest_key(customer, keys)}"
        )


_RESTORE = "restore it from a backup or run the job again"


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Open the folder of a run.

    Parameters
    ----------
    folder : path
        The folder, or a link to it.

    Returns
    -------
    Run

    Raises
    ------
    SourceError
        There is no such folder, it is no run, or its manifest is damaged.
    """
    path = Path(folder)
    if not path.is_dir():
        left = left_behind(path)
        if left:
            raise SourceError(
                f"{path}: a rewrite was cut off; the run is whole in {left[0]}: rename that folder to {path.name}"
            )
        raise SourceError(
            f"{path}: no such folder; give the folder of a run, such as runs/demo-20260101T120000Z"
        )
    try:
        found = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise SourceError(
            f"{path}: no {MANIFEST} in it, so it is no finished run; give the folder that gpuseg printed"
        ) from None
    except OSError as error:
        raise SourceError(
            f"{path / MANIFEST} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    except ValueError as error:
        raise SourceError(f"{path / MANIFEST} is damaged: it is no JSON ({error}); {_RESTORE}") from error
    _check(found, path / MANIFEST)
    return Run(path.resolve(), found)


def left_behind(path: Path) -> list[Path]:
    """What a rewrite of a run that was cut off left beside it."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*.{_LEFT}"))


def _check(found: Any, path: Path) -> None:
    if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise SourceError(
            f"{path}: layout {found['format']}, but gpuseg reads up to {FORMAT}; "
            f"install gpuseg {found.get('gpuseg')}, which made it"
        )
    try:
        named = all(
            isinstance(file["name"], str)
            and not Path(file["name"]).is_absolute()
            and ".." not in Path(file["name"]).parts
            and {"sha256", "size", "holds_customer_ids"} <= file.keys()
            for file in found["files"]
        )
        whole = named and isinstance(found["parameters"]["roles"]["customer"], str)
        whole = whole and isinstance(found["counts"]["fallback_segment"], int)
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise SourceError(f"{path} is damaged: it lacks files, parameters or counts; {_RESTORE}")


def typed_key(text: str, kind: pa.DataType) -> Any:
    """A customer's key as typed by a user, in the type of the column; None where it cannot be one.

    A whole number has one spelling: "007" is no 7, so that text keys never meet numbers by chance.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not pa.types.is_integer(kind):
        return text
    try:
        number = int(text)
        pa.scalar(number, kind)
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return None
    return number if str(number) == text else None


def _nearest_key(customer: str, keys: pa.ChunkedArray) -> str:
    """A hint about a key that is not there."""
    if pa.types.is_integer(keys.type):
        if customer.strip().lstrip("+-0").isdecimal() and typed_key(customer, keys.type) is None:
            return "its ids are whole numbers, written without leading zeros, signs or spaces"
        return "its ids are whole numbers" if typed_key(customer, keys.type) is None else "check the id"
    bare = customer.strip().lstrip("0").casefold()
    same = [key for key in keys.to_pylist() if key.strip().lstrip("0").casefold() == bare]
    if same:
        return f"there is {same[0]!r}: its ids are text, and zeros, capitals and spaces count"
    return "its ids are text, and every character counts"


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[Run]:
    """Open a run that nobody else rewrites meanwhile; what a rewrite that was cut off left beside it is taken away.

    Raises
    ------
    SourceError
        As :func:`open_run`.
    OutputError
        Somebody rewrites it now.
    """
    path = open_run(folder).path
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = os.path.samestat(os.fstat(handle), path.stat())
        except (BlockingIOError, FileNotFoundError):
            free = False
        if not free:  # locked, or exchanged for a new folder before the lock of the old one was ours
            raise OutputError(f"{path}: another command is changing this run; try again when it is done")
        run = open_run(path)  # as it is now that the lock is ours
        for left in left_behind(path):
            shutil.rmtree(left, ignore_errors=True)
        yield run
    finally:
        os.close(handle)


def rewrite_run(
    run: Run, contents: Mapping[str, bytes], note: Mapping[str, Any], *, without_ids: tuple[str, ...] = ()
) -> Run:
    """Put new contents into a run: afterwards its folder is either the old one or the new one, whole.

    Parameters
    ----------
    run : Run
        From :func:`locked`.
    contents : mapping of str to bytes
        Files to replace or to add. Files that are not named stay as they are.
    note : mapping
        Keys of the manifest to set.
    without_ids : tuple of str
        Added files that hold no customer's key.

    Returns
    -------
    Run
        The new one.

    Raises
    ------
    OutputError
        The folder cannot be written; the old one is untouched.
    """
    manifest = _new_manifest(run, contents, note, without_ids)
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    hidden = _hidden(run)
    try:
        shutil.copytree(run.path, hidden, copy_function=_link)
        for name, content in {**contents, MANIFEST: text.encode()}.items():
            _replace(hidden / name, content)
        _sync(hidden)
        _exchange(hidden, run.path)
        _sync(run.path.parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{run.path} cannot be rewritten: {reason}; nothing was changed") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    if hidden.exists():
        raise OutputError(
            f"{run.path} is rewritten, but its old files lie in {hidden} still: delete that folder"
        )
    return Run(run.path, manifest)


def _new_manifest(
    run: Run, contents: Mapping[str, bytes], note: Mapping[str, Any], without_ids: tuple[str, ...]
) -> dict[str, Any]:
    files = run.files
    for name, content in contents.items():
        held = files.get(name, {"holds_customer_ids": name not in without_ids})["holds_customer_ids"]
        digest = hashlib.sha256(content).hexdigest()
        files[name] = {"name": name, "sha256": digest, "size": len(content), "holds_customer_ids": held}
    return {**run.manifest, **note, "files": list(files.values())}


def _hidden(run: Run) -> Path:
    return run.path.parent / f".{run.path.name}.{secrets.token_hex(4)}.{_LEFT}"


def _link(source: str, target: str) -> None:
    """Files that stay are not copied, where the system can link them."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _replace(path: Path, content: bytes) -> None:
    """Write a file anew: the link to the old contents goes first, so that those stay untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(new: Path, old: Path) -> None:
    """Exchange two names in one step; where the system cannot, in two renames that name what to do if cut off."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_HERE, os.fsencode(new), _HERE, os.fsencode(old), _EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NO_EXCHANGE:
            raise OSError(code, os.strerror(code))
    aside = old.parent / f".{old.name}.{secrets.token_hex(4)}.{_LEFT}"
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    aside.rename(new)
