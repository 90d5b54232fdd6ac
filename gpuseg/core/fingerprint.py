"""Fingerprints (core): short names for contents, by BLAKE2b of a stated byte string.

A partition's token names what is in it, so that a worker's memo can never serve another's data; an input's fingerprint
goes into the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_BYTES = 16


def of_bytes(*parts: bytes) -> str:
    """Hexadecimal digest of byte strings, each preceded by its length so that borders count."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def of_array(array: npt.NDArray[Any]) -> str:
    """Digest of an array's type, shape and little-endian values in C order; any layout of the same values agrees."""
    plain = np.ascontiguousarray(array)
    if plain.dtype.byteorder == ">":
        plain = plain.astype(plain.dtype.newbyteorder("<"))
    head = f"{plain.dtype.newbyteorder('<').str}{plain.shape}".encode()
    digest = hashlib.blake2b(digest_size=_BYTES)
    digest.update(len(head).to_bytes(8, "little"))
    digest.update(head)
    digest.update(plain.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def of_record(record: Any) -> str:
    """Digest of a JSON-serialisable record, keys sorted."""
    return of_bytes(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())


def of_parts(parts: Iterable[str]) -> str:
    """Digest of an ordered list of digests: a whole input from its partitions."""
    return of_bytes(*(part.encode() for part in parts))
