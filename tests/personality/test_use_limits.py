"""What may not choose a message does not, however it is asked."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from gpuseg import datasets
from gpuseg.datasets_planted import CATEGORIES, names
from gpuseg.errors import InputError
from gpuseg.personality.category_map import study_categories
from gpuseg.personality.message_choice import MessageGroup
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.reference import make_reference
from gpuseg.personality.scoring import score
from gpuseg.personality.use_limits import barred, categories_behind
from gpuseg.personality.weights import TraitWeights
from tests.personality.populations import evidence_of

N = 40


def table(**columns):
    draws = np.random.default_rng(0)
    base = {
        "customer": np.arange(N),
        "openness": draws.normal(50, 10, N),
        "neuroticism": draws.normal(50, 10, N),
    }
    return pa.table(base | columns)


def declare(trait, **options):
    return MessageGroups.by_thresholds({"a": {trait: (55, None)}}, review="monthly", **options)


@pytest.mark.parametrize(
    "name",
    [
        "neuroticism", "Neuroticism", " NEUROTICISM ", "neuroticism_T", "n.e.u.r.o.t.i.c.i.s.m", "nevroticisme", "N",
        "n_score", "\uff2eeuroticism", "emotional_stability", "EmotionalStability", "anxiety", "gambling",
        "share_gambling", "GAMBLING", "lottery", "7995", "fines", "traffic fines", "9222", "debt",
        "debt_collection_credit", "bank_charges_cash_advance", "overdraft", "7322",
    ],
)  # fmt: skip
def test_barred_in_any_spelling(name):
    assert barred(name)
    with pytest.raises(InputError, match="never chooses a message unless opted in"):
        declare(name)
    with pytest.raises(InputError, match="never chooses a message unless opted in"):
        MessageGroups.by_centres({"a": {name: 1.0}, "b": {name: 2.0}}, review="monthly")
    data = pa.table({"customer": [1, 2, 3], name: [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match="never chooses a message unless opted in"):
        MessageGroups.learned(data, 2, traits=[name], review="monthly")
    with pytest.raises(InputError, match="of 0 traits"):
        MessageGroups.learned(data, 2, review="monthly")


@pytest.mark.parametrize(
    "name",
    ["openness", "conscientiousness", "extraversion", "agreeableness", "materialism", "self_control", "night_share",
     "weekend_share", "variability", "persistence", "burstiness", "diversity", "turnover"],
)  # fmt: skip
def test_other_traits_are_not_barred(name):
    assert barred(name) is None
    assert declare(name).traits == (name,)


def test_the_plain_constructor_replace_and_files_are_no_way_round():
    group = MessageGroup("a", (("neuroticism", 55.0, None),))
    with pytest.raises(InputError, match="never chooses"):
        MessageGroups((group,), "monthly")
    with pytest.raises(InputError, match="never chooses"):
        dataclasses.replace(declare("openness"), groups=(group,))
    opted = declare("neuroticism", opt_in={"neuroticism": "support for worried customers"})
    with pytest.raises(InputError, match="never chooses"):
        dataclasses.replace(opted, opt_in=())
    held = json.loads(opted.to_json())
    held["opt_in"] = {}
    with pytest.raises(InputError, match="never chooses"):
        MessageGroups.from_json(json.dumps(held))
    held["opt_in"] = {"neuroticism": "x"}
    with pytest.raises(InputError, match="say in words"):
        MessageGroups.from_json(json.dumps(held))


@pytest.mark.parametrize("purpose", ["", "   ", "yes", None])
def test_an_opt_in_needs_a_purpose(purpose):
    with pytest.raises(InputError, match="say in words"):
        declare("neuroticism", opt_in={"neuroticism": purpose})


def test_an_opt_in_with_a_purpose_is_on_record():
    groups = declare("neuroticism", opt_in={"neuroticism": "support for worried customers"})
    found = groups.assign(table(), on="2024-01-01")
    assert found.sizes["a"] > 0
    assert found.facts()["opt_in"] == {"neuroticism": "support for worried customers"}
    assert MessageGroups.from_json(groups.to_json()) == groups


def test_an_opt_in_for_one_thing_opens_no_other():
    with pytest.raises(InputError, match="'gambling'"):
        declare("gambling", opt_in={"neuroticism": "support for worried customers"})


def test_a_copy_under_another_name_is_found():
    data = table()
    for copied in (data["neuroticism"].to_numpy(), 100 - data["neuroticism"].to_numpy() * 0.5):
        copy = data.append_column("calmness", pa.array(copied))
        with pytest.raises(InputError, match="'calmness' is 'neuroticism' under another name"):
            declare("calmness").assign(copy, on="2024-01-01")
        with pytest.raises(InputError, match="under another name"):
            MessageGroups.learned(copy, 2, review="monthly")
    assert declare("openness").assign(data, on="2024-01-01").sizes["a"] > 0


def test_columns_that_merely_correlate_are_no_copies():
    data = table()
    near = data["neuroticism"].to_numpy() + np.random.default_rng(1).normal(0, 0.1, N)
    assert declare("calmness").assign(data.append_column("calmness", pa.array(near)), on="2024-01-01")


def test_a_trait_that_rests_on_gambling_chooses_nothing():
    rests_on = {"openness": ["books_news", "gambling"], "neuroticism": ["fines"]}
    groups = declare("openness")
    with pytest.raises(InputError, match="'openness' rests on 'gambling'"):
        groups.assign(table(), on="2024-01-01", rests_on=rests_on)
    with pytest.raises(InputError, match="'openness' rests on 'gambling'"):
        MessageGroups.learned(table(), 2, review="monthly", rests_on=rests_on)
    opted = declare("openness", opt_in={"gambling": "a licensed betting shop's own news"})
    assert opted.assign(table(), on="2024-01-01", rests_on=rests_on).sizes["a"] > 0
    assert groups.assign(table(), on="2024-01-01", rests_on={"openness": ["books_news"]}).sizes["a"] > 0


def test_learning_leaves_barred_columns_out_and_says_so():
    data = table(
        share_gambling=np.random.default_rng(3).random(N), night_share=np.random.default_rng(4).random(N)
    )
    groups = MessageGroups.learned(data, 2, review="monthly")
    assert groups.traits == ("openness", "night_share")
    assert groups.left_out == ("neuroticism", "share_gambling")
    assert groups.assign(data, on="2024-01-01").facts()["left_out"] == ["neuroticism", "share_gambling"]


def test_scores_choose_messages_by_what_they_rest_on():
    counts, _ = datasets.category_counts(300, (5, 100), seed=1)
    weights = TraitWeights.of("OCEAN", datasets.planted_weights())
    kept = np.isin(list(CATEGORIES), names(sensitive=False))
    for use, traits in ((kept, ("extraversion", "openness")), (np.ones(55, np.bool_), ("openness",))):
        evidence = evidence_of(counts[:, use], tuple(np.array(list(CATEGORIES))[use].tolist()))
        reference = make_reference(lambda evidence=evidence: [evidence], weights)
        scores = score(evidence, reference, weights)
        behind = categories_behind(weights, reference.categories)
        found = MessageGroups.by_centres(
            {"a": dict.fromkeys(traits, 45), "b": dict.fromkeys(traits, 55)}, review="monthly"
        ).assign(scores.to_arrow(), on="2024-01-01", evidence=scores.evidence, rests_on=behind)
        assert found.sizes["everyone"] == np.count_nonzero(scores.evidence < 20) > 0
        assert min(found.sizes.values()) > 0
    with pytest.raises(InputError, match="'extraversion' rests on 'pubs_bars'"):
        declare("extraversion").assign(scores.to_arrow(), on="2024-01-01", rests_on=behind)
    opted = declare("neuroticism", opt_in={"neuroticism": "support for worried customers"})
    assert opted.assign(scores.to_arrow(), on="2024-01-01", rests_on=behind).sizes["a"] > 0


def test_categories_of_the_studies_are_what_the_data_say():
    assert barred("health_fitness_clubs") is None
    assert barred("medical_dental_optical") == "health"
    assert barred("health") == "health"
    assert {name for name in study_categories() if barred(name)} == {
        name for name, kind in study_categories().items() if kind
    }


@pytest.mark.parametrize("purpose", ["", " ", ". .", "12 34", "-- --", "letters"])
def test_a_purpose_that_says_nothing_opens_nothing(purpose):
    with pytest.raises(InputError, match="say in words what it is for"):
        MessageGroups.by_thresholds(
            {"calm": {"neuroticism": (None, 45)}}, review="monthly", opt_in={"neuroticism": purpose}
        )
