"""The table of weights, steps of instants around an epoch's border, and the evidence of a few decayed lines."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

import gpuseg
from gpuseg.core import decay
from gpuseg.core.decay import Decay
from gpuseg.core.philox import Stage, draw64
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.spend_records import spend_state

DAY = 86_400_000_000
RULES = [Decay(), Decay(DAY), Decay(90 * DAY, 3), Decay(7 * 3_600_000_000, -DAY)]
KINDS = ["5812", "5995", "5943", "5814", "0000", "7995"]


def make() -> dict[str, object]:
    table = decay.weights()
    instants = np.array([-(10**15), -1, 0, 1, 512 * DAY // 64 - 1, 512 * DAY // 64, 10**15])
    return {
        "table": table[::37].tolist(),
        "sha256": hashlib.sha256(table.astype("<i8").tobytes()).hexdigest(),
        "steps": [[part.tolist() for part in rule.of(instants)] for rule in RULES],
        "evidence": [evidence(rule, refunds) for rule in RULES for refunds in ("ignore", "subtract")],
    }


def evidence(rule: Decay, refunds: str) -> dict[str, object]:
    bits = draw64(6, Stage.SAMPLE, np.arange(48, dtype=np.uint64))
    lines = pa.table(
        {
            "who": (bits % np.uint64(5)).astype(np.int64),
            "at": pa.array((bits >> np.uint64(16)).astype(np.int64) % (400 * DAY), pa.timestamp("us")),
            "paid": (bits >> np.uint64(8)).astype(np.int64) % 90_001 - 20_000,
            "kind": pa.array([KINDS[bit] for bit in (bits >> np.uint64(3)) % np.uint64(6)]),
        }
    )
    roles = {"customer": "who", "time": "at", "amount": "paid", "category": "kind", "time_zone": "UTC"}
    tx = gpuseg.read_transactions(lines, **roles, minor_units=0)
    state = spend_state(tx, CategoryMap.mcc(), rule, refunds=refunds)
    found = state.evidence()
    return {
        "weight": state.weight.tolist(),
        "spend": [f"{value:x}" for value in state.spend.to_ints()],
        "category": [found.categories[code] for code in found.category.tolist()],
        "count": [value.hex() for value in found.count.tolist()],
        "money": [value.hex() for value in found.spend.tolist()],
        "total": [value.hex() for value in found.total_spend.tolist()],
    }
