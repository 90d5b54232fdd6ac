"""README's Python examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def sales(tmp_path, monkeypatch):
    """The files that the examples read: a year of purchases of fifty households."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    n = 3000
    seconds = rng.integers(0, 365 * 86_400, n) + 1_483_228_800  # 2017, in UTC
    table = pa.table(
        {
            "household_id": rng.integers(1, 51, n),
            "timestamp": pa.array(seconds * 10**6, pa.timestamp("us")),
            "sales_value": np.round(rng.gamma(2.0, 3.0, n) + 0.01, 2),
            "basket_id": rng.integers(1, 1000, n),
        }
    )
    (tmp_path / "sales").mkdir()
    pq.write_table(table, tmp_path / "sales" / "2017.parquet")
    monkeypatch.chdir(tmp_path)


def test_there_are_examples():
    assert len(BLOCKS) == 3


@pytest.mark.usefixtures("sales")
def test_examples_run():
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), namespace)
    assert len(namespace["features"]) == 50
