"""One customer in plain words: what the run's files allow, and no figure that is not in them."""

from __future__ import annotations

import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError
from gpuseg.jobs.kept import runs
from gpuseg.jobs.kept.show import _standings, show_customer
from tests.jobs import small_runs


def replace_file(folder, name, table):
    pq.write_table(table, folder.parent / "t.parquet")
    with runs.locked(folder) as run:
        runs.rewrite_run(run, {name: (folder.parent / "t.parquet").read_bytes()}, {})


def test_a_customer_is_explained(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    done = small_runs.small()
    row = done.segments.to_pylist()[6]
    text = show_customer(folder, row["customer"])
    lines = text.splitlines()
    assert (
        lines[0] == f'Customer {row["customer"]} is in segment {row["segment_id"]}, "{row["segment_name"]}".'
    )
    assert f"margin {row['margin']:.2f} (0 is the border, 1 the centre)" in lines[1]
    assert f'segment {row["second_segment_id"]}, "{done.names[row["second_segment_id"]]}"' in lines[1]
    assert lines[2] == "Differs most from all customers in:"
    assert len(lines) == 6
    assert "\N{NO-BREAK SPACE}" not in text


def test_the_figures_are_the_customers_own(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    summary = small_runs.small().summary
    # The first customer visits most of all.
    visits = np.arange(len(summary), 0, -1)
    changed = summary.set_column(summary.column_names.index("visits"), "visits", [visits])
    for name in (
        "regularity",
        "recency_days",
        "basket_value",
        "discount_share",
        "own_label_share",
        "category_diversity",
    ):
        changed = changed.drop_columns(name)
    changed = changed.drop_columns([name for name in changed.column_names if name.startswith("share_")])
    replace_file(folder, "features.parquet", changed)
    customer = summary["customer"][0].as_py()
    line = show_customer(folder, customer).splitlines()[-1]
    assert line == "  - Many visits: 49, against a median of 25; above 97 of 100 customers"
    last = show_customer(folder, summary["customer"][47].as_py()).splitlines()[-1]
    assert last == "  - Few visits: 2, against a median of 25; below 95 of 100 customers"
    middle = show_customer(folder, summary["customer"][24].as_py()).splitlines()[-1]
    assert middle == "Differs from the average in nothing that was measured."


def test_logged_features_are_told_in_original_units(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    done = small_runs.small()
    replace_file(folder, "features.parquet", done.built)
    place = int(np.argmax(done.built["log_visits"].to_numpy()))
    customer = done.built["customer"][place].as_py()
    (visits,) = done.summary.filter(np.array(done.summary["customer"].to_pylist()) == customer)[
        "visits"
    ].to_pylist()
    assert f"Many visits: {visits}, against" in show_customer(folder, customer)
    assert "C99999" not in done.built["customer"].to_pylist()


def test_without_figures_the_segment_is_told(tmp_path):
    folder = small_runs.run_folder(tmp_path, "plain")
    row = small_runs.small().segments.to_pylist()[0]
    lines = show_customer(folder, row["customer"]).splitlines()
    assert lines[1].startswith(
        "This run keeps no figures of single customers (features.parquet). Its segment differs"
    )
    assert all(re.match(r"  - .*: median .*, against .* of all customers", line) for line in lines[2:])
    assert lines[2:]


def test_a_customer_without_figures_is_told(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    replace_file(folder, "features.parquet", small_runs.small().summary.slice(1))
    customer = small_runs.small().summary["customer"][0].as_py()
    assert show_customer(folder, customer).endswith("features.parquet has no figures of this customer.")


@pytest.mark.parametrize("kind", ["full", "plain"])
def test_the_fallback_says_why(tmp_path, kind):
    text = show_customer(small_runs.run_folder(tmp_path, kind), "C99999")
    assert text.startswith('Customer C99999 is in segment 0, "Not placed".')
    assert ("cannot be placed (no purchase);" if kind == "full" else "cannot be placed;") in text


def test_novel_customers_and_silhouettes_are_told(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    table = small_runs.small().segments
    novel = table.set_column(
        table.column_names.index("is_novel"), "is_novel", [np.ones(len(table), np.bool_)]
    )
    replace_file(folder, "segments.parquet", novel)
    assert "Far from everybody" in show_customer(folder, "C00001")
    assert "An outlier" not in show_customer(folder, "C00001")
    marked = table.set_column(
        table.column_names.index("is_outlier"), "is_outlier", [np.ones(len(table), np.bool_)]
    )
    replace_file(folder, "segments.parquet", marked)
    assert "An outlier: extreme in at least one" in show_customer(folder, "C00001")
    bare = table.select(["customer", "segment_id", "segment_name"])
    replace_file(folder, "segments.parquet", bare.append_column("silhouette", [np.full(len(bare), -0.25)]))
    assert "Silhouette \N{MINUS SIGN}0.25 (-1 to 1): on average nearer to another" in show_customer(
        folder, "C00001"
    )


def test_nobody_is_told(tmp_path):
    with pytest.raises(InputError, match="there is 'C00001'"):
        show_customer(small_runs.run_folder(tmp_path), "c00001")


def test_customers_with_the_same_value_are_not_below_it():
    visits = np.array([1.0] * 52 + [2.0] * 28 + [9.0] * 20)
    (once,) = _standings({"visits": visits}, 0)
    assert once.sentence == "Few visits: 1, as is the median; below 48 of 100 customers, and like 52"
    (often,) = _standings({"visits": visits}, 99)
    assert often.sentence == "Many visits: 9, against a median of 1; above 80 of 100 customers, and like 20"


def test_money_has_the_sign_of_the_job():
    (standing,) = _standings({"basket_value": np.array([1.0, 2.0, 9.5])}, 2, "€")
    assert "Large baskets: €9.50, against a median of €2.00" in standing.sentence
