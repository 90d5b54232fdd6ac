"""Identities of customer keys, as hexadecimal integers; one is not "1", and a text is its UTF-8 bytes."""

from __future__ import annotations

import numpy as np

from gpuseg.core import identity

INTEGERS = [0, 1, -1, 42, 2**31, -(2**31), 2**63 - 1, -(2**63)]
TEXTS = [
    "",
    "1",
    "42",
    "household-0001",
    "Zoë",
    "客户",
    "\x00",
    "a" * 30,
    "b" * 31,
    "c" * 32,
    "d" * 63,
    "e" * 200,
]


def make() -> dict[str, list[str]]:
    integers = identity.integer_keys(np.array(INTEGERS, np.int64)).tolist()
    texts = identity.text_keys(TEXTS).tolist()
    return {
        "integer": [f"{key} {who:x}" for key, who in zip(INTEGERS, integers, strict=True)],
        "text": [f"{key!a} {who:x}" for key, who in zip(TEXTS, texts, strict=True)],
    }
