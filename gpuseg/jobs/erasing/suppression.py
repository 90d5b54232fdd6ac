"""Customers who were erased and must not come back (jobs; erase writes the list, runs and assign ask it).

The list holds keyed hashes (HMAC-SHA256), no ids. Its key lies in the same file, so that the list works wherever the
folder goes: it keeps ids from being read or joined with other lists, not from being tested by someone who has both the
file and an id. Hashes of two keys cannot be made into those of one, so lists that meet lie beside each other.
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
import pyarrow.compute as pc

from gpuseg.errors import SourceError

SUPPRESSED = "suppressed.json"
"""Name of the list in the folder of a run, and in that of a job."""
WHAT_IT_IS = "keyed hashes of erased customers, who may not come back"
_FORMAT = 2


@dataclass(frozen=True)
class HashList:
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

    def hash(self, customer: object) -> str:
        """What the list knows a customer by."""
        return hmac.digest(self.key, str(customer).encode(), hashlib.sha256).hex()


@dataclass(frozen=True)
class Suppression:
    """Everybody who was erased: one list, or several that met.

    ``merged`` is associative and commutative, ``Suppression()`` is neutral.

    Parameters
    ----------
    lists : tuple of HashList
        Ascending by key. A customer in any of them is kept out.
    """

    lists: tuple[HashList, ...] = ()

    def __bool__(self) -> bool:
        return any(found.hashes for found in self.lists)

    def adding(self, customers: Iterable[object]) -> Suppression:
        """The same with more customers."""
        first, rest = (self.lists or (HashList(),))[0], self.lists[1:]
        hashes = first.hashes | {first.hash(customer) for customer in customers}
        return Suppression((HashList(first.key, hashes), *rest))

    def merged(self, other: Suppression) -> Suppression:
        """Everybody who is in one or the other."""
        found: dict[bytes, frozenset[str]] = {}
        for one in (*self.lists, *other.lists):
            found[one.key] = found.get(one.key, frozenset()) | one.hashes
        return Suppression(tuple(HashList(key, found[key]) for key in sorted(found)))

    def blocked(self, keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Which of these keys belong to erased customers; shape (n,). Cost: a hash a list and distinct key."""
        if not self:
            return np.zeros(len(keys), np.bool_)
        if pa.types.is_dictionary(keys.type):
            keys = keys.cast(keys.type.value_type)
        erased = [key for key in keys.unique().to_pylist() if key is not None and self._has(key)]
        found = pc.is_in(keys, value_set=pa.array(erased, keys.type))
        return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)

    def to_bytes(self) -> bytes:
        """The lists as the contents of a file."""
        record = {
            "format": _FORMAT,
            "hash": "hmac-sha256",
            "lists": [{"key": found.key.hex(), "hashes": sorted(found.hashes)} for found in self.lists],
        }
        return (json.dumps(record, indent=1) + "\n").encode()

    @classmethod
    def of_bytes(cls, content: bytes, where: Path) -> Suppression:
        """The lists in the contents of a file.

        Raises
        ------
        SourceError
            It is damaged: to go on without it could let erased customers back in.
        """
        try:
            record = json.loads(content)
            layouts = {1: [record], _FORMAT: record.get("lists")}  # at first a file held one list
            lists = [
                HashList(bytes.fromhex(one["key"]), frozenset(map(str, one["hashes"])))
                for one in layouts[record["format"]]
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"{where} is damaged ({error}), so nobody knows who was erased; restore it from a backup"
            ) from error
        return cls(tuple(lists)).merged(cls())

    def _has(self, customer: object) -> bool:
        return any(found.hash(customer) in found.hashes for found in self.lists)


def load_suppression(folder: Path) -> Suppression:
    """The list in the folder of a run or of a job; an empty one where nobody was erased.

    Parameters
    ----------
    folder : Path
        Of a run or of a job.

    Returns
    -------
    Suppression

    Raises
    ------
    SourceError
        The list is there, but cannot be used.
    """
    path = folder / SUPPRESSED
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Suppression()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return Suppression.of_bytes(content, path)
