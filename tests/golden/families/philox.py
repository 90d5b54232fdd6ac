"""Draws by (seed, stage, identity, index), 64 bits as a hexadecimal integer, and the uniform that they give."""

from __future__ import annotations

import numpy as np

from gpuseg.core.philox import Stage, draw64, uniform53

SEEDS = [0, 1, 0x0123_4567_89AB_CDEF, 2**64 - 1]
STAGES = [Stage.SAMPLE, Stage.SEED, Stage.BOOTSTRAP, Stage.SILHOUETTE_SAMPLE]
IDENTITIES = [0, 1, 2, 2**32 - 1, 2**32, 0xFEDC_BA98_7654_3210, 2**64 - 1]


def make() -> list[dict[str, object]]:
    rows = np.array(IDENTITIES, np.uint64)
    table = []
    for seed in SEEDS:
        for stage in STAGES:
            for index in (0, 2**32 - 1):
                bits = draw64(seed, stage, rows, index)
                table.append(
                    {
                        "seed": hex(seed),
                        "stage": int(stage),
                        "index": index,
                        "identity": [hex(row) for row in IDENTITIES],
                        "bits": [hex(word) for word in bits.tolist()],
                        "uniform": [u.hex() for u in uniform53(bits).tolist()],
                    }
                )
    return table
