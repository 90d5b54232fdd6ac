"""XXH64 of one message in plain Python integers, from the public specification."""

from __future__ import annotations

P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
MASK = 2**64 - 1


def rotate(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & MASK


def mix(accumulator: int, word: int) -> int:
    return rotate((accumulator + word * P2) & MASK, 31) * P1 & MASK


def xxh64(message: bytes, seed: int = 0) -> int:
    rest = message
    if len(message) >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while len(rest) >= 32:
            for i in range(4):
                lanes[i] = mix(lanes[i], int.from_bytes(rest[8 * i : 8 * i + 8], "little"))
            rest = rest[32:]
        digest = sum(rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            digest = ((digest ^ mix(0, lane)) * P1 + P4) & MASK
    else:
        digest = (seed + P5) & MASK
    digest = (digest + len(message)) & MASK
    while len(rest) >= 8:
        digest ^= mix(0, int.from_bytes(rest[:8], "little"))
        digest = (rotate(digest, 27) * P1 + P4) & MASK
        rest = rest[8:]
    if len(rest) >= 4:
        digest ^= int.from_bytes(rest[:4], "little") * P1 & MASK
        digest = (rotate(digest, 23) * P2 + P3) & MASK
        rest = rest[4:]
    for byte in rest:
        digest ^= byte * P5 & MASK
        digest = rotate(digest, 11) * P1 & MASK
    digest = (digest ^ digest >> 33) * P2 & MASK
    digest = (digest ^ digest >> 29) * P3 & MASK
    return digest ^ digest >> 32


def identity(key: int | str) -> int:
    """Who a customer key is: a type byte, then the key."""
    if isinstance(key, str):
        return xxh64(b"\x01" + key.encode())
    return xxh64(b"\x00" + key.to_bytes(8, "little", signed=True))
