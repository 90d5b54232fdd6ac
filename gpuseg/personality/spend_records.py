"""Records into a spend state (room ``personality``): of one partition, and of all transactions of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gpuseg.core.decay import Decay
from gpuseg.core.widesum import WideSum
from gpuseg.customers import frames
from gpuseg.customers.keyed import Int64, encode, first_of, no_pairs, numbered_runs, order_of
from gpuseg.customers.reading.audit import Audit
from gpuseg.customers.reading.reader import Checked
from gpuseg.customers.reading.records import Transactions
from gpuseg.engines.base import Engine
from gpuseg.engines.choose import EngineChoice
from gpuseg.errors import InputError, RangeError
from gpuseg.graph.placing import asking, choose_placed, current_client
from gpuseg.personality.category_map import CategoryMap
from gpuseg.personality.spend_cells import pack_cells
from gpuseg.personality.spend_rule import SpendRule
from gpuseg.personality.spend_state import MEASURES, SpendState, merge_spend

_LOW_WEIGHT = 19
"""Bits of a weight that multiply an amount at once; the other 19 follow."""
_LOW_AMOUNT = 32
"""Bits of an amount that are multiplied at once; amounts from 2**31 minor units on have more."""
_MASS = 1 << 43
"""Amounts whose magnitudes add up to less than this, each times 19 bits, cannot leave int64."""


def spend_state(
    tx: Transactions,
    categories: CategoryMap,
    decay: Decay | None = None,
    *,
    refunds: str = "ignore",
    engine: str = "auto",
) -> Any:
    """What each customer spent by category, of transactions of any kind.

    Parameters
    ----------
    tx : Transactions
        From :func:`gpuseg.read_transactions`, with a ``category`` column.
    categories : CategoryMap
        What the values of that column mean.
    decay : Decay, optional
        How fast lines lose their weight; default: they do not.
    refunds : {"ignore", "subtract"}
        As in :class:`~gpuseg.personality.spend_rule.SpendRule`.
    engine : {"auto", "cpu", "cuda"}, default "auto"
        Who adds up; the answer is the same.

    Returns
    -------
    SpendState
        Or, for a Dask source, the Dask task that makes it: one task a partition, merged as a tree.

    Raises
    ------
    InputError
        ``tx`` is something else or has no category column, or ``refunds`` is neither.
    RangeError
        A record is too far from the landmark of the decay.
    EngineUnavailableError
        The engine asked for by name cannot run here.
    SchemaError
        A Dask source has problems; raised when the task runs.

    Notes
    -----
    A record (line) is a transaction. Partitions are read one by one and only a logarithmic number of partial states
    is held, so the memory is that of one partition and of the customers' states.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from gpuseg import read_transactions
    >>> table = pa.table({"who": [1, 1, 2], "at": pa.array([0, 9, 9], pa.timestamp("s")), "paid": [5.0, 7.5, 2.0],
    ...                   "mcc": ["5812", "5813", "5812"]})
    >>> tx = read_transactions(table, customer="who", time="at", amount="paid", category="mcc", time_zone="UTC")
    >>> state = spend_state(tx, CategoryMap.mcc())
    >>> state.n_customers, state.count("sensitive").tolist()
    (2, [1, 0])
    """
    if not isinstance(tx, Transactions):
        raise InputError(f"{type(tx).__name__} is no Transactions; make one with gpuseg.read_transactions")
    if tx.roles.category is None:
        raise InputError(f"{tx.where}: no category column was declared; give category= to read_transactions")
    rule = SpendRule(categories, decay or Decay(), refunds, tx.minor_units)
    if tx.kind != "dask":
        choice = choose_placed(engine, None, None)
        built = choice.build()
        parts = (partition_spend(partition.load(), rule, built) for partition in tx.partitions)
        return merge_spend([SpendState(rule)] if not tx.partitions else parts)
    from dask.delayed import delayed

    choice = choose_placed(engine, None, current_client())
    with asking(choice):
        tallied = frames.delayed_state(tx, _tallied, _merge_tallied, rule, choice)
        return delayed(_finish, pure=True)(tallied, tx.where)


def partition_spend(checked: Checked, rule: SpendRule, engine: Engine) -> SpendState:
    """The state of one partition.

    Parameters
    ----------
    checked : Checked
        Normalised records without problems.
    rule : SpendRule
        What lines count for.
    engine : Engine
        Adds up, by its verb ``category_sums``.

    Raises
    ------
    RangeError
        A record is too far from the landmark, or the weight of a cell leaves int64.
    """
    table = checked.table
    if table is None or not len(table):
        return SpendState(rule)
    keys, customer = encode(table["customer"])
    step, epoch, weight = rule.decay.of(_numbers(table["time"].cast(pa.int64())))
    last = np.full(len(keys), np.iinfo(np.int64).min)
    np.maximum.at(last, customer, step)
    amount = _numbers(table["amount"])
    code = _codes(table["category"], rule.categories)
    lines = _lines(rule.categories, customer, code, amount, len(keys))
    telling = amount > 0 if rule.refunds == "ignore" else amount != 0
    if not telling.all():
        customer, code, epoch = customer[telling], code[telling], epoch[telling]
        amount, weight = amount[telling], weight[telling]
    # Sensitive lines are as if unmapped: what is left out is not even a category of its own.
    counted = np.minimum(code, rule.categories.unmapped)
    cells, place = _ranked(customer, counted, epoch, rule.categories.left_out)
    mass = np.where(amount < 0, -weight, weight)
    return SpendState(
        rule,
        keys,
        lines,
        last,
        cells,
        _sums(engine, place, mass, len(cells)),
        _wide_products(engine, place, amount, weight, len(cells)),
    )


@dataclass(frozen=True, eq=False)
class _Tallied:
    """A state and what was found in its records: a Dask source is checked when it is computed."""

    state: SpendState
    audit: Audit


def _tallied(checked: Checked, rule: SpendRule, choice: EngineChoice) -> _Tallied:
    if checked.audit.problems():
        return _Tallied(SpendState(rule), checked.audit)
    return _Tallied(partition_spend(checked, rule, choice.build()), checked.audit)


def _merge_tallied(parts: Sequence[_Tallied]) -> _Tallied:
    audit = Audit()
    for part in parts:
        audit = audit.merge(part.audit)
    if audit.problems():  # keys of two types among them: the audit refuses the table
        return _Tallied(SpendState(parts[0].state.rule), audit)
    return _Tallied(merge_spend(part.state for part in parts), audit)


def _finish(tallied: _Tallied, where: str) -> SpendState:
    tallied.audit.require_usable(where)
    return tallied.state


def _numbers(column: Any) -> Int64:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _codes(column: Any, categories: CategoryMap) -> Int64:
    """The map's code of each line, looked up once a distinct value."""
    column = column.unify_dictionaries().combine_chunks()
    known = categories.codes(column.dictionary.to_pylist())
    return np.asarray(known.astype(np.int64)[column.indices.to_numpy(zero_copy_only=False)])


