"""The frozen reference: figures against the formulas, any split of the customers, JSON that cannot be changed."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import ContractError, InputError, RangeError, SourceError, TooFewRowsError
from gpuseg.personality import reference_sums
from gpuseg.personality.reference import Reference, make_reference
from tests.oracle import traits as oracle
from tests.personality.populations import CATEGORIES, counts_of, evidence_of, reference_of, weights_of

WEIGHTS = weights_of(np.random.default_rng(5).normal(size=(3, 8)))


@pytest.mark.parametrize("decayed", [False, True])
def test_its_figures_are_those_of_the_formulas(decayed):
    counts = counts_of(decayed=decayed)
    counts[:, 2] = 0.0
    reference = reference_of(counts, WEIGHTS, smoothing=2.0)
    wanted = oracle.Population(counts, WEIGHTS.matrix(CATEGORIES), 2.0, 20.0)
    np.testing.assert_allclose(reference.share, wanted.share, rtol=1e-8 if decayed else 0.0)
    np.testing.assert_allclose(reference.mean, np.nan_to_num(wanted.mean), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(reference.sd, np.nan_to_num(wanted.sd), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(reference.trait_mean, wanted.trait_mean, rtol=0, atol=1e-8)
    np.testing.assert_allclose(reference.trait_sd, wanted.trait_sd, rtol=1e-8)
    assert reference.n_customers == np.count_nonzero(counts.sum(axis=1)) < len(counts)
    assert (reference.histogram.sum(axis=1) == reference.n_customers).all()
    assert reference.share[2] == reference.mean[2] == reference.sd[2] == 0.0


def test_shares_are_exact():
    counts = np.array([[1.0, 2.0], [0.0, 4.0], [3.0, 0.0]])
    assert reference_of(counts, weights_of(np.eye(2))).share.tolist() == [4 / 10, 6 / 10]


@given(
    cuts=st.lists(st.integers(0, 300), max_size=5),
    order=st.randoms(use_true_random=False),
    jobs=st.sampled_from([1, 2, 5]),
    rows=st.sampled_from([64, 100, 1 << 15]),
)
def test_any_split_of_the_customers_gives_the_same_bits(monkeypatch_rows, cuts, order, jobs, rows):
    evidence = evidence_of(counts_of(decayed=True))
    whole = make_reference(lambda: [evidence], WEIGHTS, engine=CpuEngine(1))
    borders = [0, *sorted(cuts), 300]
    parts = [evidence.slice(start, stop) for start, stop in pairwise(borders)]
    order.shuffle(parts)
    monkeypatch_rows(rows)
    split = make_reference(lambda: iter(parts), WEIGHTS, engine=CpuEngine(jobs))
    assert split == whole
    assert split.digest == whole.digest
    for name in ("share", "mean", "sd", "trait_mean", "trait_sd", "histogram"):
        assert np.array_equal(getattr(split, name), getattr(whole, name)), name


@pytest.fixture(scope="module")
def monkeypatch_rows():
    with pytest.MonkeyPatch.context() as patch:
        yield lambda rows: patch.setattr(reference_sums, "_ROWS", rows)


def test_partial_states_have_a_zero():
    evidence = evidence_of(counts_of())
    shares = reference_sums.partition_shares(evidence)
    assert shares.merge(reference_sums.ShareSums.zero(8)) == shares
    engine = CpuEngine(1)
    index = reference_sums.partition_indices(evidence, shares.shares(), 5.0, engine)
    merged = reference_sums.IndexSums.zero(8).merge(index)
    assert merged.moments.total == index.moments.total
    assert merged.moments.square == index.moments.square
    assert np.array_equal(merged.largest, index.largest)


def test_the_histogram_has_a_bin_every_256th_of_a_deviation():
    stands = np.array([-math.inf, -8.0, -7.998, -0.001, 0.0, 0.0039, 1 / 256, 7.999, 8.0, 99.0])
    assert reference_sums.bin_of(stands).tolist() == [0, 0, 0, 2047, 2048, 2048, 2049, 4095, 4095, 4095]


def test_json_there_and_back(tmp_path):
    reference = reference_of(counts_of(), WEIGHTS, map_digest="m", decay_digest="d", version=3)
    again = Reference.from_json(reference.to_json())
    assert again == reference
    assert hash(again) == hash(reference)
    reference.save(tmp_path / "reference.json")
    assert Reference.load(tmp_path / "reference.json").to_json() == reference.to_json()
    assert (again.version, again.map_digest, again.decay_digest) == (3, "m", "d")
    assert reference != reference_of(counts_of(seed=1), WEIGHTS)
    assert reference != "reference"


@pytest.mark.parametrize(
    "name", ["share", "trait_mean", "shrinkage", "measurability", "weights_digest", "version"]
)
def test_a_reference_that_was_changed_is_refused(name):
    facts = json.loads(reference_of(counts_of(), WEIGHTS).to_json())
    match facts[name]:
        case [[*first], *_]:
            first[-1] = "no reason"
            facts[name][0] = first
        case [first, *_]:
            facts[name][0] = first + 2.0**-40
        case str(value):
            facts[name] = value[::-1]
        case value:
            facts[name] = value + 1
    with pytest.raises(ContractError, match="changed after it was made"):
        Reference.from_json(json.dumps(facts))


def test_a_reference_of_another_contract_is_refused():
    facts = json.loads(reference_of(counts_of(), WEIGHTS).to_json()) | {"contract": 0}
    with pytest.raises(ContractError, match="under contract 0"):
        Reference.from_json(json.dumps(facts))


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"contract": 1, "digest": ""}'])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InputError, match="no reference of gpuseg"):
        Reference.from_json(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        Reference.load(tmp_path / "none.json")


@pytest.mark.parametrize("parts", [[], [evidence_of(np.zeros((3, 8)))]])
def test_a_reference_of_nobody_is_refused(parts):
    with pytest.raises(TooFewRowsError, match="no customer has a transaction"):
        make_reference(lambda: parts, WEIGHTS)


@pytest.mark.parametrize(
    "options", [{"smoothing": 0.0}, {"smoothing": math.nan}, {"shrinkage": 0.0}, {"shrinkage": math.inf}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="is common"):
        reference_of(counts_of(), WEIGHTS, **options)


def test_parts_of_different_categories_are_refused():
    parts = [evidence_of(counts_of()), evidence_of(counts_of(), ("another", *CATEGORIES[:-1]))]
    with pytest.raises(InputError, match="'another'"):
        make_reference(lambda: parts, WEIGHTS)


def test_counts_beyond_the_sums_are_refused():
    counts = counts_of()
    counts[3, 3] = 2.0**33
    with pytest.raises(RangeError, match=r"count of a customer goes from .* to 8\.58993e\+09"):
        reference_of(counts, WEIGHTS)


def test_the_largest_counts_and_the_smallest_smoothing_stay_in_the_sums():
    counts = np.array([[2.0**32, 0.0], [2.0**-30, 2.0**-30], [2.0**32, 1.0]])
    reference = reference_of(counts, weights_of(np.eye(2)), smoothing=2.0**-10)
    table = oracle.over_index(counts, reference.share, 2.0**-10)
    assert np.abs(table).max() > 25
    np.testing.assert_allclose(reference.mean, table.mean(axis=0), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(reference.sd, table.std(axis=0), rtol=1e-8, atol=1e-9)
