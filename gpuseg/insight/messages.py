"""The message groups of a run (room ``insight``; jobs make the record, the report reads it)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import InputError, SourceError
from gpuseg.insight.styles import SpendingStyles
from gpuseg.personality.message_assignment import MessageAssignment
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.message_modules import MessageModule
from gpuseg.personality.use_limits import NOT_FOR

Float64 = npt.NDArray[np.float64]

BEFORE_ALL = dt.date(1900, 1, 1)
"""Day of the last review of those who had none."""
_PERCENT = 100.0


@dataclass(frozen=True, eq=False)
class Messages:
    """Who gets which message.

    Parameters
    ----------
    by : {"styles", "personality"}
        What chose.
    groups : MessageGroups
        The groups and their rule.
    assigned : MessageAssignment
        Of every customer with scores.
    reviewed_on : date
        Day of the last review; :data:`BEFORE_ALL` if there was none yet.
    modules : mapping of str to MessageModule, or None
        How each group is spoken to.
    learned : mapping or None
        What learned groups were asked for.
    anew : str
        Why the groups of an earlier run do not count; "" if they do, or there is none.
    """

    by: str
    groups: MessageGroups
    assigned: MessageAssignment
    reviewed_on: dt.date
    modules: Mapping[str, MessageModule] | None = None
    learned: Mapping[str, Any] | None = None
    anew: str = ""

    def to_arrow(self) -> pa.Table:
        """One row a customer: group, second best, lead, whether it moved, reason, and the message's module."""
        table: pa.Table = self.assigned.table(self.modules)
        return table

    def to_json(self) -> str:
        """What a later run goes on from: the groups, and when they were last reviewed."""
        held = {
            "note": NOT_FOR,
            "by": self.by,
            "reviewed_on": self.reviewed_on.isoformat(),
            "learned": None if self.learned is None else dict(self.learned),
            "message_groups": json.loads(self.groups.to_json()),
        }
        return json.dumps(held, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True, eq=False)
class EarlierMessages:
    """The message groups of an earlier run.

    Parameters
    ----------
    by : str
        What chose.
    groups : MessageGroups
        As they were.
    reviewed_on : date
        Day of the last review.
    learned : mapping or None
        What learned groups were asked for.
    table : pyarrow.Table
        The group of each customer.
    """

    by: str
    groups: MessageGroups
    reviewed_on: dt.date
    learned: Mapping[str, Any] | None
    table: pa.Table

    @classmethod
    def of_files(cls, text: str, table: pa.Table, where: str) -> EarlierMessages:
        """From the files of a run.

        Parameters
        ----------
        text : str
            What :meth:`Messages.to_json` wrote.
        table : pyarrow.Table
            What :meth:`Messages.to_arrow` gave.
        where : str
            Words for the file in messages.

        Raises
        ------
        SourceError
            The text is something else.
        """
        try:
            held = json.loads(text)
            groups = MessageGroups.from_json(json.dumps(held["message_groups"]))
            day = dt.date.fromisoformat(held["reviewed_on"])
            return cls(str(held["by"]), groups, day, held["learned"], table)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{where} holds no message groups ({error}); restore it, or run without --refresh"
            ) from error


def style_scores(styles: SpendingStyles) -> pa.Table:
    """The styles of each customer, without intervals and counts."""
    table = styles.to_arrow()
    return table.select([table.column_names[0], *(style.name for style in styles.styles)])


def style_evidence(styles: SpendingStyles, names: tuple[str, ...]) -> Float64:
    """Baskets (gaps) behind these styles of each customer: the fewest of them, shape (n,)."""
    table = styles.to_arrow()
    counts = [np.asarray(table[f"{name}_n"].to_numpy(), np.float64) for name in names]
    return np.asarray(np.minimum.reduce(counts))


def learned_of_styles(
    styles: SpendingStyles, of: tuple[str, ...], n_groups: int, *, least_evidence: float, **options: Any
) -> MessageGroups:
    """Groups learned from styles, which go from 0 to 1: centres to the ten-thousandth.

    Parameters
    ----------
    styles : SpendingStyles
        Of all customers.
    of : tuple of str
        Styles to learn from.
    n_groups : int
        2 or more.
    least_evidence : float
        Baskets that a customer needs.
    **options
        As ``MessageGroups.learned`` takes them.

    Raises
    ------
    InputError
        Fewer distinct customers than groups.
    """
    # Scores of a spread of 1 to 10 points: centres are rounded to hundredths of a point.
    table = style_scores(styles)
    key = table.column_names[0]
    points = {name: pa.array(_PERCENT * _values(table[name]), from_pandas=True) for name in of}
    found = MessageGroups.learned(
        pa.table({key: table[key], **points}),
        n_groups,
        traits=of,
        evidence=style_evidence(styles, of),
        least_evidence=least_evidence,
        **options,
    )
    centres = {
        group.name: {style: round(score / _PERCENT, 4) for style, score in group.centre}
        for group in found.groups
    }
    options = {"margin": found.margin, "least_evidence": found.least_evidence, "fallback": found.fallback}
    made = MessageGroups.by_centres(centres, review=found.review, opt_in=dict(found.opt_in), **options)
    return replace(made, learned_from=found.learned_from, left_out=found.left_out)


def _values(column: pa.ChunkedArray) -> Float64:
    return np.asarray(column.cast(pa.float64()).to_numpy())
