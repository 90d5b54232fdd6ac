"""What is not told of a segmentation (room ``insight``; the report and the tables that are passed round ask it).

Every count of customers that a page or a table shows beside its total goes through
:mod:`gpuseg.insight.disclosure`, and so does every share that tells a count. Keys of customers are another matter: a
file that holds them is no table to pass round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.attribute_encoding import attribute_of
from gpuseg.customers.cohorts import CohortRetention
from gpuseg.insight.answer import Answer
from gpuseg.insight.disclosure import hide_line, hide_table, is_small
from gpuseg.insight.profile import MeasureProfile, Profiles
from gpuseg.insight.style_profile import StyleProfile

Segments = frozenset[int]
"""Ids of segments."""
Mask = npt.NDArray[np.bool_]

_NONE: Segments = frozenset()


@dataclass(frozen=True)
class Withheld:
    """The figures that are not told, by segment id; nothing is withheld by default.

    Parameters
    ----------
    sizes : frozenset of int
        Segments of which neither size nor any figure is told.
    measures : mapping of str to frozenset of int
        By column: segments of which mean, median, index and the number known are not told.
    known : mapping of str to frozenset of int
        By column: segments of which the number known is not told, as it would tell how few are not.
    whole : frozenset of str
        Columns of which not even the figures of everybody are told.
    styles : mapping of str to frozenset of int
        The same as ``measures``, by name of the style.
    contacted : frozenset of int
        Segments of which neither the number contacted nor the outcome is told.
    nearly_all : frozenset of int
        Segments of which the exact number contacted is not told, as it would tell how few were not.
    rates : frozenset of int
        Segments of which the outcome is not told.
    whole_rate : bool
        Whether not even everybody's outcome is told.
    """

    sizes: Segments = _NONE
    measures: Mapping[str, Segments] = field(default_factory=dict)
    known: Mapping[str, Segments] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    styles: Mapping[str, Segments] = field(default_factory=dict)
    contacted: Segments = _NONE
    nearly_all: Segments = _NONE
    rates: Segments = _NONE
    whole_rate: bool = False

    def measure(self, column: str) -> Segments:
        """Segments of which a measure is not told."""
        return self.measures.get(column, self.sizes)

    def number_known(self, column: str) -> Segments:
        """Segments of which the number known of a measure is not told."""
        return self.measure(column) | self.known.get(column, _NONE)

    @property
    def any(self) -> bool:
        """Whether anything about the segments is withheld."""
        listed = (*self.measures.values(), *self.known.values(), *self.styles.values())
        named = (self.sizes, self.whole, self.contacted, self.nearly_all, self.rates, *listed)
        return self.whole_rate or any(named)


def withheld(
    profiles: Profiles, min_cell: int, answer: Answer | None = None, styles: Sequence[StyleProfile] = ()
) -> Withheld:
    """What is not told of segments, so that no count from 1 to ``min_cell - 1`` can be reckoned.

    Parameters
    ----------
    profiles : Profiles
        Sizes, and how many are known of each measure; the total of the sizes is told.
    min_cell : int
        Smaller groups of customers are not told.
    answer : Answer, optional
        Contacts and outcomes in the segments; the rate over all of them is told. The segment to consider is the last
        that is withheld for the sake of others.
    styles : sequence of StyleProfile, optional
        Spending styles.

    Returns
    -------
    Withheld

    Notes
    -----
    A measure of 0 and 1 is a count told as a share, so its ones and zeros are counts too, those of all levels of an
    attribute in one table; and likewise customers with and without the outcome among those contacted. Means and medians
    of other measures tell no count.
    """
    ids = profiles.segment_ids
    chosen = None if answer is None or answer.chosen is None else answer.chosen.segment_id
    ranks = [2 if segment_id == chosen else 1 for segment_id in ids]
    sizes = hide_line(profiles.sizes, min_cell, ranks=ranks).places
    measures: dict[str, Segments] = {}
    known: dict[str, Segments] = {}
    whole = set()
    for entries in _together(profiles.measures):
        for entry, (rows, everybody) in zip(entries, _measures(entries, min_cell, sizes, ranks), strict=True):
            column = entry.measure.column
            measures[column] = _named(ids, rows)
            unknown = [n - one.figures.known for n, one in zip(profiles.sizes, entry.segments, strict=True)]
            known[column] = _named(ids, hide_line(unknown, min_cell, hidden=rows, ranks=ranks).places - rows)
            if everybody:
                whole.add(column)
    scored = {
        entry.style.name: hide_line(
            [figures.known for _, figures in entry.segments], min_cell, hidden=sizes, ranks=ranks
        ).places
        for entry in styles
    }
    found = Withheld(
        sizes=_named(ids, sizes),
        measures=measures,
        known=known,
        whole=frozenset(whole),
        styles={name: _named(ids, rows) for name, rows in scored.items()},
        contacted=_named(ids, sizes),
        rates=_named(ids, sizes),
    )
    return found if answer is None else _with_outcome(found, ids, sizes, answer, min_cell, ranks)


def _named(ids: Sequence[int], rows: frozenset[int]) -> Segments:
    return frozenset(ids[row] for row in rows)


def _together(measures: Sequence[MeasureProfile]) -> list[list[MeasureProfile]]:
    """Levels of one attribute, which add up to all who are known; any other measure alone."""
    groups: dict[str, list[MeasureProfile]] = {}
    for entry in measures:
        attribute = attribute_of(entry.measure.column) if entry.binary else None
        groups.setdefault(attribute or entry.measure.column, []).append(entry)
    found = []
    for entries in groups.values():
        left = [
            [one.figures.known - sum(ones) for one, ones in zip(entry.segments, _ones(entries), strict=True)]
            for entry in entries
        ]
        apart = any(row != left[0] for row in left) or min(left[0], default=0) < 0
        found += [[entry] for entry in entries] if apart else [entries]
    return found


def _ones(entries: Sequence[MeasureProfile]) -> list[list[int]]:
    """How many customers of each segment have a 1 in each measure of 0 and 1."""
    if not entries[0].binary:
        return [[] for _ in entries[0].segments]
    return [
        [round(one.figures.mean * one.figures.known) if one.figures.known else 0 for one in row]
        for row in zip(*(entry.segments for entry in entries), strict=True)
    ]


def _measures(
    entries: Sequence[MeasureProfile], min_cell: int, sizes: frozenset[int], ranks: Sequence[int]
) -> list[tuple[frozenset[int], bool]]:
    """Rows that are not told of each measure, and whether nothing of it is."""
    known = [found.figures.known for found in entries[0].segments]
    nothing = (frozenset(range(len(known))), True)
    line = hide_line(known, min_cell, hidden=sizes, ranks=ranks)
    if line.totals or is_small(sum(known), min_cell):
        return [nothing for _ in entries]
    if not entries[0].binary:
        return [(line.places, False)]
    ones = _ones(entries)
    table = [
        [*row, n - sum(row)] for row, n in zip(ones, known, strict=True)
    ]  # the last: of none of these levels
    totals = [sum(column) for column in zip(*table, strict=True)]
    few = {place for place, count in enumerate(totals) if is_small(sum(known) - count, min_cell)}
    columns = hide_line(totals, min_cell, hidden=few)
    also = [
        (row, column)
        for row, counts in enumerate(table)
        for column, count in enumerate(counts)
        if is_small(known[row] - count, min_cell)
    ]
    cells = hide_table(
        table,
        min_cell,
        also=also,
        hidden_rows=line.places,
        hidden_columns=columns.places,
        whole_rows=sum(map(bool, totals)) <= 2,  # one share tells the other
        ranks=ranks,
    )
    if columns.totals or cells.totals:
        return [nothing for _ in entries]
    return [
        nothing
        if column in columns.places
        else (frozenset(row for row, told in enumerate(cells.cells) if told[column]), False)
        for column in range(len(entries))
    ]


def _with_outcome(
    found: Withheld,
    ids: Sequence[int],
    sizes: frozenset[int],
    answer: Answer,
    min_cell: int,
    ranks: Sequence[int],
) -> Withheld:
    told = [answer.rates.segment(segment_id) for segment_id in ids]
    table = [[entry.rate.hits, entry.rate.base - entry.rate.hits] for entry in told]
    # Of two segments, one whose outcome cannot be told anyway goes first.
    ranks = [
        0 if any(is_small(count, min_cell) for count in row) else rank
        for row, rank in zip(table, ranks, strict=True)
    ]
    few = hide_line([entry.rate.base for entry in told], min_cell, hidden=sizes, ranks=ranks)
    left = hide_line([entry.n_not_contacted for entry in told], min_cell, hidden=few.places, ranks=ranks)
    rates = hide_table(table, min_cell, hidden_rows=few.places, whole_rows=True, ranks=ranks)
    whole = answer.rates.whole
    nothing = few.totals or rates.totals or is_small(whole.hits, min_cell)
    nothing = nothing or is_small(whole.base - whole.hits, min_cell)
    return replace(
        found,
        contacted=_named(ids, few.places),
        nearly_all=_named(ids, left.places - few.places),
        rates=frozenset(ids) if nothing else _named(ids, rates.rows),
        whole_rate=nothing,
    )


@dataclass(frozen=True, eq=False)
class WithheldCohorts:
    """The figures of cohorts that are not told.

    Parameters
    ----------
    sizes : ndarray of bool, shape (P,)
        Cohorts of which nothing is told.
    cells : ndarray of bool, shape (P, P)
        Cells of which nothing is told: of a cohort that is not told, or with few who bought, or few who did not.
    """

    sizes: Mask
    cells: Mask


def withheld_cohorts(retention: CohortRetention, min_cell: int) -> WithheldCohorts:
    """What is not told of cohorts; their total is told, and totals by age are of told cells only.

    Parameters
    ----------
    retention : CohortRetention
        The cohorts.
    min_cell : int
        Smaller groups of customers are not told.
    """
    counts = retention.counts
    sizes = np.zeros(len(counts), np.bool_)
    followed = [row for row in range(len(counts)) if not np.isnan(counts[row, 0])]
    hidden = hide_line([int(counts[row, 0]) for row in followed], min_cell)
    sizes[[followed[place] for place in sorted(hidden.places)]] = True
    silent = counts[:, :1] - counts
    few = ((counts > 0) & (counts < min_cell)) | ((silent > 0) & (silent < min_cell))
    return WithheldCohorts(sizes, (few | sizes[:, None]) & ~np.isnan(counts))


def cohorts_table(retention: CohortRetention, min_cell: int) -> pa.Table:
    """The cohorts as a table to pass round: what is withheld is null, and ``withheld`` is true.

    Parameters
    ----------
    retention : CohortRetention
        The cohorts.
    min_cell : int
        Smaller groups of customers are not told.
    """
    kept_back = withheld_cohorts(retention, min_cell)
    table = retention.to_arrow()
    cells = pa.array(kept_back.cells.reshape(-1))
    hidden = {
        "size": pa.array(np.repeat(kept_back.sizes, len(kept_back.sizes))),
        **dict.fromkeys(("active", "rate", "revenue"), cells),
    }
    for name, mask in hidden.items():
        place = table.schema.get_field_index(name)
        empty = pa.scalar(None, table.schema.field(name).type)
        table = table.set_column(place, table.schema.field(name), pc.if_else(mask, empty, table[name]))
    return table.append_column("withheld", cells)
