"""Sensitive spend is known by code, name and word, and kept out unless somebody says otherwise."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from gpuseg.customers.sensitive import KINDS, allowed_categories, sensitive_kind
from gpuseg.errors import InputError


def codes():
    text = resources.files("gpuseg").joinpath("data", "mcc_categories.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_the_table_of_codes_is_whole():
    rows = codes()
    assert len(rows) == 932
    assert len({row["mcc"] for row in rows}) == 932
    assert {len(row["mcc"]) for row in rows} == {4}
    assert {row["sensitive"] for row in rows} == {"yes", "no"}


def test_every_code_is_as_the_table_says():
    for row in codes():
        assert (sensitive_kind(row["mcc"]) is not None) == (row["sensitive"] == "yes"), row
        if row["sensitive"] == "yes":
            assert sensitive_kind(row["description"]) in KINDS, row
            assert sensitive_kind(row["category"]) in KINDS, row


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Apotheke", "pharmacy"),
        ("DRUG GM", "pharmacy"),
        ("Farmácia", "pharmacy"),
        ("Santé & beauté", "health"),
        ("Zahnärzte", "health"),
        ("NUTRITION", "health"),
        ("Glücksspiel", "gambling"),
        ("lottery-tickets", "gambling"),
        ("Église", "religion_politics"),
        ("political party", "religion_politics"),
        ("debt collection", "debt"),
        ("Kreditraten", "debt"),
        ("SPIRITS", "alcohol"),
        ("vins", "alcohol"),
        ("Tabakwaren", "alcohol"),
        ("pubs_bars", "alcohol"),
    ],
)
def test_words_in_several_languages(name, kind):
    assert sensitive_kind(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "GROCERY",
        "vinegar",
        "salad bar",
        "party supplies",
        "betterave",
        "Paprika",
        "MEAT",
        "7",
        "",
        "puberty",
        "finery",
    ],
)
def test_other_words_are_no_matter(name):
    assert sensitive_kind(name) is None


def test_what_is_kept_out_has_its_reason_and_can_be_opted_in():
    names = ["food", "wine", "beer", "casino", "wine"]
    assert allowed_categories(names) == (
        ("food",),
        {
            "wine": "alcohol and tobacco: sensitive, kept out unless opted in",
            "beer": "alcohol and tobacco: sensitive, kept out unless opted in",
            "casino": "gambling: sensitive, kept out unless opted in",
        },
    )
    assert allowed_categories(names, ["wine"])[0] == ("food", "wine")
    assert allowed_categories(names, ["alcohol", "gambling"]) == (("food", "wine", "beer", "casino"), {})
    with pytest.raises(InputError, match="opt_in names 'alcool', which is neither a category nor"):
        allowed_categories(names, ["alcool"])
