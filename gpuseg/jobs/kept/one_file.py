"""One file that a user asked for (jobs; for export and assign): whole or not at all, and never over another."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from gpuseg.errors import OutputError

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links answer."""


def write_new_file(path: Path, content: bytes) -> None:
    """Write a new file.

    Parameters
    ----------
    path : Path
        It must not exist; its folder must.
    content : bytes
        What to write.

    Raises
    ------
    OutputError
        The file exists or cannot be written; nothing is left behind.
    """
    hidden = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    refuse_existing(path)
    try:
        with hidden.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _name(hidden, path)
    except FileExistsError:
        raise OutputError(f"{path} exists; name a new file (-o)") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{path} cannot be written: {reason}; name another file (-o)") from error
    finally:
        with suppress(OSError):
            hidden.unlink()


def _name(hidden: Path, path: Path) -> None:
    """Give a finished file its name; unlike a rename, a link refuses a name that is taken."""
    try:
        os.link(hidden, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        refuse_existing(path)
        hidden.rename(path)


def refuse_existing(path: Path) -> None:
    """Refuse a name that is taken, before any work.

    Raises
    ------
    OutputError
        It is.
    """
    if os.path.lexists(path):
        raise OutputError(f"{path} exists; name a new file (-o)")
