"""Philox: the published answers, the oracle, and what makes a draw belong to a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.philox import Stage, draw64, philox4x32, uniform53
from gpuseg.errors import InputError
from tests.oracle import philox as oracle

# Counter, key, answer: the vectors that Random123 publishes for philox4x32, 10 rounds.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
words64 = st.integers(0, 2**64 - 1)


def words(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    assert oracle.philox4x32(words(counter), words(key)) == words(answer)
    computed = philox4x32(tuple(np.array([word], np.uint64) for word in words(counter)), words(key))
    assert tuple(int(word[0]) for word in computed) == words(answer)


@given(
    seed=words64,
    stage=st.sampled_from(Stage),
    rows=st.lists(words64, max_size=20),
    index=st.integers(0, 2**32 - 1),
)
def test_equals_the_oracle(seed, stage, rows, index):
    drawn = draw64(seed, stage, np.array(rows, np.uint64), index)
    assert drawn.dtype == np.uint64
    assert drawn.tolist() == [oracle.draw64(seed, int(stage), row, index) for row in rows]


@given(seed=words64, rows=st.lists(words64, min_size=1, max_size=20), data=st.data())
def test_a_draw_depends_on_no_other_row(seed, rows, data):
    identity = np.array(rows, np.uint64)
    order = data.draw(st.permutations(range(len(rows))))
    assert np.array_equal(
        draw64(seed, Stage.SEED, identity[order]), draw64(seed, Stage.SEED, identity)[order]
    )


def test_seeds_stages_and_indices_give_different_draws():
    row = np.arange(1000, dtype=np.uint64)
    draws = [draw64(seed, stage, row, index) for seed in (0, 2**32) for stage in Stage for index in (0, 1)]
    assert np.unique(np.concatenate(draws)).size == 1000 * len(draws)


def test_stage_numbers_never_change():
    assert {stage.name: int(stage) for stage in Stage} == {
        "SAMPLE": 1,
        "SEED": 2,
        "BOOTSTRAP": 3,
        "SILHOUETTE_SAMPLE": 4,
        "OVERSAMPLE": 5,
        "FOLD": 6,
    }


def test_uniforms_lie_in_the_half_open_unit_interval():
    assert uniform53(np.array([0, 2**11 - 1, 2**64 - 1], np.uint64)).tolist() == [0.0, 0.0, 1.0 - 2.0**-53]
    u = uniform53(draw64(1, Stage.SAMPLE, np.arange(100_000, dtype=np.uint64)))
    # Five standard deviations of a mean of 100,000 uniforms: 5 / sqrt(12 * 1e5).
    assert abs(u.mean() - 0.5) < 0.0046


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
def test_out_of_range_is_refused(seed, index):
    with pytest.raises(InputError, match="is not in 0"):
        draw64(seed, Stage.SAMPLE, np.zeros(1, np.uint64), index)
