"""Stability: Jaccard and Rand index against naive sets and pairs, draws by identity, scales that never change."""

from __future__ import annotations

import itertools
from fractions import Fraction

import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.cluster import seeding
from gpuseg.cluster.kmeans import KMeans
from gpuseg.core.promise import Promise
from gpuseg.errors import InputError
from gpuseg.quality import stability as room
from gpuseg.quality.agreement import adjusted_rand_index, contingency
from gpuseg.quality.stability import poisson_draws, stability, stability_band

labelled = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


def rows(n: int = 240, d: int = 3, apart: float = 8.0, kind: type = np.float32):
    rng = np.random.default_rng(n + d)
    return (rng.normal(size=(n, d)) + apart * (np.arange(n) % 3)[:, None]).astype(kind)


@given(labelled)
def test_rand_index_counts_pairs(pair):
    a, b = pair
    pairs = list(itertools.combinations(range(len(a)), 2))
    same_a = [a[i] == a[j] for i, j in pairs]
    same_b = [b[i] == b[j] for i, j in pairs]
    both, first, second = sum(x and y for x, y in zip(same_a, same_b, strict=True)), sum(same_a), sum(same_b)
    if not pairs:
        assert adjusted_rand_index(a, b) == 1.0
        return
    expected = Fraction(first * second, len(pairs))
    spread = Fraction(first + second, 2) - expected
    naive = (both - expected) / spread if spread else Fraction(1)
    assert adjusted_rand_index(a, b) == naive.numerator / naive.denominator
    assert adjusted_rand_index(b, a) == adjusted_rand_index(a, b)


def test_contingency_sorts_groups_of_any_kind():
    assert contingency(["b", "a", "b"], [7, 7, 3]).tolist() == [[0, 1], [1, 1]]
    with pytest.raises(InputError, match="2 and 1 labels"):
        contingency([1, 2], [1])
    with pytest.raises(InputError, match="0 and 0 labels"):
        contingency([], [])


def test_draws_follow_poisson_and_depend_on_the_row_alone():
    identity = np.arange(200_000, dtype=np.uint64)
    drawn = poisson_draws(3, identity, 5)
    shares = np.bincount(drawn, minlength=8)[:4] / len(drawn)
    e = 2.718281828459045
    assert shares == pytest.approx([1 / e, 1 / e, 1 / e / 2, 1 / e / 6], abs=0.004)
    assert drawn.mean() == pytest.approx(1.0, abs=0.01)
    assert (poisson_draws(3, identity[[7, 11]], 5) == drawn[[7, 11]]).all()
    assert (poisson_draws(3, identity, 6) != drawn).any()
    assert (poisson_draws(4, identity, 5) != drawn).any()


def test_thresholds_are_the_distribution_to_the_last_bit():
    assert room._THRESHOLDS[0] == 6786177901268885274  # floor(2**64 / e)
    assert (np.diff(room._THRESHOLDS[:12].astype(np.float64)) > 0).all()


def test_against_naive_sets():
    X, n_boot, seed = rows(90, 2, apart=1.5), 4, 9
    model = KMeans(3, random_state=1).fit(X)
    found = stability(X, model, n_boot, seed)
    identity = np.arange(len(X), dtype=np.uint64)
    jaccards = {c: [] for c in range(3)}
    for replicate in range(n_boot):
        drawn = poisson_draws(seed, identity, replicate)
        own = int(room.draw64(seed, room.Stage.BOOTSTRAP, np.array([replicate], np.uint64), 2**32 - 1)[0])
        # A table of repeated rows is fitted alike, where the largest value is drawn: the scales are then the same.
        again = KMeans(3, random_state=own, n_init=8).fit(
            np.vstack([X, X[:0]]), sample_weight=drawn.astype(float)
        )
        labels = again.predict(X)
        kept = set(np.flatnonzero(drawn).tolist())
        for c in range(3):
            mine = set(np.flatnonzero(model.labels_ == c).tolist()) & kept
            theirs = [set(np.flatnonzero(labels == g).tolist()) & kept for g in range(3)]
            jaccards[c].append(max(len(mine & t) / len(mine | t) for t in theirs))
        assert found.ari_replicates[replicate] == pytest.approx(adjusted_rand_index(model.labels_, labels))
    for c in range(3):
        assert found.segment(c).jaccard == pytest.approx(np.mean(jaccards[c]), rel=1e-12)
        assert found.segment(c).n_rows == np.count_nonzero(model.labels_ == c)
        assert found.segment(c).n_replicates == n_boot
    assert found.ari == pytest.approx(np.mean(found.ari_replicates), rel=1e-15)
    assert found.lowest == min(s.jaccard for s in found.segments)
    assert (found.n_boot, found.n_rows, found.sampled, found.promise) == (n_boot, 90, False, Promise.EXACT)


