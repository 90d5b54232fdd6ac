"""Who a row is (core): row numbers or hashed customer keys, and the canonical order they give.

Randomness and ties go by identity, never by where or when a row arrives. A key's identity is XXH64 (seed 0) of a type
byte and the key's bytes, so that the integer 1 and the text "1" stay two customers. ONE_ANSWER section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

UInt64Array = npt.NDArray[np.uint64]

INTEGER_KEY = 0
TEXT_KEY = 1

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_STRIPE = 32


def row_numbers(first: int, n_rows: int) -> UInt64Array:
    """Identities of ``n_rows`` consecutive rows whose global numbers start at ``first``."""
    return np.arange(first, first + n_rows, dtype=np.uint64)


def integer_keys(keys: npt.NDArray[np.integer]) -> UInt64Array:
    """Identities of integer keys: type byte 0, then the key as little-endian int64.

    Raises
    ------
    InputError
        If an unsigned key does not fit int64.
    """
    if keys.dtype == np.uint64 and keys.size and int(keys.max()) > np.iinfo(np.int64).max:
        msg = f"customer id {int(keys.max())} does not fit 64-bit signed integers; store the ids as text"
        raise InputError(msg)
    body = np.ascontiguousarray(keys, dtype="<i8").view(np.uint8).reshape(keys.size, 8)
    message = np.empty((keys.size, 9), np.uint8)
    message[:, 0] = INTEGER_KEY
    message[:, 1:] = body
    return xxh64(message)


def text_keys(keys: Sequence[str]) -> UInt64Array:
    """Identities of text keys: type byte 1, then the key in UTF-8.

    Raises
    ------
    InputError
        If a key is no valid Unicode text (half a surrogate pair).
    """
    try:
        encoded = [key.encode() for key in keys]
    except UnicodeEncodeError as error:
        msg = f"customer id {error.object!a} is not valid Unicode text; read the ids in their own encoding"
        raise InputError(msg) from None
    lengths = np.array([len(key) for key in encoded], np.int64)
    identities = np.empty(lengths.size, np.uint64)
    # Keys of one length hash together, as the rows of one matrix.
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        message = np.empty((rows.size, int(length) + 1), np.uint8)
        message[:, 0] = TEXT_KEY
        joined = b"".join(encoded[row] for row in rows)
        message[:, 1:] = np.frombuffer(joined, np.uint8).reshape(rows.size, int(length))
        identities[rows] = xxh64(message)
    return identities


def canonical_order(
    primary: npt.NDArray[Any], identity: UInt64Array, record: Sequence[npt.NDArray[Any]] = ()
) -> npt.NDArray[np.intp]:
    """Order by ``primary`` ascending, ties by identity, and where two rows share one by the whole record.

    Parameters
    ----------
    primary : ndarray, shape (n,)
        What counts first.
    identity : ndarray of uint64, shape (n,)
        Who each row is.
    record : sequence of ndarray, each of shape (n,)
        The rows' own values, the most important first: keys that repeat are settled by them, never by arrival.

    Returns
    -------
    ndarray of intp, shape (n,)
        Positions in order.
    """
    order = np.argsort(primary)
    first = primary[order]
    if not (first[1:] == first[:-1]).any():
        return order
    order = np.lexsort((identity, primary))
    first, who = primary[order], identity[order]
    repeated = (who[1:] == who[:-1]) & (first[1:] == first[:-1])
    if not record or not repeated.any():
        return order
    return np.lexsort((*reversed(record), identity, primary))


def xxh64(messages: npt.NDArray[np.uint8]) -> UInt64Array:
    """XXH64 with seed 0 of each row of a byte matrix ``[n, length]`` (Collet's public specification)."""
    n, length = messages.shape
    data = np.ascontiguousarray(messages)
    position = 0
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        digest: UInt64Array = np.full(n, _P5, np.uint64)
        if length >= _STRIPE:
            digest, position = _stripes(data, n, length)
        digest = digest + np.uint64(length)
        while position + 8 <= length:
            digest ^= _round(np.zeros(n, np.uint64), _words(data, position, 8))
            digest = _rotate(digest, 27) * _P1 + _P4
            position += 8
        if position + 4 <= length:
            digest ^= _words(data, position, 4) * _P1
            digest = _rotate(digest, 23) * _P2 + _P3
            position += 4
        while position < length:
            digest ^= data[:, position].astype(np.uint64) * _P5
            digest = _rotate(digest, 11) * _P1
            position += 1
        return _avalanche(digest)


def _stripes(data: npt.NDArray[np.uint8], n: int, length: int) -> tuple[UInt64Array, int]:
    lanes: list[UInt64Array] = [
        np.full(n, start, np.uint64) for start in (_P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1)
    ]
    position = 0
    while position + _STRIPE <= length:
        for i in range(4):
            lanes[i] = _round(lanes[i], _words(data, position + 8 * i, 8))
        position += _STRIPE
    digest = _rotate(lanes[0], 1) + _rotate(lanes[1], 7) + _rotate(lanes[2], 12) + _rotate(lanes[3], 18)
    for lane in lanes:
        digest = (digest ^ _round(np.zeros(n, np.uint64), lane)) * _P1 + _P4
    return digest, position


def _words(data: npt.NDArray[np.uint8], position: int, size: int) -> UInt64Array:
    block = np.ascontiguousarray(data[:, position : position + size])
    return block.view(f"<u{size}").reshape(-1).astype(np.uint64)


def _rotate(value: UInt64Array, by: int) -> UInt64Array:
    return (value << np.uint64(by)) | (value >> np.uint64(64 - by))


def _round(accumulator: UInt64Array, word: UInt64Array) -> UInt64Array:
    return _rotate(accumulator + word * _P2, 31) * _P1


def _avalanche(digest: UInt64Array) -> UInt64Array:
    digest = (digest ^ (digest >> np.uint64(33))) * _P2
    digest = (digest ^ (digest >> np.uint64(29))) * _P3
    return digest ^ (digest >> np.uint64(32))
