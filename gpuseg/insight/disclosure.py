"""Which counts of customers must not be told (room ``insight``; what is passed round calls it).

A count from 1 to ``min_cell - 1`` is small and is hidden. Beside the totals of a table a single hidden count could be
reckoned by subtraction, so other counts are hidden with it until no small one can be told (complementary suppression).
"""

from __future__ import annotations

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
    hidden_rows: Collection[int] = (),
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
    hidden_rows : collection of int, optional
        Rows that are hidden already, with their totals.
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
    column, and such a filling is a cycle through the cell along which counts can rise and fall by 1. As long as a small
    count has none, the smallest cell that shares a line with it is hidden too (ties: the first). Cells that are hidden
    only for the sake of others may be reckoned. Who knows which cells were small from the start can narrow the range of
    a count, so what is told uses one mark for all hidden cells. Cost: a search of the hidden cells for each small one.

    References
    ----------
    L. Willenborg, T. de Waal. Elements of Statistical Disclosure Control. Springer (2001).

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
    chosen = {row * n_columns + column for row in hidden_rows for column in range(n_columns)}
    totals = [_Cell(n_rows + n_columns, row, sum(counts[row]), -1 - row, 0) for row in sorted(hidden_rows)]
    found, all_hidden = _protect(cells, chosen, min_cell, totals)
    rows = range(0, len(cells), n_columns) if n_columns else ()
    return Hidden(
        tuple(tuple(place in found for place in range(first, first + n_columns)) for first in rows),
        all_hidden,
    )


def is_small(count: int, min_cell: int) -> bool:
    """Whether a count may not be told: there is somebody, but too few."""
    return 0 < count < min_cell


def _protect(
    cells: Sequence[_Cell], hidden: set[int], min_cell: int, totals: Sequence[_Cell] = ()
) -> tuple[set[int], bool]:
    """Hidden cells, until no small one can be told; and whether all of them do not suffice."""
    small = [place for place, cell in enumerate(cells) if is_small(cell.count, min_cell)]
    hidden = _with_those_together(cells, {*hidden, *small})
    while True:
        told = next((place for place in small if _can_be_told(cells, hidden, place, totals)), None)
        if told is None:
            return hidden, False
        near = _candidates(cells, hidden, {cells[told].source, cells[told].target})
        others = near or _candidates(cells, hidden, None)
        if not others:
            return hidden, True
        hidden = _with_those_together(cells, {*hidden, min(others)[-1]})


def _with_those_together(cells: Sequence[_Cell], hidden: set[int]) -> set[int]:
    groups = {cells[place].together for place in hidden}
    return {place for place, cell in enumerate(cells) if cell.together in groups}


def _candidates(
    cells: Sequence[_Cell], hidden: set[int], ends: set[int] | None
) -> list[tuple[int, int, int]]:
    """Rank, count and place of the cells that can be hidden too; an empty one would hide nobody."""
    return [
        (cell.rank, cell.count, place)
        for place, cell in enumerate(cells)
        if place not in hidden and cell.count and (ends is None or ends & {cell.source, cell.target})
    ]


def _can_be_told(cells: Sequence[_Cell], hidden: set[int], place: int, totals: Sequence[_Cell]) -> bool:
    """Whether a hidden count has one value only: no cycle through it lets it rise or fall."""
    ways: dict[int, set[int]] = {}
    others = [cells[other] for other in sorted(hidden - {place})]
    for cell in [*others, *totals]:
        ways.setdefault(cell.source, set()).add(cell.target)
        if cell.count > 1:
            ways.setdefault(cell.target, set()).add(cell.source)
    own = cells[place]
    rises = _reaches(ways, own.target, own.source)
    return not (rises or (own.count > 1 and _reaches(ways, own.source, own.target)))


def _reaches(ways: dict[int, set[int]], start: int, goal: int) -> bool:
    seen, left = {start}, [start]
    while left:
        for following in ways.get(left.pop(), ()):
            if following not in seen:
                seen.add(following)
                left.append(following)
    return goal in seen
