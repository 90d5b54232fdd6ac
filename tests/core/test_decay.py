"""Forward decay against Fractions: steps by floor, weights by exact roots, no landmark in the answer but rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import decay
from gpuseg.core.decay import EPOCH, SHORTEST, Decay
from gpuseg.errors import RangeError

DAY = 86_400_000_000
INSTANTS = st.integers(-(2**52), 2**52)
HALF_LIVES = st.one_of(st.integers(SHORTEST, 2000 * DAY), st.sampled_from([SHORTEST, DAY, 365 * DAY, 2**53]))


def times(*instants):
    return np.array(instants, np.int64)


def test_the_weights_are_the_nearest_integers():
    table = decay.weights()
    assert len(table) == 512
    for step, weight in enumerate(table.tolist()):
        # weight - 1/2 < 2**(30 + step/64) < weight + 1/2, raised to the 64th power
        assert Fraction(2 * weight - 1, 2) ** 64 < 2 ** (30 * 64 + step) < Fraction(2 * weight + 1, 2) ** 64
    assert (np.diff(table) > 0).all()
    assert table[64::64].tolist() == [1 << (30 + i) for i in range(1, 8)]
    assert not table.flags.writeable


@given(st.lists(INSTANTS, max_size=8), HALF_LIVES, INSTANTS)
def test_steps_and_epochs_are_floors(instants, half_life, landmark):
    step, epoch, weight = Decay(half_life, landmark).of(times(*instants))
    wanted = [Fraction(t - landmark, half_life) * 64 // 1 for t in instants]
    assert step.tolist() == wanted
    assert epoch.tolist() == [q // 512 for q in wanted]
    assert weight.tolist() == [int(decay.weights()[q % 512]) for q in wanted]


@pytest.mark.parametrize("epoch", [-3, -1, 0, 1, 7])
def test_an_epoch_starts_at_its_border(epoch):
    rule = Decay(64 * DAY, landmark_us=5)
    border = 5 + epoch * EPOCH * DAY
    step, found, weight = rule.of(times(border - 1, border, border + DAY - 1, border + DAY))
    assert found.tolist() == [epoch - 1, epoch, epoch, epoch]
    assert (step - epoch * EPOCH).tolist() == [-1, 0, 0, 1]
    assert weight.tolist() == decay.weights()[[511, 0, 0, 1]].tolist()


def test_without_a_half_life_everything_counts_alike():
    step, epoch, weight = Decay().of(times(-(2**60), 0, 2**60))
    assert step.tolist() == epoch.tolist() == [0, 0, 0]
    assert weight.tolist() == [1 << 30] * 3


@given(st.integers(-400, 400), st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True))
def test_finishing_is_a_sum_of_halves(start, gaps):
    """At whole half-lives, no more than 50 apart, every term and every sum is exact."""
    whole = [start + gap for gap in sorted(gaps)]
    step, epoch, weight = Decay(DAY).of(times(*(w * DAY for w in whole)))
    terms = decay.as_of(weight.astype(np.float64), epoch, np.repeat(step[-1], len(step)))
    total = np.array([float(sum(Fraction(term) for term in terms.tolist()))])
    exact = sum(Fraction(1, 2 ** (whole[-1] - w)) for w in whole)
    assert Fraction(float(decay.per_record(total, step[-1:])[0])) == exact


@pytest.mark.parametrize("half_life", [0, -1, SHORTEST - 1, 2**53 + 1])
def test_a_half_life_out_of_range_is_refused(half_life):
    with pytest.raises(RangeError, match=f"half_life_us={half_life} is not between"):
        Decay(half_life)


def test_a_landmark_out_of_range_is_refused():
    with pytest.raises(RangeError, match="landmark_us=-9007199254740993 is beyond"):
        Decay(DAY, -(2**53) - 1)


def test_instants_too_far_from_the_landmark_are_refused():
    with pytest.raises(RangeError, match="lengthen the half-life"):
        Decay(SHORTEST).steps(times(0, SHORTEST * 8 * (1 << 19)))
    with pytest.raises(RangeError, match="choose a nearer landmark"):
        Decay(2**53).steps(times(-(2**57)))
    assert Decay(SHORTEST).steps(times(SHORTEST * 8 * (1 << 19) - 1)).tolist() == [(1 << 28) - 1]
    assert Decay(SHORTEST).steps(times()).tolist() == []
