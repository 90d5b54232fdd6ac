"""The digest of a table against the xxhash library, record by record."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import xxhash

from gpuseg.customers.reading import contents

NULL = 0x9E3779B97F4A7C15


def word(value):
    if value is None:
        return struct.pack("<Q", NULL)
    if isinstance(value, str):
        return struct.pack("<Q", xxhash.xxh64_intdigest(b"\x01" + value.encode()))
    return struct.pack("<d", value) if isinstance(value, float) else struct.pack("<q", value)


def test_the_digest_is_the_sum_and_the_exclusive_or_of_the_records(monkeypatch):
    monkeypatch.setattr(contents, "_ROWS", 3)
    rows = [
        (1, "a", 0.5, 7),
        (-5, "é", -0.0, None),
        (1, "a", 0.5, 7),
        (2**62, "", 1e300, 0),
        (0, None, None, -1),
    ]
    table = pa.table(
        {
            name: pa.array(values)
            for name, values in zip("wxyz", map(list, zip(*rows, strict=True)), strict=True)
        }
    )
    digests = [xxhash.xxh64_intdigest(b"".join(map(word, row))) for row in rows]
    total, together = sum(digests) % 2**64, int(np.bitwise_xor.reduce(np.array(digests, np.uint64)))
    assert contents.table_digest(table) == (total, together)
    coded = table.set_column(1, "x", table["x"].dictionary_encode())
    assert contents.table_digest(coded) == (total, together)
    halves = [contents.table_digest(table.slice(0, 2)), contents.table_digest(table.slice(2))]
    assert contents.merge_digests(*halves) == (total, together)
    assert contents.table_digest(table.slice(0, 0)) == (0, 0)
