"""Philox 4x32-10 in plain Python integers, one counter at a time."""

from __future__ import annotations


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for round_number in range(10):
        if round_number > 0:
            k0 = (k0 + 0x9E3779B9) % 2**32
            k1 = (k1 + 0xBB67AE85) % 2**32
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def draw64(seed: int, stage: int, identity: int, index: int) -> int:
    high_seed, low_seed = divmod(seed, 2**32)
    high_identity, low_identity = divmod(identity, 2**32)
    w0, w1, _, _ = philox4x32((low_identity, high_identity, index, stage), (low_seed, high_seed))
    return w0 + 2**32 * w1
