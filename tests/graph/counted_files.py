"""A file system for fault tests: local files under ``counted://``, openings noted, one of them held at a barrier.

A folder holds the notes, so that any process can read them: ``opened`` with a line per opening, ``barrier`` with what
to hold ("NAME COUNT": opening number COUNT of that file), ``held`` with the process that waits, ``release``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

NOTES = "GPUSEG_TEST_NOTES"
TIMEOUT = 60


class CountedFiles(LocalFileSystem):
    """Local files whose openings are counted."""

    protocol = "counted"
    cacheable = False

    @classmethod
    def _strip_protocol(cls, path):
        return LocalFileSystem._strip_protocol(str(path).removeprefix("counted://"))

    def unstrip_protocol(self, name):
        return f"counted://{self._strip_protocol(name)}"

    def _open(self, path, mode="rb", **options):
        note(Path(path).name)
        return super()._open(path, mode, **options)


def register(folder: str) -> None:
    """Make ``counted://`` known to this process; notes go to the folder."""
    os.environ[NOTES] = folder
    fsspec.register_implementation("counted", CountedFiles, clobber=True)


def note(name: str) -> None:
    """Write down an opening, and wait where it is the one to be held."""
    folder = Path(os.environ[NOTES])
    with (folder / "opened").open("a") as file:
        file.write(f"{name}\n")
    barrier = folder / "barrier"
    if not barrier.exists():
        return
    wanted, count = barrier.read_text().split()
    if name != wanted or openings(folder)[name] < int(count):
        return
    try:
        with (folder / "held").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return  # somebody waits, or waited, already
    wait_for(folder / "release")


def hold(folder: Path, name: str, count: int) -> None:
    """Hold the opening number ``count`` of a file, once."""
    (folder / "barrier").write_text(f"{name} {count}")


def openings(folder: Path) -> Counter:
    """How often each file was opened."""
    notes = folder / "opened"
    return Counter(notes.read_text().split()) if notes.exists() else Counter()


def wait_for(path: Path) -> None:
    """Wait until a file is there and has its line."""
    deadline = time.monotonic() + TIMEOUT
    while not (path.exists() and path.stat().st_size):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)
