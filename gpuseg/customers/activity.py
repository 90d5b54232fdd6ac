"""When each customer was active, as bits (room ``customers``, called by cohorts).

:class:`ActivityState` is the mergeable state behind cohorts: a bitmap of active periods a customer, merged with OR, the
first day, and the money of each customer and period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers.keyed import Int64, encode, no_keys, pack, recode, sum_by, union
from gpuseg.customers.periods import Periods
from gpuseg.customers.reading.audit import Audit
from gpuseg.customers.reading.reader import Checked
from gpuseg.engines.choose import EngineChoice
from gpuseg.engines.cpu import records as cpu_records

UInt64 = npt.NDArray[np.uint64]
Int32 = npt.NDArray[np.int32]

NEVER = np.int32(2**31 - 1)
"""First day of a customer without a purchase."""
CODE_ZERO = 1 << 20
"""Period codes are stored shifted, so that those before 1970 sort as well."""


def _no_bits() -> UInt64:
    return np.zeros((0, 0), np.uint64)


def _no_days() -> Int32:
    return np.zeros(0, np.int32)


def _no_numbers() -> Int64:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class ActivityState:
    """Active periods, first day and money of each customer.

    ``merge`` is associative and commutative, ``ActivityState()`` is neutral.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers with at least one record, ascending.
    first_day : ndarray of int32, shape (n,)
        First local day with a purchase, :data:`NEVER` where there is none.
    base : int
        Period code of bit 0; a multiple of 64, so that bitmaps merge word by word.
    bits : ndarray of uint64, shape (n, words)
        Bit ``p`` of a row is set if the customer bought something in period ``base + p``.
    pairs, money : ndarray of int64
        Distinct pairs (customer, period) and the sum of all amounts there, returns included, in minor units.
    audit : Audit
        What was found in the records.
    """

    keys: pa.Array = field(default_factory=no_keys)
    first_day: Int32 = field(default_factory=_no_days)
    base: int = 0
    bits: UInt64 = field(default_factory=_no_bits)
    pairs: Int64 = field(default_factory=_no_numbers)
    money: Int64 = field(default_factory=_no_numbers)
    audit: Audit = field(default_factory=Audit)

    @property
    def n_customers(self) -> int:
        """Customers with at least one record."""
        return len(self.keys)

    def merge(self, other: ActivityState) -> ActivityState:
        """Activity in the records of both."""
        audit = self.audit.merge(other.audit)
        if self.n_customers and other.n_customers and self.keys.type != other.keys.type:
            return ActivityState(audit=audit)  # the audit refuses the table
        keys, here, there = union(self.keys, other.keys)
        first_day = np.full(len(keys), NEVER, np.int32)
        first_day[here] = self.first_day
        first_day[there] = np.minimum(first_day[there], other.first_day)
        base, words = _span([self, other])
        bits = np.zeros((len(keys), words), np.uint64)
        bits[here] |= self.placed(base, words)
        bits[there] |= other.placed(base, words)
        pairs, money = sum_by(
            np.concatenate([recode(self.pairs, here), recode(other.pairs, there)]),
            np.concatenate([self.money, other.money]),
        )
        return ActivityState(keys, first_day, base, bits, pairs, money, audit)

    def placed(self, base: int, words: int) -> UInt64:
        """The bitmaps as they are when bit 0 is period ``base`` and there are ``words`` words."""
        if (base, words) == (self.base, self.bits.shape[1]):
            return self.bits
        wide = np.zeros((len(self.bits), words), np.uint64)
        if self.bits.shape[1]:
            start = (self.base - base) // cpu_records.WORD
            wide[:, start : start + self.bits.shape[1]] = self.bits
        return wide

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActivityState):
            return NotImplemented
        arrays = ("first_day", "bits", "pairs", "money")
        return (
            self.keys.equals(other.keys)
            and self.base == other.base
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays)
            and self.audit == other.audit
        )

    __hash__ = None  # type: ignore[assignment]


def partition_activity(checked: Checked, periods: Periods, engine: EngineChoice) -> ActivityState:
    """Activity in one partition."""
    table = checked.table
    if table is None or not len(table) or checked.audit.problems():
        return ActivityState(audit=checked.audit)
    keys, customer = encode(table["customer"])
    amount = table["amount"].to_numpy()
    day = table["day"].cast(pa.int32()).to_numpy()
    code = periods.codes(day)
    bought = amount > 0
    first_day = np.full(len(keys), NEVER, np.int32)
    np.minimum.at(first_day, customer[bought], day[bought])
    base, words = _cover(code[bought])
    bits = np.zeros((len(keys), words), np.uint64)
    engine.build().bitmaps(customer[bought], (code[bought] - base).astype(np.int32), bits)
    pairs, money = sum_by(pack(customer, code + CODE_ZERO), amount)
    return ActivityState(keys, first_day, base, bits, pairs, money, checked.audit)


def merge_activities(states: Sequence[ActivityState]) -> ActivityState:
    """All of them merged, pairwise as a tree."""
    level = list(states) or [ActivityState()]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [pair[0].merge(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def _cover(codes: Int64) -> tuple[int, int]:
    """The fewest words, starting at a multiple of 64, that hold all codes; (0, 0) for none."""
    if not len(codes):
        return 0, 0
    first, last = int(codes.min()) // cpu_records.WORD, int(codes.max()) // cpu_records.WORD
    return first * cpu_records.WORD, last - first + 1


def _span(states: Sequence[ActivityState]) -> tuple[int, int]:
    used = [(s.base, s.base + s.bits.shape[1] * cpu_records.WORD) for s in states if s.bits.shape[1]]
    if not used:
        return 0, 0
    base = min(start for start, _ in used)
    return base, (max(stop for _, stop in used) - base) // cpu_records.WORD
