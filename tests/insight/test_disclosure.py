"""Small counts stay hidden from whoever knows every total: all tables that fit what is told are tried."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuseg.insight.disclosure import Hidden, hide_line, hide_table, is_small

MIN_CELL = 4
COUNTS = st.integers(0, 7)


def fillings(places, least, rows, columns):
    """Every filling of the hidden places with whole numbers so that sums of rows and columns hold; None: unknown."""
    if not places:
        if not any(rows.values()) and not any(columns.values()):
            yield {}
        return
    (row, column), *rest = places
    most = min(total for total in (rows.get(row, 99), columns.get(column, 99)) if total is not None)
    for value in range(least[row, column], most + 1):
        left = {**rows, row: rows[row] - value} if row in rows else rows
        for found in fillings(
            rest, least, left, {**columns, column: columns[column] - value} if column in columns else columns
        ):
            yield {(row, column): value, **found}


def guesses(table, hidden: Hidden, unknown_rows=(), unknown_columns=(), also=()):
    """What each small count can be, for somebody who sees all else and all totals, and that hidden is not empty."""
    places = [(r, c) for r, line in enumerate(hidden.cells) for c, is_hidden in enumerate(line) if is_hidden]
    least = {(r, c): min(table[r][c], 1) for r, c in places}
    rows = {r: sum(table[r][c] for q, c in places if q == r) for r, _ in places if r not in unknown_rows}
    columns = {
        c: sum(table[r][c] for r, d in places if d == c) for _, c in places if c not in unknown_columns
    }
    found: dict[tuple[int, int], set[int]] = {
        place: set() for place in places if place in also or is_small(table[place[0]][place[1]], MIN_CELL)
    }
    for filling in fillings(places, least, rows, columns):
        for place, values in found.items():
            values.add(filling[place])
        if all(len(values) > 1 for values in found.values()):
            break
    return found


def all_small_are_hidden(table, hidden: Hidden) -> bool:
    return all(
        is_hidden or not is_small(count, MIN_CELL)
        for line, told in zip(table, hidden.cells, strict=True)
        for count, is_hidden in zip(line, told, strict=True)
    )


@given(st.lists(COUNTS, min_size=1, max_size=5))
@example([1, 1, 5])
@example([1, 1, 1])
@example([3, 0, 0])
def test_no_small_count_of_a_line_can_be_told(counts):
    hidden = hide_line(counts, MIN_CELL)
    assert all_small_are_hidden([counts], hidden)
    as_column = Hidden(tuple((told,) for told in hidden.cells[0]), hidden.totals)
    found = guesses([[count] for count in counts], as_column, unknown_rows=range(len(counts)))
    if hidden.totals:
        assert all(told or not count for told, count in zip(hidden.cells[0], counts, strict=True))
    else:
        assert all(len(values) > 1 for values in found.values())


@given(
    st.integers(2, 3).flatmap(
        lambda n: st.lists(st.lists(COUNTS, min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
@example([[1, 6, 0], [0, 6, 1], [6, 0, 6]])
@example([[1, 6], [6, 1]])
def test_no_small_count_of_a_table_can_be_told(table):
    hidden = hide_table(table, MIN_CELL)
    assert all_small_are_hidden(table, hidden)
    if hidden.totals:
        assert all(
            told or not count
            for line, cells in zip(table, hidden.cells, strict=True)
            for count, told in zip(line, cells, strict=True)
        )
    else:
        assert all(len(values) > 1 for values in guesses(table, hidden).values())


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=5), st.sets(st.integers(0, 4), max_size=2))
def test_shares_stay_hidden_in_rows_with_and_without_a_total(table, rows):
    rows = {row for row in rows if row < len(table)}
    hidden = hide_table(table, MIN_CELL, hidden_rows=rows, whole_rows=True)
    assert all_small_are_hidden(table, hidden)
    assert rows <= hidden.rows
    assert all(len(set(cells)) == 1 for cells in hidden.cells)
    if not hidden.totals:
        assert all(len(values) > 1 for values in guesses(table, hidden, unknown_rows=rows).values())


@given(
    st.lists(st.lists(COUNTS, min_size=3, max_size=3), min_size=2, max_size=3),
    st.sets(st.integers(0, 2), max_size=2),
    st.tuples(st.integers(0, 1), st.integers(0, 2)),
)
def test_columns_without_a_total_and_other_counts_to_guard(table, columns, guarded):
    hidden = hide_table(table, MIN_CELL, hidden_columns=columns, also=[guarded])
    assert all_small_are_hidden(table, hidden)
    assert all(cells[column] for cells in hidden.cells for column in columns)
    assert hidden.cells[guarded[0]][guarded[1]]
    if not hidden.totals:
        found = guesses(table, hidden, unknown_columns=columns, also=[guarded])
        assert all(len(values) > 1 for values in found.values())


@given(
    st.integers(2, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 30), min_size=n, max_size=n), min_size=2, max_size=5)
    )
)
def test_linear_algebra_tells_no_small_count(table):
    """The equations of the totals leave every small count free."""
    hidden = hide_table(table, MIN_CELL)
    places = [(r, c) for r, line in enumerate(hidden.cells) for c, told in enumerate(line) if told]
    if hidden.totals or not places:
        return
    equations = np.array(
        [[float(r == row) for r, _ in places] for row in range(len(table))]
        + [[float(c == column) for _, c in places] for column in range(len(table[0]))]
    )
    rank = np.linalg.matrix_rank(equations)
    for place, (r, c) in enumerate(places):
        if is_small(table[r][c], MIN_CELL):
            unit = np.eye(len(places))[place]
            assert np.linalg.matrix_rank(np.vstack([equations, unit])) == rank + 1


def test_without_the_complement_a_count_can_be_told():
    """The search itself finds what one hidden cell gives away."""
    table = [[3, 40], [20, 60], [50, 70]]
    alone = Hidden(((True, False), (False, False), (False, False)), totals=False)
    assert guesses(table, alone) == {(0, 0): {3}}


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([40, 3, 25, 0], [0, 1, 1, 0]),  # the next smallest goes too; nobody is nobody
        ([40, 3, 9, 25], [0, 1, 1, 0]),  # two small ones hide each other
        ([40, 1, 1, 25], [0, 1, 1, 1]),  # their sum, 2, would tell both
        ([40, 30], [0, 0]),
        ([40, 0, 0], [0, 0, 0]),
        ([40, 3, 25, 25], [0, 1, 1, 0]),  # ties: the first
    ],
)
def test_what_is_hidden_of_a_line(counts, hidden):
    found = hide_line(counts, 10)
    assert found == Hidden((tuple(map(bool, hidden)),), totals=False)


def test_what_is_needed_most_is_hidden_last():
    assert hide_line([40, 3, 25], 10, ranks=[0, 0, 1]).cells == ((True, True, False),)
    assert hide_line([40, 3], 10, ranks=[1, 0]).cells == ((True, True),)
    table = [[9, 40], [12, 60], [50, 70]]
    assert hide_table(table, 10, whole_rows=True, ranks=[0, 1, 0]).rows == {0, 2}


def test_too_few_to_hide_among():
    assert hide_line([3, 0], 10).totals
    assert hide_table([[3, 0], [0, 0]], 10).totals
    assert not hide_line([], 10).totals
    assert hide_table([], 10) == Hidden((), totals=False)


def test_what_is_hidden_already_hides_others():
    assert hide_line([40, 3, 25, 30], 10, hidden=[3]).cells == ((False, True, False, True),)
    table = [[4, 46], [20, 30], [50, 70]]
    assert hide_table(table, 10, hidden_rows=[2], whole_rows=True).rows == {0, 2}


@pytest.mark.parametrize("seed", range(3))
def test_order_of_the_rows_moves_no_more_than_ties(seed):
    rng = np.random.default_rng(seed)
    counts = rng.permutation(200)[:12].tolist()  # no ties
    hidden = hide_line(counts, 20).cells[0]
    order = rng.permutation(12).tolist()
    assert hide_line([counts[i] for i in order], 20).cells[0] == tuple(hidden[i] for i in order)


def test_every_table_of_two_by_two():
    for numbers in product(range(6), repeat=4):
        table = [list(numbers[:2]), list(numbers[2:])]
        hidden = hide_table(table, MIN_CELL)
        if not hidden.totals:
            assert all(len(values) > 1 for values in guesses(table, hidden).values()), table
