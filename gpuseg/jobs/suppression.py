"""Customers who were erased and must not come back (jobs; erase writes the list, runs and assign ask it).

The list holds keyed hashes (HMAC-SHA256), no ids. Its key lies in the same file, so that the list works wherever the
folder goes: it keeps ids from being read or joined with other lists, not from being tested by someone who has both the
file and an id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import SourceError

SUPPRESSED = "suppressed.json"
"""Name of the list in the folder of a run."""
_FORMAT = 1


@dataclass(frozen=True)
class Suppression:
    """Erased customers, by keyed hash.

    Parameters
    ----------
    key : bytes
        Of the hashes; random, one a list.
    hashes : frozenset of str
        Of the customers' keys as text: the number 7 and the text "7" are both kept out.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    hashes: frozenset[str] = frozenset()

    def adding(self, customers: Iterable[object]) -> Suppression:
        """The list with more customers."""
        return Suppression(self.key, self.hashes | {self._hash(customer) for customer in customers})

    def blocked(self, keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Which of these keys belong to erased customers; shape (n,)."""
        if not self.hashes:
            return np.zeros(len(keys), np.bool_)
        distinct = keys.unique()
        erased = {key for key in distinct.to_pylist() if key is not None and self._hash(key) in self.hashes}
        return np.array([key in erased for key in keys.to_pylist()], np.bool_)

    def to_bytes(self) -> bytes:
        """The list as the contents of a file."""
        record = {
            "format": _FORMAT,
            "hash": "hmac-sha256",
            "key": self.key.hex(),
            "hashes": sorted(self.hashes),
        }
        return (json.dumps(record, indent=1) + "\n").encode()

    @classmethod
    def of_bytes(cls, content: bytes, where: Path) -> Suppression:
        """The list in the contents of a file.

        Raises
        ------
        SourceError
            It is damaged: to go on without it could let erased customers back in.
        """
        try:
            record = json.loads(content)
            layout = {_FORMAT: record["hashes"]}  # no other layout is known
            return cls(bytes.fromhex(record["key"]), frozenset(map(str, layout[record["format"]])))
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{where} is damaged ({error}), so nobody knows who was erased; restore it from a backup"
            ) from error

    def _hash(self, customer: object) -> str:
        return hmac.new(self.key, str(customer).encode(), hashlib.sha256).hexdigest()


def load_suppression(folder: Path) -> Suppression | None:
    """The list in the folder of a run, if customers were erased from it.

    Parameters
    ----------
    folder : Path
        Of a run.

    Returns
    -------
    Suppression or None

    Raises
    ------
    SourceError
        The list is there, but cannot be used.
    """
    path = folder / SUPPRESSED
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return Suppression.of_bytes(content, path)
