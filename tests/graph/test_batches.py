"""Which partitions share a task: every one once, small ones by who holds them, no thread left without work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.graph.batches import BATCH_BYTES, UNKNOWN_BYTES, Report, plan_batches


def report(address, sizes, threads=1):
    return Report(address, address, threads, "cpu", sizes)


@pytest.mark.parametrize(
    ("reports", "wanted"),
    [
        ([report("a", {0: 1, 2: 1}), report("b", {1: 1})], [[0, 2], [1]]),
        ([report("a", {0: 10, 1: 11, 2: 1, 3: 1})], [[0], [1], [2, 3]]),
        ([report("a", {0: 4, 1: 4, 2: 4, 3: 4})], [[0, 1, 2], [3]]),
        ([report("a", {0: 4, 1: 4, 2: 4, 3: 4}, threads=4)], [[0], [1], [2], [3]]),
        ([report("a", {0: UNKNOWN_BYTES, 1: UNKNOWN_BYTES})], [[0], [1]]),
        ([report("a", {0: 0, 1: 0})], [[0], [1]]),
        ([report("a", {0: 1, 1: 1}), report("b", {0: 1})], [[0], [1]]),
    ],
    ids=["by worker", "large alone", "full", "a thread each", "unknown alone", "empty", "moved"],
)
def test_batches(reports, wanted):
    assert plan_batches(reports, 10) == wanted


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 5, 9, 10, 99])), min_size=1, max_size=40),
    st.integers(1, 4),
)
def test_any_partitions(held, threads):
    reports = [report(address, {number: size}, threads) for number, (address, size) in enumerate(held)]
    batches = plan_batches(reports, 10)
    assert sorted(number for batch in batches for number in batch) == list(range(len(held)))
    for batch in batches:
        assert len({held[number][0] for number in batch}) == 1
        assert len(batch) == 1 or sum(held[number][1] for number in batch[:-1]) < 10
    for address in {address for address, _ in held}:
        small = [size for other, size in held if other == address and size < 10]
        smallest_share = [
            batch for batch in batches if held[batch[0]][0] == address and held[batch[0]][1] < 10
        ]
        assert len(smallest_share) >= min(threads, len(small)) or sum(small) <= 10 * threads


def test_a_batch_is_a_few_milliseconds_of_work():
    assert 8 << 20 <= BATCH_BYTES <= 128 << 20
