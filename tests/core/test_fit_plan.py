"""The memory plan of a fit: bytes and reads from metadata, worked out by hand here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuseg.core.fit_plan import MemoryPlan, Place, TableSize, Work, said

FILES = TableSize("parquet", 1000, 300, 4, 10, single=True, at_a_time=2)
WORK = Work((3, 300), samples=True, rounds=0, max_iter=7, labels=True)
HERE = Place(0, 1, 1 << 30, 1 << 20)
HELD = MemoryPlan(FILES, WORK, HERE, persist=True, room=1 << 62, reason="asked for")
AGAIN = replace(HELD, persist=False, room=0)
SUMS = 303 * (10 + 1) * 16 * 2
SAMPLE = 1000 * (40 + 24) * 5
STATES = (1 + 4) + (2 + 4)


def test_what_is_held_of_files():
    assert HELD.held == HELD.needed == 1000 * (40 + STATES)
    assert HELD.held_share == 1.0
    assert HELD.labels == 1000 * (4 + 1 + 4 + 2)
    assert HELD.sample == SAMPLE
    # A tile is decoded two columns of ten at a time: compressed and plain, beside all ten.
    assert HELD.tile == 300 * (40 + 2 * 8 + 16)
    assert HELD.peak == max(1000 * 40 + SAMPLE, 1000 * (40 + STATES) + 16_000) + HELD.tile + SUMS
    assert HELD.reads == (1, 0)
    assert HELD.fits
    assert HELD.worker_peak == 0


def test_what_is_read_again():
    assert (AGAIN.held, AGAIN.held_share) == (0, 0.0)
    assert AGAIN.peak == SAMPLE + HELD.tile + SUMS
    assert AGAIN.reads == (4, 1)  # two to prepare, the sample, the closing pass
    assert replace(AGAIN, table=replace(FILES, single=False)).reads == (5, 1)
    oversampled = replace(AGAIN, work=replace(WORK, samples=False, rounds=5))
    assert oversampled.reads == (10, 1)
    assert oversampled.sample == 0
    assert "4 and one an iteration, at most 11" in str(AGAIN)


def test_as_much_as_there_is_room_for_is_held():
    part = replace(HELD, persist=False, room=500 * (40 + STATES))
    assert part.held == part.room
    assert part.held_share == 0.5
    assert "50% of the rows are held" in str(part)


def test_float64_stays_as_it_was_read_until_its_block_is_made():
    plan = replace(HELD, table=replace(FILES, single=False))
    assert plan.needed == 1000 * 80
    assert plan.held == 1000 * (40 + STATES)
    assert plan.tile == 300 * (80 + 40 + 16)


def test_candidates_cost_four_bytes_a_row_until_there_are_labels():
    seeded = replace(HELD, work=replace(WORK, samples=False, rounds=5, clusters=(1,), labels=False))
    assert seeded.peak == 1000 * (40 + 5) + seeded.tile + seeded.sums


def test_weights_and_keys_are_held_with_the_rows():
    plan = replace(HELD, table=replace(FILES, beside=16))
    assert plan.held == 1000 * (40 + 16 + STATES)
    assert plan.sums == 303 * (10 + 32) * 16 * 2  # weights may be real


def test_rows_in_memory_need_a_copy_at_most():
    table = replace(FILES, kind="memory", n_tiles=1, tile_rows=1000)
    plan = replace(HELD, table=table)
    assert plan.held == 1000 * (40 + STATES)
    assert (plan.tile, plan.reads, plan.labels) == (0, (0, 0), 1000 * 4 * 2)
    assert plan.sample == 1000 * (40 + 24) * 2  # one tile's share is merged with no other
    assert replace(plan, table=replace(table, is_block=True)).held == 1000 * STATES


def test_workers_share_what_is_held():
    place = Place(3, 2, 1 << 30, 1 << 20)
    plan = replace(HELD, place=place)
    assert plan.tile == 2 * HELD.tile
    assert plan.worker_peak == -(-1000 * (40 + STATES) // 3) + plan.tile + plan.sums
    assert plan.peak == SAMPLE + plan.sums
    collection = replace(plan, table=replace(FILES, kind="dask"), place=replace(place, holds_source=True))
    assert collection.held == 1000 * (40 + 40 + STATES)
    assert collection.reads == (1, 0)
    assert "3 Dask workers" in str(collection)


def test_rows_that_nobody_counted():
    table = replace(FILES, kind="dask", n_rows=None, tile_rows=None)
    plan = replace(HELD, table=table, persist=False, room=1 << 20)
    assert (plan.needed, plan.held_share, plan.held, plan.fits) == (None, None, 0, True)
    assert "an unknown number of rows" in str(plan)
    assert "held between passes, at most                       1.0 MiB" in str(plan)


@pytest.mark.parametrize(
    ("changes", "largest"),
    [({}, "rows"), ({"tile_rows": 1_000_000}, "tile"), ({"n_rows": 2, "tile_rows": 1}, "sample")],
)
def test_what_needs_most(changes, largest):
    plan = replace(HELD, table=replace(FILES, **changes))
    wanted = replace(plan, work=replace(WORK, samples=largest == "sample"))
    name, size = wanted.largest()
    assert (name, size) == (largest, max(wanted.held, wanted.tile, wanted.sample, wanted.labels))
    assert not replace(wanted, place=replace(HERE, available=wanted.peak - 1)).fits
    assert replace(wanted, place=replace(HERE, available=wanted.peak)).fits


def test_the_table_says_all_of_it():
    text = str(replace(HELD, table=replace(FILES, n_rows=3_000_000, tile_rows=300_000)))
    for words in (
        "3,000,000 rows x 10 features (float32) in 4 tiles of at most 300,000 rows, k = 3, 300, in this process",
        "40 B a row, 114.4 MiB", "labels and bounds", "held between passes", "seeding sample", "peak here",
        "persist: asked for", "reads: once", "fits into the 1.0 GiB that this process may take",
    ):  # fmt: skip
        assert words in text
    assert "does not fit" in str(replace(HELD, place=replace(HERE, available=1)))


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1 << 10, "1.0 KiB"), (3 << 29, "1.5 GiB"), (1 << 42, "4.0 TiB")],
)
def test_bytes_in_words(n, words):
    assert said(n) == words


def test_a_draft_nearly_as_large_as_the_sample_is_counted():
    """One tile: the sample and its share while it is gathered; then the sample and two copies of the draft."""
    table = replace(FILES, n_rows=1 << 20, tile_rows=1 << 20, n_tiles=1)
    row, sample = 40 + 24, 1 << 18
    for clusters, rows in [((3,), 2 * sample), ((500, 3), sample + 2 * 512 * 500), ((600,), 2 * sample)]:
        assert replace(HELD, table=table, work=replace(WORK, clusters=clusters)).sample == rows * row