def _lines(categories: CategoryMap, customer: Int64, code: Int64, amount: Int64, n: int) -> Int64:
    """Counts of :data:`MEASURES` a customer."""
    masks = (
        np.ones(len(code), np.bool_),
        code == categories.unmapped,
        code == categories.left_out,
        amount <= 0,
    )
    assert len(masks) == len(MEASURES)
    return np.stack([np.bincount(customer[mask], minlength=n) for mask in masks])


def _ranked(customer: Int64, category: Int64, epoch: Int64, n_codes: int) -> tuple[Int64, Int64]:
    """The distinct cells, ascending, and the row of each line's in them."""
    if not len(customer):
        return no_pairs(), no_pairs()
    # In as few bits as there are: short numbers sort several times as fast as packed cells.
    first = int(epoch.min())
    n_epochs = int(epoch.max()) - first + 1
    short = (customer * n_codes + category) * n_epochs + (epoch - first)
    order = order_of(short)
    starts = first_of(short[order])
    place = np.empty(len(short), np.int64)
    place[order] = numbered_runs(starts, len(short))
    one = order[starts]
    return pack_cells(customer[one], category[one], epoch[one]), place


def _sums(engine: Engine, place: Int64, amount: Int64, n: int) -> Int64:
    """Sums by cell; each cell is a customer with one category to the engine."""
    sums = np.zeros((n, 1), np.int64)
    try:
        engine.category_sums(place, np.zeros(len(place), np.int32), amount, sums)
    except RangeError as error:
        raise RangeError(
            "the lines of one customer, category and epoch in one partition weigh more than int64 holds; read them in "
            "smaller partitions, or shorten the half-life"
        ) from error
    return sums[:, 0]


def _wide_products(engine: Engine, place: Int64, amount: Int64, weight: Int64, n: int) -> WideSum:
    """Sums of amount times weight by cell, exact in 128 bits, of products that fit int64."""
    total = WideSum.zero(n)
    high = (amount + (1 << (_LOW_AMOUNT - 1))) >> _LOW_AMOUNT
    for part, amount_bits in ((amount - (high << _LOW_AMOUNT), 0), (high, _LOW_AMOUNT)):
        if not part.any():
            continue
        for start, stop in _blocks(part):
            rows = slice(start, stop)
            low = weight[rows] & ((1 << _LOW_WEIGHT) - 1)
            for factor, weight_bits in ((low, 0), (weight[rows] >> _LOW_WEIGHT, _LOW_WEIGHT)):
                sums = _sums(engine, place[rows], part[rows] * factor, n)
                total = total.merge(_shifted(sums, amount_bits + weight_bits))
    return total


def _blocks(amount: Int64) -> list[tuple[int, int]]:
    """Runs of rows whose magnitudes, each at most 2**31, add up to less than twice :data:`_MASS`."""
    block = np.cumsum(np.abs(amount)) // _MASS
    starts = first_of(block).tolist()
    return list(zip(starts, [*starts[1:], len(amount)], strict=True))


def _shifted(sums: Int64, bits: int) -> WideSum:
    """``sums * 2**bits`` in two limbs."""
    if not bits:
        return WideSum.from_int64(sums)
    return WideSum(sums >> (64 - bits), sums.view(np.uint64) << np.uint64(bits))
