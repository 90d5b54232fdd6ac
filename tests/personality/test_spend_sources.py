"""Transactions of any kind give the same state: frames, files in any row groups, Dask in any partitions, lazily."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg as gs
from gpuseg import datasets
from gpuseg.core.decay import Decay
from gpuseg.errors import EngineUnavailableError, InputError, SchemaError
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.spend_records import spend_state
from gpuseg.personality.spend_state import SpendState

ROLES = {
    "customer": "customer",
    "time": "time",
    "amount": "amount",
    "category": "department",
    "time_zone": "Europe/Berlin",
}
SHOP = CategoryMap.of({"PANTRY": "groceries", "HOME": "home_furnishing", "DELI": "fast_food_coffee"})
DECAY = Decay(20 * 86_400_000_000)
KEYS = pytest.mark.parametrize("text", [False, True], ids=["int", "text"])


@pytest.fixture(scope="module", name="tables")
def _tables():
    return {text: datasets.make_transactions(25, seed=8, text_keys=text)[0] for text in (False, True)}


def state_of(source, **options) -> SpendState:
    return spend_state(gs.read_transactions(source, **ROLES), SHOP, DECAY, **options)


@KEYS
def test_frames_and_files_agree(tables, text, tmp_path):
    table = tables[text]
    whole = state_of(table)
    assert whole.n_customers == 25
    assert len(whole.cells) > 100
    assert state_of(table.to_pandas()) == whole
    assert state_of(pl.from_arrow(table)) == whole
    folder = tmp_path / "lines"
    folder.mkdir()
    for part in range(3):
        pq.write_table(table.slice(part * 700, 700), folder / f"{2 - part}.parquet", row_group_size=61)
    pq.write_table(table.slice(2100), folder / "rest.parquet")
    assert state_of(folder) == whole
    tx = gs.read_transactions(folder, **ROLES)
    assert len(tx.partitions) > 1


@KEYS
@pytest.mark.parametrize("parts", [1, 3, 17])
def test_any_dask_partitioning_gives_the_same(tables, text, parts):
    frame = tables[text].to_pandas().sample(frac=1.0, random_state=1)
    found = state_of(dd.from_pandas(frame, npartitions=parts, sort=False)).compute()
    assert found == state_of(tables[text])


def test_dask_partitions_without_a_row_change_nothing(tables):
    frame = dd.from_pandas(tables[False].to_pandas(), npartitions=4)
    sparse = frame[(frame["customer"] % 25) == 3]
    found = state_of(sparse).compute()
    assert found == state_of(sparse.compute())
    assert found.n_customers == 1


def test_dask_is_lazy(tables):
    asked = []

    def scheduler(graph, keys, **options):
        asked.append(len(keys))
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=scheduler):
        task = state_of(dd.from_pandas(tables[False].to_pandas(), npartitions=5))
        assert asked == []
        assert task.compute().n_customers == 25
        assert len(asked) == 1


def test_problems_of_dask_are_told_once_when_it_is_computed(tables):
    frame = tables[False].to_pandas()
    frame.loc[frame.index[::50], "amount"] = float("nan")
    task = state_of(dd.from_pandas(frame, npartitions=4))
    with pytest.raises(SchemaError) as refused:
        task.compute()
    assert len(refused.value.problems) == 1
    mixed = dd.concat([dd.from_pandas(tables[text].to_pandas(), npartitions=2) for text in (False, True)])
    with pytest.raises(SchemaError, match="mixes types"):
        state_of(mixed).compute()


def test_a_day_a_time_is_all_days_at_once(tables):
    table = tables[False]
    whole = state_of(table)
    frame = table.to_pandas()
    day = frame["time"].dt.date
    state = SpendState(whole.rule)
    for today in sorted(day.unique(), reverse=True):
        state = state.merge(state_of(frame[day == today]))
    assert state == whole


def test_categories_of_pandas_may_hold_more_than_is_used():
    table = pa.table(
        {
            "customer": [1, 1, 2],
            "time": pa.array([0, 1, 2], pa.timestamp("s")),
            "amount": [1.0, 2.0, 3.0],
            "department": ["PANTRY", None, "HOME"],
        }
    )
    frame = table.to_pandas()
    frame["department"] = (
        frame["department"].astype("category").cat.set_categories(["HOME", "PANTRY", "DELI"])
    )
    state = state_of(frame)
    assert state == state_of(table)
    assert state.count("unmapped").tolist() == [1, 0]


def test_merchant_codes_may_be_numbers(tmp_path):
    frame = pd.DataFrame(
        {"customer": [1, 2], "time": pd.to_datetime(["2024-01-01"] * 2), "amount": [1.0, 2.0]}
    )
    frame["department"] = ["742", "5812"]
    path = tmp_path / "lines.csv"
    frame.to_csv(path, index=False)
    state = spend_state(gs.read_transactions(path, **ROLES), CategoryMap.mcc())
    assert state.evidence().dense_spend().sum() == 3.0


def test_what_cannot_be_is_refused(tables):
    with pytest.raises(InputError, match="Table is no Transactions"):
        spend_state(tables[False], SHOP)
    without = {role: name for role, name in ROLES.items() if role != "category"}
    with pytest.raises(InputError, match="no category column was declared; give category="):
        spend_state(gs.read_transactions(tables[False], **without), SHOP)
    with pytest.raises(InputError, match="engine"):
        state_of(tables[False], engine="abacus")


def test_an_engine_asked_for_by_name_runs_or_says_why_not(tables):
    try:
        found = state_of(tables[False], engine="cuda")
    except EngineUnavailableError as error:
        assert "cuda" in str(error)  # noqa: PT017 (with a device it runs)
    else:
        assert found == state_of(tables[False], engine="cpu")
