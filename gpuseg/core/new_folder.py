"""Folders that appear whole or not at all (core; whoever keeps something in a folder of its own calls it)."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuseg.errors import OutputError


@contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A hidden folder to write into; it becomes ``folder`` when all of its files are on disk.

    Parameters
    ----------
    folder : path
        The folder to make; it must not exist, its parent must.

    Yields
    ------
    Path
        The hidden folder beside it. After an exception nothing is left of it.

    Raises
    ------
    OutputError
        The folder exists or cannot be written.
    """
    path = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would follow links of the user)
    if os.path.lexists(path):
        raise OutputError(f"{path} exists; name a new folder")
    hidden = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        hidden.mkdir()
        yield hidden
        for name in hidden.rglob("*"):
            if name.is_file():
                with name.open("rb") as file:
                    os.fsync(file.fileno())
        hidden.rename(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{path} cannot be written: {reason}; choose another folder") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
