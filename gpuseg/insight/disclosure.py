"""Which counts of customers must not be told (room ``insight``; what is passed round calls it).

A count from 1 to ``min_cell - 1`` is small and is hidden. Beside the totals of a table a single hidden count could be
reckoned by subtraction, so other counts are hidden with it until no small one can be told (complementary suppression).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Hidden:
    """What of a table is not told.

    Parameters
    ----------
    cells : tuple of tuple of bool
        Rows by columns.
    totals : bool
        Whether the totals must be hidden too: there are not enough other customers to hide a small count among.
    """

    cells: tuple[tuple[bool, ...], ...]
    totals: bool

    @property
    def places(self) -> frozenset[int]:
        """Positions that are hidden of the first row: of a line."""
        return frozenset(place for place, told in enumerate(self.cells[0]) if told)

    @property
    def rows(self) -> frozenset[int]:
        """Rows of which a cell is hidden."""
        return frozenset(row for row, cells in enumerate(self.cells) if any(cells))


@dataclass(frozen=True)
class _Cell:
    """A count that belongs to two sums: it flows from one to the other."""

    source: int
    target: int
    count: int
    together: int
    rank: int


def hide_line(
    counts: Sequence[int], min_cell: int, *, hidden: Collection[int] = (), ranks: Sequence[int] = ()
) -> Hidden:
    """Hide the small counts of a line whose total is known.

    Parameters
    ----------
    counts : sequence of int
        Customers of each group; every customer is in one.
    min_cell : int
        Smaller groups are not told; empty ones are.
    hidden : collection of int, optional
        Positions that are hidden already.
    ranks : sequence of int, optional
        A rank of each position: of two that could be hidden for the sake of others, the lower rank goes first.

    Returns
    -------
    Hidden
        One row.

    Examples
    --------
    >>> hide_line([40, 3, 25, 0], 10).cells
    ((False, True, True, False),)
    """
    cells = [_Cell(0, 1, count, place, ranks[place] if ranks else 0) for place, count in enumerate(counts)]
    chosen, totals = _protect(cells, set(hidden), min_cell)
    return Hidden((tuple(place in chosen for place in range(len(counts))),), totals)


def hide_table(
    counts: Sequence[Sequence[int]],
    min_cell: int,
    *,
    also: Collection[tuple[int, int]] = (),
    hidden_rows: Collection[int] = (),
    hidden_columns: Collection[int] = (),
    whole_rows: bool = False,
    ranks: Sequence[int] = (),
) -> Hidden:
    """Hide the small counts of a table whose totals of rows and columns are known.

    Parameters
    ----------
    counts : sequence of sequence of int
        Rows by columns; every customer is in one cell.
    min_cell : int
        Smaller cells are not told; empty ones are.
    also : collection of (int, int), optional
        Row and column of other counts that must not be told.
    hidden_rows, hidden_columns : collection of int, optional
        Rows and columns that are hidden already, with their totals.
    whole_rows : bool, default False
        Whether the cells of a row are told together or not at all: two of them, told as a share.
    ranks : sequence of int, optional
        A rank of each row: of two that could be hidden for the sake of others, the lower rank goes first.

    Returns
    -------
    Hidden

    Notes
    -----
    A small count is safe if the hidden cells can be filled with other whole numbers, none of them negative and none 0
    that is not, so that every total holds and the count is another. Hidden cells are arcs from their row to their
    column, and such a filling is a cycle through the cell along which counts can rise and fall by 1. Where a small
    count has none, the other cells of the cycle with the fewest customers are hidden too; in a line that is the next
    smallest. Cells that are hidden only for the sake of others may be reckoned. Who knows which cells were small from
    the start can narrow the range of a count, so what is told uses one mark for all hidden cells. Cost: a search of the
    table for each small cell.

    References
    ----------
    L. H. Cox. Network models for complementary cell suppression. JASA 90 (1995).

    Examples
    --------
    >>> hide_table([[3, 40], [20, 60], [50, 70]], 10).cells
    ((True, True), (True, True), (False, False))
    """
    n_rows, n_columns = len(counts), len(counts[0]) if counts else 0
    cells = [
        _Cell(
            row,
            n_rows + column,
            count,
            row if whole_rows else row * n_columns + column,
            ranks[row] if ranks else 0,
        )
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
    ]
    inside = {
        place
        for place in range(len(cells))
        if place // n_columns in hidden_rows or place % n_columns in hidden_columns
    }
    # What is not known of a total flows in from outside, or out to it.
    outside, beyond = n_rows + n_columns, n_rows + n_columns + 1
    totals = [_Cell(outside, row, sum(counts[row]), -1, 0) for row in sorted(hidden_rows)]
    totals += [
        _Cell(n_rows + column, beyond, sum(line[column] for line in counts), -1, 0)
        for column in sorted(hidden_columns)
    ]
    guarded = [row * n_columns + column for row, column in also]
    found, all_hidden = _protect(cells, inside, min_cell, totals, guarded)
    rows = range(0, len(cells), n_columns) if n_columns else ()
    return Hidden(
        tuple(tuple(place in found for place in range(first, first + n_columns)) for first in rows),
        all_hidden,
    )


def is_small(count: int, min_cell: int) -> bool:
    """Whether a count may not be told: there is somebody, but too few."""
    return 0 < count < min_cell


def _protect(
    cells: Sequence[_Cell],
    hidden: set[int],
    min_cell: int,
    totals: Sequence[_Cell] = (),
    guarded: Collection[int] = (),
) -> tuple[set[int], bool]:
    """Hidden cells, so that no small one can be told; and whether all of them do not suffice."""
    small = {place for place, cell in enumerate(cells) if is_small(cell.count, min_cell)} | {*guarded}
    hidden = _with_those_together(cells, hidden | small)
    for place in sorted(small):  # what is safe stays so: more hidden cells leave more ways to fill them
        others = _cheapest(cells, hidden, place, totals)
        if others is None:
            everybody = {other for other, cell in enumerate(cells) if cell.count}
            return _with_those_together(cells, hidden | everybody), True
        hidden = _with_those_together(cells, hidden | {*others})
    return hidden, False


def _with_those_together(cells: Sequence[_Cell], hidden: set[int]) -> set[int]:
    groups = {cells[place].together for place in hidden}
    return {place for place, cell in enumerate(cells) if cell.together in groups}


def _cheapest(
    cells: Sequence[_Cell], hidden: set[int], place: int, totals: Sequence[_Cell]
) -> tuple[int, ...] | None:
    """The cells to hide so that a hidden count can be another: none if it can; None if it cannot be hidden."""
    dear = 1 + sum(cell.count for cell in cells)
    ways: dict[int, list[tuple[int, int, int]]] = {}
    for other, cell in [*enumerate(cells), *((-1, total) for total in totals)]:
        known = other >= 0 and other not in hidden
        if other == place or (known and not cell.count):
            continue  # an empty cell would hide nobody
        cost = cell.count + dear * cell.rank if known else 0
        ways.setdefault(cell.source, []).append((cell.target, cost, other))
        if cell.count > 1:
            ways.setdefault(cell.target, []).append((cell.source, cost, other))
    own = cells[place]
    found = [
        _shortest(ways, own.target, own.source)
    ]  # it rises by 1, and what lies on the way falls and rises
    if own.count > 1:
        found.append(_shortest(ways, own.source, own.target))
    able = [way for way in found if way is not None]
    if not able:
        return None
    return tuple(other for other in min(able)[-1] if other >= 0 and other not in hidden)


def _shortest(
    ways: dict[int, list[tuple[int, int, int]]], start: int, goal: int
) -> tuple[int, int, tuple[int, ...]] | None:
    """Cost, steps and cells of the cheapest way (Dijkstra); ties go to the fewest steps, then to the first cells."""
    left: list[tuple[int, int, tuple[int, ...], int]] = [(0, 0, (), start)]
    seen = set()
    while left:
        cost, steps, passed, node = heapq.heappop(left)
        if node == goal:
            return cost, steps, passed
        if node in seen:
            continue
        seen.add(node)
        for following, more, place in ways.get(node, ()):
            if following not in seen:
                heapq.heappush(left, (cost + more, steps + 1, (*passed, place), following))
    return None
