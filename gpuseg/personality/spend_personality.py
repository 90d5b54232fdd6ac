"""Spend personality as users call it (room ``personality``): fit, update, forget, refresh, scores.

One class holds three things apart: the *state*, exact and mergeable, of what each customer did; the *reference*, a
frozen population that scores are relative to; and the *weights*, data with sources. Records change the state, and with
it the scores of those who acted; only a refresh and a calibration change the reference.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from gpuseg.customers import frames
from gpuseg.customers.reading.records import Transactions
from gpuseg.engines.base import Engine
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import InputError
from gpuseg.personality.calibration import Calibration, calibrate
from gpuseg.personality.category_features import category_features
from gpuseg.personality.columns import open_columns
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.intervals import VALIDITY, quantile
from gpuseg.personality.moves import ScoreHistory, moves
from gpuseg.personality.parameters import (
    category_map_of,
    decay_of,
    number_of,
    read_state,
    require_columns,
    validity_of,
    weights_of,
)
from gpuseg.personality.reference import SHRINKAGE, SMOOTHING, Reference, make_reference
from gpuseg.personality.score_columns import detail_columns, score_columns
from gpuseg.personality.scoring import Scores, score
from gpuseg.personality.shifts import Refreshed, Updated, shift_between
from gpuseg.personality.spend_state import SpendState, as_keys
from gpuseg.personality.use_limits import NOT_FOR, categories_behind
from gpuseg.personality.weights import TraitWeights

BLOCK = 1 << 17
"""Customers whose evidence is finished at a time."""


class SpendPersonality(BaseEstimator):  # type: ignore[misc]
    """Estimated traits of customers from what they spend on.

    Parameters
    ----------
    categories : {"mcc", "complete_journey"}, path, mapping or CategoryMap, default "mcc"
        What the values of the category column mean: merchant category codes, the departments of the Complete Journey, a
        file (see :meth:`CategoryMap.from_csv`) or ``{value: category of the studies}``.
    weights : path or TraitWeights, optional
        What each category says of each trait; default: the shipped evidence on the Big Five.
    half_life_days : float, optional
        After so many days a transaction counts half; default: it counts for ever.
    refunds : {"ignore", "subtract"}, default "ignore"
        What lines with a negative amount do: nothing, or take a transaction and its money back.
    smoothing : float, default 5
        Transactions of the population's shares that are added to everybody's (a).
    shrinkage : float, default 20
        Transactions at which half of a score is the customer's own (kappa).
    level : float, default .95
        Of the intervals: .5, .8, .9, .95 or .99.
    validity : float or mapping of str to float, default .15
        Correlation of scores with the trait, which bounds what intervals can promise: the ceiling found in the
        literature, until a survey was calibrated on.
    opt_in : sequence of str
        Sensitive kinds or values that count all the same; see :mod:`gpuseg.customers.sensitive`.
    engine : {"auto", "cpu", "cuda"}, default "auto"
        Who computes; the answer is the same.

    Attributes
    ----------
    state_ : SpendState
        What each customer did.
    reference_ : Reference
        What scores are relative to; frozen, with a version.
    weights_ : TraitWeights
        What they are made with.
    measurability_ : tuple of Measurability
        What each trait rests on, and why one cannot be measured.
    validity_ : dict of str to float
        In use: ``validity``, or what a survey found.
    history_ : ScoreHistory
        Scores by period, as far as periods were named.
    calibration_ : Calibration or None
        The survey that weights come from.

    Notes
    -----
    With n_ic transactions of customer i in category c (decayed up to the customer's own last record), n_i of all
    mapped ones and b_c the population's share, L_ic = ln((n_ic + a b_c) / ((n_i + a) b_c)) says by how much i
    over-indexes. It is standardised against the reference, weighed and added up over categories, standardised again,
    and drawn to the middle where evidence is thin: T = 50 + 10 z n_i / (n_i + kappa).

    The shipped evidence can measure two traits at most (extraversion and conscientiousness), and only where at least
    5 % of the spend and three categories speak to them: otherwise scores are NaN, and ``measurability_`` says why.

    Scores are **estimated**: categories of spend told r = .15 of the Big Five, 2 % of the variance (N = 2,193). That
    can set the tone of a message to a group and says next to nothing about one person. Not for eligibility, price,
    credit or employment.

    The same bits for any order and split of the records, number of threads or workers, and engine; ``fit`` of all
    records equals ``fit`` and ``update`` of parts up to the reference, which ``refresh`` makes anew.

    References
    ----------
    J. J. Gladstone, S. C. Matz, A. Lemaire. Can psychological traits be inferred from spending? Evidence from
    transaction data. Psychological Science 30 (2019). S. C. Matz, J. J. Gladstone, D. Stillwell. Money buys happiness
    when spending fits our personality. Psychological Science 27 (2016).

    Examples
    --------
    >>> from gpuseg import datasets, read_transactions
    >>> table, planted, entries = datasets.make_personality(200, seed=1)
    >>> tx = read_transactions(
    ...     table, customer="customer", time="time", amount="amount", category="mcc", time_zone="UTC"
    ... )
    >>> found = SpendPersonality(weights=TraitWeights.of("planted", entries)).fit(tx)
    >>> found.scores().column_names
    ['customer', 'openness', 'conscientiousness', 'extraversion', 'agreeableness', 'neuroticism']
    """

    def __init__(
        self,
        categories: Any = "mcc",
        weights: Any = None,
        *,
        half_life_days: float | None = None,
        refunds: str = "ignore",
        smoothing: float = SMOOTHING,
        shrinkage: float = SHRINKAGE,
        level: float = 0.95,
        validity: Any = VALIDITY,
        opt_in: Sequence[str] = (),
        engine: str = "auto",
    ) -> None:
        self.categories = categories
        self.weights = weights
        self.half_life_days = half_life_days
        self.refunds = refunds
        self.smoothing = smoothing
        self.shrinkage = shrinkage
        self.level = level
        self.validity = validity
        self.opt_in = opt_in
        self.engine = engine

    def fit(self, tx: Transactions, y: None = None) -> SpendPersonality:  # noqa: ARG002 (scikit-learn's signature)
        """Read transactions and make the reference of their customers.

        Parameters
        ----------
        tx : Transactions
            From :func:`gpuseg.read_transactions`, with a ``category`` column. A Dask source is read on its workers.
        y : None
            Ignored, as in scikit-learn.

        Returns
        -------
        SpendPersonality
            Itself.

        Raises
        ------
        InputError
            A parameter or the transactions cannot be used.
        TooFewRowsError
            No customer has a transaction in a mapped category.
        """
        weights, decay = weights_of(self.weights), decay_of(self.half_life_days)
        quantile(number_of("level", self.level))
        validity = validity_of(self.validity, weights.traits)
        if isinstance(tx, Transactions):
            require_columns(weights.traits, tx.roles.customer)
        state = read_state(
            tx, category_map_of(self.categories, self.opt_in), decay, self.refunds, self.engine
        )
        reference = self._reference(state, weights, 1)
        self.state_, self.weights_, self.reference_ = state, weights, reference
        self.validity_ = validity
        self.calibration_: Calibration | None = None
        self.measurability_ = reference.measurability
        self.history_ = ScoreHistory(reference.traits)
        self.source_ = frames.without_records(tx)
        return self

    def update(self, tx: Transactions, period: str | None = None) -> Updated:
        """Add records; only customers who have some can move.

        Parameters
        ----------
        tx : Transactions
            *New* records: those that were read before would count twice.
        period : str, optional
            Name under which the history keeps the scores of those who acted.

        Returns
        -------
        Updated
            How many customers are new or have new records, and who moved, by how much, and why.

        Raises
        ------
        InputError
            The transactions cannot be used, or the history has that period. Nothing is added then.
        """
        check_is_fitted(self)
        rule = self.state_.rule
        fresh = read_state(tx, rule.categories, rule.decay, rule.refunds, self.engine, rule.minor_units)
        merged = self.state_.merge(fresh)
        held = self.state_.rows_of(fresh.keys)
        before = self.state_.evidence(held[held >= 0])
        after = merged.evidence(merged.rows_of(fresh.keys))
        was, now = self._scored(before), self._scored(after)
        found = moves(before, after, was, now, self.reference_, self.weights_)
        history = self.history_ if period is None else self.history_.record(period, now.keys, now.values)
        self.state_, self.history_ = merged, history
        return Updated(after.n_customers, after.n_customers - before.n_customers, found, tx.roles.customer)

    def forget(self, ids: Iterable[Any]) -> int:
        """Drop customers: exactly what was added for them is taken off.

        Parameters
        ----------
        ids : iterable
            Keys of customers; those who are not known are passed over.

        Returns
        -------
        int
            How many were dropped.

        Notes
        -----
        The state is afterwards the one that their records never reached. The reference holds figures of the population
        and of no customer; it stays as it is until :meth:`refresh`.
        """
        check_is_fitted(self)
        keys = as_keys(ids)
        before = self.state_.n_customers
        state = self.state_.without(keys)
        self.state_, self.history_ = state, self.history_.without(keys)
        return before - state.n_customers

    def refresh(self) -> Refreshed:
        """Make the reference anew from everything that is known now.

        Returns
        -------
        Refreshed
            By how much scores shifted, a row a trait: nobody acted, and yet everybody may move.

        Raises
        ------
        TooFewRowsError
            Nobody is left with a transaction in a mapped category. The old reference stays.
        """
        check_is_fitted(self)
        return self._adopt(self.weights_, self.validity_)

    def scores(self, ids: Iterable[Any] | None = None, *, details: bool = False) -> Any:
        """Estimated traits: T scores, 50 the mean and 10 the standard deviation of the reference.

        Parameters
        ----------
        ids : iterable, optional
            Keys of customers, for those alone; default: all.
        details : bool, default False
            Whether the intervals and what scores rest on come along.

        Returns
        -------
        DataFrame or Table
            Of the kind of the transactions (Dask: pandas), customers ascending: the customer's own column, then a
            float64 column a trait, always all of the construct's; NaN where a trait is not measurable. With ``details``
            also ``evidence`` (decayed transactions) and, a trait, ``_percentile``, ``_low``, ``_high``, ``_covered``
            (share of the customer's spend), ``_categories`` (how many of those the customer bought in) and ``_because``
            (the three that say most).

        Raises
        ------
        InputError
            A customer is not known.
        """
        check_is_fitted(self)
        rows = None if ids is None else self._rows(ids)
        tables = []
        for evidence in self._blocks(rows):
            found = self._scored(evidence)
            columns = detail_columns(found) if details else score_columns(found)
            tables.append(pa.table({"": found.keys, **columns}))
        table = pa.concat_tables(tables).combine_chunks()
        columns = {name: table[name].combine_chunks() for name in table.column_names[1:]}
        form = replace(self.source_, kind="pandas") if self.source_.kind == "dask" else self.source_
        return frames.as_kind(form, frames.customer_table(form, _one(table[""]), columns, self._facts()))

    def history(self, ids: Iterable[Any] | None = None) -> Any:
        """Scores by period of those who acted in it; see :class:`~gpuseg.personality.moves.ScoreHistory`.

        Parameters
        ----------
        ids : iterable, optional
            Keys of customers, for those alone; default: all.

        Returns
        -------
        pyarrow.Table
            The customer, ``period``, and a column a trait.
        """
        check_is_fitted(self)
        table = self.history_.to_arrow(self.source_.roles.customer, None if ids is None else as_keys(ids))
        kind = self.source_.customer_type
        return (
            table if kind is None else table.set_column(0, table.column_names[0], table.column(0).cast(kind))
        )

    def calibrate(
        self,
        items: Any,
        key: Mapping[str, Sequence[str]],
        *,
        scale: tuple[int, int] = (1, 5),
        seed: int = 0,
    ) -> Calibration:
        """Let a survey of customers say what categories mean, and how well scores do.

        Parameters
        ----------
        items : DataFrame or Table
            Surveyed customers and their answers, a column an item.
        key : mapping of str to sequence of str
            The items of each trait, reversed ones with a minus: ``{"extraversion": ["talks", "-reserved"]}``.
        scale : (int, int), default (1, 5)
            Lowest and highest answer.
        seed : int, default 0
            Of the folds.

        Returns
        -------
        Calibration
            Out-of-sample r of each trait with its interval; also as ``calibration_``. Scores are made with its weights
            from now on, relative to a new reference, and intervals with its r. Traits that were asked for and refused
            are not measurable any more; traits that were not asked for keep their weights.

        Raises
        ------
        InputError
            A trait is none of the weights', or nothing can be calibrated: see
            :func:`gpuseg.personality.calibration.calibrate`. Everything stays as it was then.
        TooFewRowsError
            Fewer than 300 surveyed customers have records.

        Notes
        -----
        Only repeatable, not exact: ridge regression goes through BLAS. What is
        regressed on are the standardised log over-indices of categories; indicators of behaviour have no place among
        weights of categories, :func:`~gpuseg.personality.calibration.calibrate` takes them too.
        """
        check_is_fitted(self)
        strangers = [trait for trait in key if trait not in self.weights_.traits]
        if strangers:
            raise InputError(
                f"trait {strangers[0]!r} is none of {', '.join(self.weights_.traits)}; name one of these"
            )
        rows = self.state_.rows_of(open_columns(items, [], what="survey").keys)
        evidence = self.state_.evidence(np.unique(rows[rows >= 0]))
        features = category_features(evidence, self.reference_)
        found = calibrate(features, None, items, key, scale=scale, seed=seed)
        kept = tuple(entry for entry in self.weights_.entries if entry.trait not in key)
        fitted = found.weights(self.weights_.construct).entries
        construct = f"{self.weights_.construct.removesuffix(', calibrated')}, calibrated"
        weights = replace(self.weights_, construct=construct, entries=(*kept, *fitted))
        self._adopt(weights, self.validity_ | found.r)
        self.calibration_ = found
        return found

    def message_groups(self, groups: Any, *, on: str | dt.date, previous: Any = None) -> Any:
        """The message group of each customer.

        Parameters
        ----------
        groups : MessageGroups
            Declared, or learned from scores.
        on : date or "YYYY-MM-DD"
            The day; groups change on review dates only.
        previous : DataFrame, Table or MessageAssignment, optional
            The last assignment.

        Returns
        -------
        MessageAssignment
            Best and second best group and the reason; thin evidence and what is not measurable go to the fallback.

        Raises
        ------
        InputError
            A group rests on a trait that may choose no message, or that is not measurable on these data.
        """
        check_is_fitted(self)
        self._require_measurable(groups.traits)
        rests_on = categories_behind(self.weights_, self.reference_.categories)
        table = self.scores(details=True)
        names = list(self.reference_.traits)
        evidence = np.asarray(table["evidence"], np.float64)
        wanted = (
            table[names] if not isinstance(table, pa.Table) else table.select([table.column_names[0], *names])
        )
        if not isinstance(table, pa.Table) and self.source_.kind == "polars":
            wanted = table.select([table.columns[0], *names])
        return groups.assign(wanted, previous, on=on, evidence=evidence, rests_on=rests_on)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write everything to a new folder: Parquet and JSON, whole or not at all.

        Parameters
        ----------
        folder : path
            The folder to make; it must not exist, its parent must.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OutputError
            The folder exists or cannot be written.
        """
        from gpuseg.personality.personality_files import save_personality

        check_is_fitted(self)
        return save_personality(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SpendPersonality:
        """Read what :meth:`save` wrote: it scores, updates and forgets as before.

        Parameters
        ----------
        folder : path
            From :meth:`save`.

        Raises
        ------
        SourceError
            There is no such folder, or its files are damaged.
        """
        from gpuseg.personality.personality_files import load_personality

        model: SpendPersonality = load_personality(cls, folder)
        return model

    def _adopt(self, weights: TraitWeights, validity: Any) -> Refreshed:
        """A new reference, and by how much it moved everybody."""
        old_reference, old_weights = self.reference_, self.weights_
        reference = self._reference(self.state_, weights, old_reference.version + 1)
        engine = self._engine()
        pairs = (
            (
                score(part, old_reference, old_weights, engine=engine),
                score(part, reference, weights, engine=engine),
            )
            for part in self._blocks()
        )
        shift = shift_between(pairs, reference.traits, reference.version)
        self.reference_, self.weights_, self.validity_ = reference, weights, validity
        self.measurability_ = reference.measurability
        return shift

    def _reference(self, state: SpendState, weights: TraitWeights, version: int) -> Reference:
        rule = state.rule
        return make_reference(
            lambda: _parts(state),
            weights,
            smoothing=number_of("smoothing", self.smoothing),
            shrinkage=number_of("shrinkage", self.shrinkage),
            map_digest=rule.categories.digest,
            decay_digest=rule.digest,
            version=version,
            engine=self._engine(),
        )

    def _blocks(self, rows: Any = None) -> Iterator[Evidence]:
        """Evidence of all customers, or of some rows, so many at a time."""
        if rows is None:
            return _parts(self.state_)
        return (self.state_.evidence(rows[i : i + BLOCK]) for i in range(0, max(len(rows), 1), BLOCK))

    def _scored(self, evidence: Evidence) -> Scores:
        return score(
            evidence,
            self.reference_,
            self.weights_,
            validity=self.validity_,
            level=self.level,
            engine=self._engine(),
        )

    def _engine(self) -> Engine:
        return choose_engine(self.engine).build()

    def _rows(self, ids: Iterable[Any]) -> Any:
        keys = as_keys(ids)
        rows = self.state_.rows_of(keys)
        missing = np.flatnonzero(rows < 0)
        if missing.size:
            more = f" and {missing.size - 1:,} more" if missing.size > 1 else ""
            raise InputError(
                f"customer {keys[int(missing[0])].as_py()!r}{more} is not known; give keys that were read"
            )
        return np.unique(rows)

    def _require_measurable(self, traits: Sequence[str]) -> None:
        for found in self.measurability_:
            if found.trait in traits and not found.measurable:
                raise InputError(f"{found.trait} can choose no message group: {found.reason}")

    def _facts(self) -> dict[str, Any]:
        return {
            "estimated": True,
            "use": NOT_FOR,
            "construct": self.reference_.construct,
            "reference": {"version": self.reference_.version, "digest": self.reference_.digest},
            "not_measurable": {m.trait: m.reason for m in self.measurability_ if not m.measurable},
        }


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _parts(state: SpendState) -> Iterator[Evidence]:
    """Evidence of all customers, so many at a time; of none, one part that is empty."""
    return state.evidence_parts(BLOCK) if state.n_customers else iter((state.evidence(),))
