"""Tables for this room: made-up lines in every kind of frame and file."""

from __future__ import annotations

import pytest

from gpuseg import datasets

ROLES = {
    "customer": "customer",
    "time": "time",
    "amount": "amount",
    "basket": "basket",
    "quantity": "quantity",
    "product": "product",
    "category": "department",
    "discount": "discount",
    "coupon": "coupon",
    "own_label": "own_label",
    "time_zone": "Europe/Berlin",
}


@pytest.fixture(scope="session")
def roles():
    return dict(ROLES)


@pytest.fixture(scope="session")
def lines():
    return datasets.make_transactions(30, seed=5)[0]


@pytest.fixture(scope="session")
def text_lines():
    return datasets.make_transactions(30, seed=5, text_keys=True)[0]
