"""A state as files: what comes back is what went in, and what was tampered with is refused."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg as gs
from gpuseg.core.decay import Decay
from gpuseg.errors import ContractError, OutputError, SourceError
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.spend_files import load_spend, save_spend
from gpuseg.personality.spend_records import spend_state
from gpuseg.personality.spend_rule import SpendRule
from gpuseg.personality.spend_state import SpendState

DAY = 86_400_000_000
RULE = SpendRule(CategoryMap.mcc(opt_in=["alcohol"]), Decay(90 * DAY, 7), "subtract")


def state(keys=(1, 2, 2, 9)):
    table = pa.table(
        {
            "who": pa.array(keys),
            "at": pa.array([-(10**9), 0, 10**9, 1], pa.timestamp("s")),
            "paid": [5.0, -2.5, 2.0**45, 1.0],
            "code": ["5813", "7995", "5812", "0000"],
        }
    )
    roles = {"customer": "who", "time": "at", "amount": "paid", "category": "code", "time_zone": "UTC"}
    tx = gs.read_transactions(table, **roles)
    return spend_state(tx, RULE.categories, RULE.decay, refunds=RULE.refunds)


@pytest.mark.parametrize("made", [state(), state("abba"), SpendState(RULE)], ids=["whole", "text", "zero"])
def test_what_comes_back_is_what_went_in(made, tmp_path):
    folder = save_spend(made, tmp_path / "state")
    found = load_spend(folder)
    assert found == made
    assert found.rule == made.rule
    assert found.keys.type == made.keys.type
    assert found.merge(made) == made.merge(made)
    assert found.evidence() == made.evidence()
    assert sorted(path.name for path in folder.iterdir()) == [
        "cells.parquet",
        "customers.parquet",
        "state.json",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_same_state_gives_the_same_bytes(tmp_path):
    one, other = save_spend(state(), tmp_path / "a"), save_spend(state(), tmp_path / "b")
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_nothing_is_overwritten(tmp_path):
    save_spend(state(), tmp_path / "state")
    with pytest.raises(OutputError, match="exists; name a new folder"):
        save_spend(state(), tmp_path / "state")
    with pytest.raises(OutputError, match="cannot be written: no such file or directory"):
        save_spend(state(), tmp_path / "none" / "state")


def changed(folder, **new):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


@pytest.mark.parametrize(
    ("tamper", "error", "words"),
    [
        (lambda f: (f / "state.json").unlink(), SourceError, "so it is no spend state"),
        (lambda f: (f / "state.json").write_text("{"), SourceError, "it is no JSON"),
        (lambda f: (f / "state.json").write_text("[]"), SourceError, "lacks the contract"),
        (lambda f: changed(f, format=2), SourceError, "layout 2, but gpuseg reads layout 1"),
        (lambda f: changed(f, contract=0), ContractError, "under arithmetic contract 0"),
        (lambda f: changed(f, rule={}), SourceError, "is damaged: KeyError"),
        (lambda f: (f / "cells.parquet").write_bytes(b"x"), SourceError, "its SHA-256 is another"),
        (lambda f: (f / "cells.parquet").unlink(), SourceError, "is damaged: no such file"),
    ],
)
def test_what_was_tampered_with_is_refused(tmp_path, tamper, error, words):
    folder = save_spend(state(), tmp_path / "state")
    tamper(folder)
    with pytest.raises(error, match=words):
        load_spend(folder)


def test_an_opt_in_cannot_be_added_to_a_stored_state(tmp_path):
    folder = save_spend(state(), tmp_path / "state")
    rule = json.loads((folder / "state.json").read_text())["rule"]
    changed(folder, rule=rule | {"opt_in": ["alcohol", "gambling"]})
    with pytest.raises(SourceError, match="the rule is not the one that the state was made with"):
        load_spend(folder)


def test_the_files_hold_whole_numbers_only(tmp_path):
    folder = save_spend(state(), tmp_path / "state")
    for name in ("cells.parquet", "customers.parquet"):
        assert all(pa.types.is_integer(field.type) for field in pq.read_schema(folder / name))
