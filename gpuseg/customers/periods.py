"""Calendar periods as whole numbers (room ``customers``, called by cohorts): days, weeks, months, quarters.

A period's code grows by one from each period to the next; everything is in integers, from local days counted from
1970-01-01.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

PERIODS = ("day", "week", "month", "quarter")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_EPOCH = dt.date(1970, 1, 1)
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True)
class Periods:
    """A way to cut the calendar.

    Parameters
    ----------
    period : {"day", "week", "month", "quarter"}
        Length.
    week_start : str, default "monday"
        First day of a week; matters for weeks only.
    """

    period: str
    week_start: str = "monday"

    def check(self) -> None:
        """Refuse unknown names.

        Raises
        ------
        InputError
            The period or the weekday is unknown.
        """
        if self.period not in PERIODS:
            raise InputError(f"period={self.period!r} is not known; use one of {', '.join(PERIODS)}")
        if self.week_start not in WEEKDAYS:
            raise InputError(
                f"week_start={self.week_start!r} is not a weekday; use one of {', '.join(WEEKDAYS)}"
            )

    def codes(self, days: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Code of the period in which each local day lies."""
        wide = days.astype(np.int64)
        if self.period == "day":
            return wide
        if self.period == "week":
            return (wide + self._shift()) // 7
        months = wide.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return months if self.period == "month" else months // 3

    def code(self, day: int) -> int:
        """Code of the period in which one local day lies."""
        return int(self.codes(np.array([day]))[0])

    def first_day(self, code: int) -> int:
        """First local day of a period, counted from 1970-01-01; the last is the one before the next period's first."""
        if self.period == "day":
            return code
        if self.period == "week":
            return code * 7 - self._shift()
        month = code if self.period == "month" else code * 3
        return (dt.date(1970 + month // 12, month % 12 + 1, 1) - _EPOCH).days

    def _shift(self) -> int:
        return (_EPOCH_WEEKDAY - WEEKDAYS.index(self.week_start)) % 7
