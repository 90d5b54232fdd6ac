"""What became of the customers at a review (room ``personality``; message groups make it)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import InputError
from gpuseg.personality.columns import CustomerColumns
from gpuseg.personality.message_choice import Decided
from gpuseg.personality.message_modules import MessageModule
from gpuseg.personality.use_limits import NOT_FOR


@dataclass(frozen=True, eq=False)
class MessageAssignment:
    """The message group of each customer, and what speaks for it.

    Parameters
    ----------
    customers : CustomerColumns
        The customers and the scores that chose.
    names : tuple of str
        The groups; the fallback comes last.
    decided : Decided
        Group, second best, lead and reason of each.
    before : ndarray of int32, shape (n,)
        Previous group, -1 for none.
    on : date
        The day.
    reviewed : bool
        Whether it was a review date.
    left_out : tuple of str
        Columns that may not choose a message and were not learned from.
    opt_in : mapping of str to str
        Barred traits or categories that chose all the same, and for what purpose.
    """

    customers: CustomerColumns
    names: tuple[str, ...]
    decided: Decided
    before: npt.NDArray[np.int32]
    on: dt.date
    reviewed: bool
    left_out: tuple[str, ...]
    opt_in: Mapping[str, str]

    @property
    def sizes(self) -> dict[str, int]:
        """Customers in each group, the fallback last."""
        counts = np.bincount(self.decided.group, minlength=len(self.names)).tolist()
        return dict(zip(self.names, counts, strict=True))

    @property
    def fallback_share(self) -> float:
        """Share of the customers that are in the fallback; 0 of none."""
        return self.sizes[self.names[-1]] / max(len(self.customers.keys), 1)

    @property
    def fallback_reasons(self) -> dict[str, int]:
        """Why customers are in the fallback: words and how many, most first, ties by the words."""
        there = self.decided.reason[self.decided.group == len(self.names) - 1]
        counts = np.bincount(there, minlength=len(self.decided.reasons)).tolist()
        found = zip(self.decided.reasons, counts, strict=True)
        return dict(sorted(((w, n) for w, n in found if n), key=lambda pair: (-pair[1], pair[0])))

    @property
    def n_moved(self) -> int:
        """Customers that had a group and are in another one now."""
        return int(np.count_nonzero(self._moved()))

    def facts(self) -> dict[str, Any]:
        """What the table's metadata says: counts, the day, and what all of it may not be used for."""
        return {
            "note": NOT_FOR,
            "on": self.on.isoformat(),
            "reviewed": self.reviewed,
            "sizes": self.sizes,
            "fallback_share": self.fallback_share,
            "fallback_reasons": self.fallback_reasons,
            "n_moved": self.n_moved,
            "left_out": list(self.left_out),
            "opt_in": dict(self.opt_in),
        }

    def table(self, modules: Mapping[str, MessageModule] | None = None) -> Any:
        """A row a customer, of the kind and in the order of the scores.

        Parameters
        ----------
        modules : mapping of str to MessageModule, optional
            From :func:`~gpuseg.personality.message_modules.read_message_modules`: adds ``style``, ``tone`` and
            ``language``.

        Returns
        -------
        DataFrame or Table
            The customer, ``group``, ``second_best`` (null for none), ``lead`` (points by which the group is nearer than
            the second, negative where it was kept; null without a second), ``moved``, ``reason``. The metadata
            ``gpuseg.facts`` (pandas: ``attrs``) hold :meth:`facts`.

        Raises
        ------
        InputError
            A group has no module.
        """
        group, second = self.decided.group, self.decided.second
        names = pa.array(self.names, pa.string())
        columns: dict[str, pa.Array] = {
            "group": names.take(pa.array(group)),
            "second_best": names.take(pa.array(second, mask=second < 0)),
            "lead": pa.array(self.decided.lead, mask=np.isnan(self.decided.lead)),
            "moved": pa.array(self._moved()),
            "reason": self.decided.words().cast(pa.string()),
        }
        if modules is not None:
            lacking = [name for name in self.names if name not in modules]
            if lacking:
                raise InputError(f"group {lacking[0]!r} has no message module; read them with these groups")
            for what in MessageModule._fields:
                texts = pa.array([getattr(modules[name], what) for name in self.names], pa.string())
                columns[what] = texts.take(pa.array(group))
        return self.customers.as_kind(columns, self.facts())

    def _moved(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self.before >= 0) & (self.decided.group != self.before))
