"""What values mean: shipped maps, files whose mistakes name their line, and sensitive spend that cannot slip in."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

import gpuseg as gs
from gpuseg import datasets
from gpuseg.customers.sensitive import KINDS
from gpuseg.errors import InputError, SourceError
from gpuseg.personality.category_map import CategoryMap, study_categories
from gpuseg.personality.spend_records import spend_state

README = Path(gs.__file__).parent / "data" / "README.md"


def file_of(path, *lines, header="value,category,sensitive"):
    path = path / "map.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_there_are_55_categories_nine_of_them_sensitive():
    kinds = study_categories()
    assert len(kinds) == 55
    assert list(kinds) == sorted(kinds)
    assert {name: kind for name, kind in kinds.items() if kind} == {
        "alcohol_tobacco": "alcohol",
        "bank_charges_cash_advance": "debt",
        "debt_collection_credit": "debt",
        "fines": "debt",
        "gambling": "gambling",
        "medical_dental_optical": "health",
        "pharmacy": "pharmacy",
        "pubs_bars": "alcohol",
        "religion_membership_political": "religion_politics",
    }


def test_merchant_codes_are_all_mapped():
    codes = CategoryMap.mcc()
    assert len(codes.categories) == 46
    assert codes.category("5995") == "pets_vet"
    assert (codes.category("0742"), codes.category("742")) == ("pets_vet", "pets_vet")
    assert codes.category("9999999") is None
    assert CategoryMap.mcc(opt_in=list(KINDS)).categories == tuple(study_categories())


@pytest.mark.parametrize("opt_in", [["alcohol"], ["pubs_bars"], ["5813"], "5813"])
def test_sensitive_codes_count_once_opted_in(opt_in):
    assert CategoryMap.mcc().category("5813") is None
    codes = CategoryMap.mcc(opt_in=opt_in)
    assert codes.category("5813") == "pubs_bars"
    assert "gambling" not in codes.categories
    assert codes.digest != CategoryMap.mcc().digest


def test_codes_say_category_unmapped_or_left_out():
    shop = CategoryMap.of({"Dog": "pets_vet", "Pen": "stationery", "Misc": None, "Slot": "gambling"})
    assert shop.categories == ("pets_vet", "stationery")
    found = shop.codes(["Pen", "Dog", "Misc", "unheard of", "Slot", "Red wine"])
    assert found.tolist() == [1, 0, shop.unmapped, shop.unmapped, shop.left_out, shop.left_out]
    assert (shop.unmapped, shop.left_out) == (2, 3)
    assert CategoryMap.of({"Dog": "pets_vet"}, opt_in=["alcohol"]).codes(["Red wine"]).tolist() == [1]


@pytest.mark.parametrize(
    ("mapping", "kind"),
    [
        ({"X": "gambling"}, "gambling"),
        ({"Casino nights": "entertainment_events"}, "gambling"),
        ({"7995": "toys_hobbies_crafts"}, "gambling"),
        ({"Beer garden": "restaurants"}, "alcohol"),
        ({"Loans": "business_services"}, "debt"),
    ],
)
def test_a_harmless_category_does_not_make_a_sensitive_value_harmless(mapping, kind, tmp_path):
    (value,) = mapping
    line = f"{value},{mapping[value]},no"
    for shop in (CategoryMap.of(mapping), CategoryMap.from_csv(file_of(tmp_path, line))):
        assert shop.categories == ()
        assert shop.kept_out() == {value: kind}
    assert CategoryMap.of(mapping, opt_in=[kind]).categories == tuple(mapping.values())


def test_a_shop_may_call_more_sensitive():
    shop = CategoryMap.of({"Diet": "groceries", "Pets": "pets_vet"}, sensitive=["Diet"])
    assert shop.kept_out() == {"Diet": "declared sensitive"}
    assert shop.categories == ("pets_vet",)
    with pytest.raises(InputError, match="'Diets', not among the source values"):
        CategoryMap.of({"Diet": "groceries"}, sensitive=["Diets"])


def test_an_opt_in_with_a_spelling_mistake_is_refused():
    for make in (CategoryMap.mcc, CategoryMap.complete_journey):
        with pytest.raises(InputError, match="opt_in names 'gambeling'"):
            make(opt_in=["gambeling"])


def test_the_digest_is_of_what_counts():
    shop = CategoryMap.of({"Dog": "pets_vet", "Misc": None})
    assert shop == CategoryMap.of({"Misc": None, "Dog": "pets_vet"})
    assert shop != CategoryMap.of({"Dog": "pets_vet", "Misc": "stationery"})
    assert shop != CategoryMap.of({"Dog": "pets_vet", "Misc": None}, sensitive=["Misc"])
    assert shop != "Dog"
    assert len({shop, pickle.loads(pickle.dumps(shop))}) == 1
    # An opt-in that changes nothing of the values still tells whether unheard-of ones are counted apart.
    assert shop != CategoryMap.of({"Dog": "pets_vet", "Misc": None}, opt_in=["gambling"])


def test_a_file_is_read(tmp_path):
    lines = ["Dogs, pets_vet ,no,woof", "Misc,,,", '"A, B",stationery,yes,']
    shop = CategoryMap.from_csv(file_of(tmp_path, *lines, header="value,category,sensitive,note"))
    assert shop == CategoryMap.of(
        {"Dogs": "pets_vet", "Misc": None, "A, B": "stationery"}, sensitive=["A, B"]
    )
    plain = CategoryMap.from_csv(file_of(tmp_path, "Dogs,pets_vet", header="\ufeffvalue,category"))
    assert plain == CategoryMap.of({"Dogs": "pets_vet"})


def test_every_wrong_line_is_named(tmp_path):
    lines = [
        "Dogs,pet_vets,no",
        "Ink,stationery,no",
        "Ink,stationery,no",
        "Pens,stationery,maybe",
        ",groceries,no",
    ]
    path = file_of(tmp_path, *lines)
    with pytest.raises(InputError) as refused:
        CategoryMap.from_csv(path)
    assert str(refused.value).splitlines() == [
        f"{path}, line 2: 'Dogs' stands for 'pet_vets', which is none of the 55 categories; did you mean 'pets_vet'?",
        f"{path}, line 4: source value 'Ink' is there twice; keep one of the lines",
        f"{path}, line 5: sensitive is 'maybe'; write yes or no",
        f"{path}, line 6: source value '' is no text; write codes as text, such as '5812'",
    ]


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match="line 1: no column category"):
        CategoryMap.from_csv(file_of(tmp_path, header="value,kind"))
    with pytest.raises(SourceError, match=r"nowhere\.csv: cannot be read: No such file"):
        CategoryMap.from_csv(tmp_path / "nowhere.csv")
    (tmp_path / "map.csv").write_bytes(b"value,category\n\xff,pets_vet\n")
    with pytest.raises(SourceError, match="give a CSV file in UTF-8"):
        CategoryMap.from_csv(tmp_path / "map.csv")


def test_numbers_are_no_source_values():
    with pytest.raises(InputError, match="source value 5812 is no text"):
        CategoryMap.of({5812: "restaurants"})
    with pytest.raises(
        InputError, match=r"which is none of the 55 categories; study_categories\(\) lists them"
    ):
        CategoryMap.of({"x": "qqqqqq"})


def test_shop_alcohol_is_no_pub_and_the_covered_share_is_as_stated():
    shop = CategoryMap.complete_journey(opt_in=list(KINDS))
    table = datasets.complete_journey()
    assert shop.categories == ("pets_vet", "stationery")
    assert all(shop.category(value) is None for value in ("BEERS/ALES", "LIQUOR", "DOMESTIC WINE", "TICKETS"))
    sold = set(table["product_category"].unique().to_pylist())
    assert set(shop.meanings) <= sold
    tx = gs.read_transactions(
        table,
        customer="household_id",
        time="transaction_timestamp",
        amount="sales_value",
        category="product_category",
        time_zone="America/New_York",
    )
    evidence = spend_state(tx, CategoryMap.complete_journey()).evidence()
    covered, total = round(float(evidence.spend.sum()), 2), round(float(evidence.total_spend.sum()), 2)
    stated = re.search(
        r"Of the\s+([\d,.]+) dollars in it, ([\d,.]+) are covered: ([\d.]+) %", README.read_text()
    )
    assert [float(number.replace(",", "")) for number in stated.groups()] == [
        total,
        covered,
        round(100 * covered / total, 2),
    ]