def test_clear_groups_are_stable_and_a_cut_through_one_is_not():
    X = rows(apart=20.0)
    whole = stability(X, KMeans(3, random_state=0).fit(X), 5)
    assert (whole.ari, whole.lowest, whole.band) == (1.0, 1.0, "stable")
    cut = stability(X, KMeans(5, random_state=0).fit(X), 10)
    assert cut.lowest < room.VALID
    assert cut.ari < 1.0


def test_multiplicities_never_change_the_scale(monkeypatch):
    X = rows()
    X[17] = 1e4  # left out of some replicates
    model = KMeans(3, random_state=0).fit(X)
    scales = []

    def spy(engine, sample, given, template, k, n_init, seed):
        scales.append((given.exponent.tolist(), sample.rows.max()))
        return seeding.best_seeding(engine, sample, given, template, k, n_init, seed)

    monkeypatch.setattr(room, "best_seeding", spy)
    stability(X, model, 6)
    assert {tuple(exponent) for exponent, _ in scales} == {
        tuple(model._fitted.layout.scales.exponent.tolist())
    }
    assert len({largest == 1e4 for _, largest in scales}) == 2


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_one_answer_for_chunks_threads_and_order(kind):
    X = rows(kind=kind)
    keys = np.arange(1000, 1000 + len(X))
    table = pa.table({"who": keys, **{f"x{f}": X[:, f] for f in range(3)}})
    table = table.replace_schema_metadata({"gpuseg.customer": "who"})
    model = KMeans(4, random_state=0).fit(table)
    expected = stability(table, model, 4, 2)
    order = np.random.default_rng(0).permutation(len(X))
    assert stability(table.take(order), model, 4, 2) == expected
    other = KMeans(4, random_state=0, n_jobs=2).fit(table)
    assert stability(table, other, 4, 2) == expected
    plain = KMeans(4, random_state=0).fit(X)
    lazy = KMeans(4, random_state=0).fit(da.from_array(X, chunks=(70, 3)))
    assert stability(da.from_array(X, chunks=(70, 3)), lazy, 3) == stability(X, plain, 3)


def test_a_sample_is_said_to_be_one(monkeypatch, caplog):
    X = rows()
    model = KMeans(3, random_state=0).fit(X)
    monkeypatch.setattr(room, "SAMPLE_ROWS", 100)
    with caplog.at_level("INFO", logger="gpuseg.quality"):
        found = stability(X, model, 3)
    assert (found.n_rows, found.sampled) == (100, True)
    assert "100 of 240 rows were resampled" in caplog.text


def test_a_model_from_given_centres_starts_from_them_again():
    X = rows(apart=20.0)
    found = stability(X, KMeans(3, init=X[:3]).fit(X), 3)
    assert found.ari == 1.0


def test_a_segment_that_is_never_drawn_has_no_figure():
    X = rows(apart=20.0)
    X[0] = 500.0
    model = KMeans(4, random_state=0).fit(X)
    alone = int(model.labels_[0])
    missed = next(seed for seed in range(60) if not poisson_draws(seed, np.zeros(1, np.uint64), 0)[0])
    found = stability(X, model, 1, missed)
    assert found.segment(alone).n_replicates == 0
    assert np.isnan(found.segment(alone).jaccard)
    assert found.lowest == 0.0


@pytest.mark.parametrize(
    ("jaccard", "band"),
    [
        (0.59, "doubtful"),
        (0.6, "uncertain"),
        (0.75, "valid"),
        (0.84, "valid"),
        (0.85, "stable"),
        (1.0, "stable"),
    ],
)
def test_bands(jaccard, band):
    assert stability_band(jaccard) == band


@pytest.mark.parametrize(
    ("n_boot", "seed", "message"),
    [
        (0, 0, "n_boot=0"),
        (10_001, 0, "n_boot=10001"),
        (True, 0, "n_boot=True"),
        (5, -1, "seed=-1"),
        (5, 2**64, "seed="),
    ],
)
def test_refuses_numbers_out_of_range(n_boot, seed, message):
    with pytest.raises(InputError, match=message):
        stability(rows(), KMeans(3, random_state=0).fit(rows()), n_boot, seed)


def test_refuses_what_is_no_fitted_model():
    with pytest.raises(InputError, match="is no fitted KMeans"):
        stability(rows(), KMeans(3))
    with pytest.raises(InputError, match="str is no fitted KMeans"):
        stability(rows(), "model")
