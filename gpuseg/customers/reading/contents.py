"""What a table contains, as a number (room ``customers``, called by the reader): digests of records that add.

A record's digest is XXH64 over its values; a table's is their sum and their exclusive or, so that neither the order of
the records nor their partitions matter, and a day of new records is one more addition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.core import fingerprint, identity
from gpuseg.customers.reading.roles import value_kind

UInt64 = npt.NDArray[np.uint64]

_ROWS = 1 << 15  # a tile of messages stays in the cache
_MASK = (1 << 64) - 1


def table_digest(table: pa.Table) -> tuple[int, int]:
    """Sum modulo 2**64 and exclusive or of the digests of all records."""
    columns = [_words(column.combine_chunks()) for column in table.columns]
    total = 0
    together = 0
    for first in range(0, table.num_rows, _ROWS):
        rows = np.stack([column[first : first + _ROWS] for column in columns], axis=1)
        digests = identity.xxh64(rows.astype("<u8").view(np.uint8))
        total = (total + int(digests.sum(dtype=np.uint64))) & _MASK
        together ^= int(np.bitwise_xor.reduce(digests))
    return total, together


def merge_digests(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Digest of the records of both."""
    return (a[0] + b[0]) & _MASK, a[1] ^ b[1]


def name_contents(digest: tuple[int, int], n_rows: int, columns: list[str]) -> str:
    """The fingerprint of a table: 32 hexadecimal digits."""
    return fingerprint.of_record([columns, n_rows, list(digest)])


def _words(array: pa.Array) -> UInt64:
    """One 64-bit word a value; a null is a word that no text, and hardly a number, has."""
    if value_kind(array.type) == "text":
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        hashes = identity.text_keys([str(text) for text in coded.dictionary.to_pylist()])
        codes = coded.indices.fill_null(len(hashes)).to_numpy(zero_copy_only=False)
        return np.asarray(np.append(hashes, np.uint64(_NULL))[codes])
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(array.type):
        bits = pc.fill_null(array.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False).view(np.uint64)
    else:
        bits = pc.fill_null(_as_int64(array), 0).to_numpy(zero_copy_only=False).view(np.uint64)
    return np.where(missing, np.uint64(_NULL), bits)


_NULL = 0x9E3779B97F4A7C15


def _as_int64(array: pa.Array) -> pa.Array:
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    return array.cast(pa.int64())
