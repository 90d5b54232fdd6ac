"""Two runs side by side: exact agreement, everyone counted once, and every choice that differs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError
from gpuseg.jobs.kept import runs
from gpuseg.jobs.kept.compare import compare_runs
from tests.jobs import small_runs


def with_segments(folder, table):
    """Put another table of segments into a run."""
    pq.write_table(table, folder.parent / "t.parquet")
    with runs.locked(folder) as run:
        runs.rewrite_run(run, {"segments.parquet": (folder.parent / "t.parquet").read_bytes()}, {})
    return folder


def pairs_agreement(first, second):
    """The adjusted Rand index by counting every pair."""
    n = len(first)
    same = [(first[i] == first[j], second[i] == second[j]) for i in range(n) for j in range(i)]
    both = sum(a and b for a, b in same)
    one, other = sum(a for a, _ in same), sum(b for _, b in same)
    expected = one * other / len(same)
    return (both - expected) / ((one + other) / 2 - expected)


def test_a_run_agrees_with_itself(tmp_path):
    one = small_runs.run_folder(tmp_path, name="one")
    two = small_runs.run_folder(tmp_path, name="two")
    found = compare_runs(one, two)
    assert (found.agreement, found.placed, found.gone, found.joined) == (1.0, 48, 0, 0)
    assert found.moves.stayed == 49
    assert found.changes == {}
    assert "Both runs used the same records, features and parameters." in found.summary
    assert "1.00 over 48 customers (the same cut)" in found.summary


def test_other_segments_features_and_parameters(tmp_path):
    one = small_runs.run_folder(tmp_path, "plain", "one")
    two = small_runs.run_folder(tmp_path, "full", "two", k=3, n_categories=1)
    found = compare_runs(one, two)
    before, after = (small_runs.small(*pick).segments["segment_id"].to_numpy() for pick in ((4, 3), (3, 1)))
    placed = before > 0
    assert found.agreement == pytest.approx(pairs_agreement(before[placed], after[placed]), abs=1e-12)
    assert found.moves.before == (0, 1, 2, 3, 4)
    assert found.moves.after == (0, 1, 2, 3)
    for row, segment in enumerate(found.moves.before):
        for column, other in enumerate(found.moves.after):
            assert found.moves.counts[row, column] == np.sum((before == segment) & (after == other))
    assert found.features_gone == tuple(
        name
        for name in small_runs.small().model.feature_names
        if name not in small_runs.small(3, 1).model.feature_names
    )
    assert len(found.features_gone) == 2
    assert found.features_new == ()
    assert found.changes == {"k": (4, 3), "n_categories": (3, 1)}
    text = found.summary
    assert "k: 4 -> 3" in text
    assert f"features only in the first: {', '.join(found.features_gone)}" in text
    assert "Migration (rows: segment in the first run; columns: in the second):" in text
    assert "-> none" in text


def test_customers_come_and_go(tmp_path):
    one = small_runs.run_folder(tmp_path, "plain", "one")
    two = small_runs.run_folder(tmp_path, "plain", "two")
    whole = runs.open_run(two).segments
    newcomer = pa.table(
        {"customer": ["new"], "segment_id": pa.array([9], pa.int32()), "segment_name": ["Nine"]}
    )
    with_segments(two, pa.concat_tables([whole.slice(2), newcomer]))
    found = compare_runs(one, two)
    assert (found.gone, found.joined) == (2, 1)
    assert found.moves.counts.sum() == 47
    assert "2 in the first only, 1 in the second only" in found.summary
    assert "none -> 1 (2.1 %)" in found.summary


def test_strangers_are_compared_too(tmp_path):
    one = small_runs.run_folder(tmp_path, "plain", "one")
    two = small_runs.run_folder(tmp_path, "plain", "two")
    whole = runs.open_run(two).segments
    with_segments(two, whole.set_column(0, "customer", pa.array([f"x{row}" for row in range(len(whole))])))
    found = compare_runs(one, two)
    assert (found.agreement, found.moves) == (None, None)
    assert "too few customers have a segment in both runs" in found.summary


def test_numbers_and_texts_are_never_compared(tmp_path):
    one = small_runs.run_folder(tmp_path, "plain", "one")
    two = small_runs.run_folder(tmp_path, "plain", "two")
    whole = runs.open_run(two).segments
    with_segments(two, whole.set_column(0, "customer", pa.array(range(len(whole)))))
    with pytest.raises(InputError, match=r"are text, those of .* whole numbers; 1 and '1' are different"):
        compare_runs(one, two)
    # The width of a number, or of a text's offsets, makes no other customer.
    with_segments(one, whole.set_column(0, "customer", pa.array(range(len(whole)), pa.int16())))
    assert compare_runs(one, two).moves.stayed == 49
