"""Message groups: which of a handful of messages each customer gets (room ``personality``; insight and jobs call them).

A group is a box in score space (declared thresholds) or a point in it (a declared centre, or one found by KMeans). How
near a customer is to a group is one number in points of score, and one rule goes by it: at a review date a customer
moves only if another group is nearer by more than the margin. What comes out is a function of the scores and of the
previous groups alone; no customer's group depends on another's.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.personality.columns import CustomerColumns, open_columns, text_column
from gpuseg.personality.message_assignment import MessageAssignment
from gpuseg.personality.message_checks import (
    OFTEN,
    bound_of,
    calendar_day,
    check_groups,
    require_mapping,
    review_dates,
)
from gpuseg.personality.message_choice import MessageGroup, decide
from gpuseg.personality.use_limits import allowed_traits, require_allowed, require_no_copies

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

_HUNDREDTHS = 100.0


@dataclass(frozen=True)
class MessageGroups:
    """Groups of customers for messages, and the rule by which customers move between them.

    Make one with :meth:`by_thresholds`, :meth:`by_centres` or :meth:`learned`.

    Parameters
    ----------
    groups : tuple of MessageGroup
        All with bounds, or all with centres; names distinct.
    review : tuple of date or str
        The days on which groups may change, or "monthly", "quarterly" or "yearly" for the first day of each.
    margin : float
        Points of score by which another group has to be nearer before a customer moves.
    fallback : str
        The group of those whose scores cannot be used, and of those whom no bounds fit.
    least_evidence : float
        Decayed transactions below which scores are not used.
    opt_in : tuple of (str, str)
        Barred traits or categories that may choose all the same, and for what purpose.
    learned_from : int
        Customers that learned centres rest on; 0 for declared groups.
    left_out : tuple of str
        Columns that may not choose a message and were not learned from.

    Raises
    ------
    InputError
        Names the group and what is wrong with it.

    Notes
    -----
    Nearness to bounds is the smallest distance to one of them, negative outside: a score of 61.2 where at least 55 is
    asked is 6.2 inside. The fallback is as near as a group on its bound (0), so that a group takes those within its
    bounds. Nearness to a centre is minus the Euclidean distance. Ties go to the group declared first. Without a
    previous group the nearest one is taken. A customer with a group keeps it unless, on a review date, another one (or,
    with bounds, the fallback) is nearer by more than ``margin``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> groups = MessageGroups.by_thresholds(
    ...     {"explorers": {"openness": (55, None)}, "planners": {"conscientiousness": (55, None)}}, review="monthly"
    ... )
    >>> scores = pa.table({"who": [7, 8, 9], "openness": [61.0, 48, 50], "conscientiousness": [50.0, 56, 40]})
    >>> groups.assign(scores, on="2024-03-01").table()["group"].to_pylist()
    ['explorers', 'planners', 'everyone']
    """

    groups: tuple[MessageGroup, ...]
    review: tuple[dt.date, ...] | str
    margin: float = 3.0
    fallback: str = "everyone"
    least_evidence: float = 20.0
    opt_in: tuple[tuple[str, str], ...] = ()
    learned_from: int = 0
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_groups(self.groups, self.fallback, margin=self.margin, least_evidence=self.least_evidence)
        require_allowed(self.traits, dict(self.opt_in))

    @classmethod
    def by_thresholds(
        cls,
        groups: Mapping[str, Mapping[str, Sequence[float | None]]],
        *,
        review: Iterable[str | dt.date] | str,
        opt_in: Mapping[str, str] | None = None,
        **options: Any,
    ) -> MessageGroups:
        """Groups with bounds: ``{"explorers": {"openness": (55, None)}}``.

        Parameters
        ----------
        groups : mapping of str to mapping of str to (float or None, float or None)
            Name; trait; lowest and highest score.
        review : iterable of date or "YYYY-MM-DD", or {"monthly", "quarterly", "yearly"}
            When groups may change.
        opt_in : mapping of str to str, optional
            Barred traits that may choose all the same: trait and purpose.
        **options
            ``margin``, ``fallback``, ``least_evidence``.

        Returns
        -------
        MessageGroups

        Raises
        ------
        InputError
            Names the group and what is wrong with it.
        """
        _require_named(groups, opt_in)
        made = tuple(
            MessageGroup(name, tuple(bound_of(name, trait, pair) for trait, pair in asked.items()))
            for name, asked in groups.items()
        )
        return cls(made, review_dates(review), opt_in=tuple((opt_in or {}).items()), **options)

    @classmethod
    def by_centres(
        cls,
        groups: Mapping[str, Mapping[str, float]],
        *,
        review: Iterable[str | dt.date] | str,
        opt_in: Mapping[str, str] | None = None,
        **options: Any,
    ) -> MessageGroups:
        """Groups with centres: ``{"explorers": {"openness": 60, "extraversion": 50}, ...}``.

        Parameters
        ----------
        groups : mapping of str to mapping of str to float
            Name; trait; score. All of the same traits.
        review, opt_in : as in :meth:`by_thresholds`
            When groups may change; what may choose although it is barred.
        **options
            ``margin``, ``fallback``, ``least_evidence``.

        Returns
        -------
        MessageGroups

        Raises
        ------
        InputError
            Names the group and what is wrong with it.
        """
        _require_named(groups, opt_in)
        made = tuple(MessageGroup(name, centre=tuple(centre.items())) for name, centre in groups.items())
        return cls(made, review_dates(review), opt_in=tuple((opt_in or {}).items()), **options)

    @classmethod
    def learned(
        cls,
        scores: Any,
        n_groups: int,
        *,
        review: Iterable[str | dt.date] | str,
        traits: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        evidence: Any = None,
        rests_on: Mapping[str, Sequence[str]] | None = None,
        opt_in: Mapping[str, str] | None = None,
        seed: int = 0,
        engine: str = "auto",
        **options: Any,
    ) -> MessageGroups:
        """Centres that KMeans finds among the scores, and that are fixed from then on.

        Parameters
        ----------
        scores : DataFrame or Table
            Customers and a column of numbers a trait. Order and chunks of customers change nothing.
        n_groups : int
            2 or more.
        review : as in :meth:`by_thresholds`
            When groups may change.
        traits : sequence of str, optional
            Columns to learn from; default: all that may choose a message, the others being listed in ``left_out``.
        names : sequence of str, optional
            Of the groups, in order of their centres; default "group 1", "group 2", ...
        evidence : str or array_like of shape (n,), optional
            As in :meth:`assign`: customers whose scores are not used are not learned from.
        rests_on : mapping of str to sequence of str, optional
            As in :meth:`assign`.
        opt_in : as in :meth:`by_thresholds`
            What may choose although it is barred.
        seed : int, default 0
            Of KMeans.
        engine : {"auto", "cpu", "cuda"}, default "auto"
            Of KMeans.
        **options
            ``margin``, ``fallback``, ``least_evidence``.

        Returns
        -------
        MessageGroups
            Centres in hundredths of a point, in ascending order (first trait first).

        Raises
        ------
        InputError
            A trait is barred, missing or a copy of a barred one; fewer distinct customers than groups.
        """
        opted = dict(opt_in or {})
        every = open_columns(scores)
        chosen = tuple(traits) if traits is not None else allowed_traits(every.names, opted)[0]
        left_out = () if traits is not None else allowed_traits(every.names, opted)[1]
        if isinstance(n_groups, bool) or n_groups < 2 or not chosen:
            raise InputError(f"n_groups={n_groups} of {len(chosen)} traits; learn 2 or more from 1 or more")
        require_allowed(chosen, opted, rests_on)
        wanted = open_columns(scores, chosen)
        require_no_copies(every.names, every.values, chosen, opted)
        n_i = _evidence(every, evidence)
        least = float(options.get("least_evidence", cls.least_evidence))
        usable = np.isfinite(wanted.values).all(axis=1) & (n_i >= least)
        centres = _kmeans(wanted, usable, n_groups, seed, engine)
        called = tuple(names) if names is not None else tuple(f"group {i + 1}" for i in range(n_groups))
        if len(called) != n_groups:
            raise InputError(f"names={list(called)}: {len(called)} names for {n_groups} groups")
        made = tuple(
            MessageGroup(name, centre=tuple(zip(chosen, centre, strict=True)))
            for name, centre in zip(called, centres, strict=True)
        )
        return cls(
            made,
            review_dates(review),
            opt_in=tuple(opted.items()),
            learned_from=int(usable.sum()),
            left_out=left_out,
            **options,
        )

    @property
    def traits(self) -> tuple[str, ...]:
        """Every trait that chooses a message, in the order in which the groups come to them."""
        return tuple(dict.fromkeys(trait for group in self.groups for trait in group.traits))

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, then the fallback."""
        return (*(group.name for group in self.groups), self.fallback)

    def is_review_date(self, day: str | dt.date) -> bool:
        """Whether groups may change on this day.

        Parameters
        ----------
        day : date or "YYYY-MM-DD"
            The day.

        Raises
        ------
        InputError
            It is no day.
        """
        when = calendar_day(day)
        if isinstance(self.review, str):
            return when.day == 1 and when.month in OFTEN[self.review]
        return when in self.review

    def review_due(self, since: str | dt.date, day: str | dt.date) -> dt.date | None:
        """The last review date after ``since`` and up to ``day``: what to give as ``on`` after a run was missed.

        Parameters
        ----------
        since : date or "YYYY-MM-DD"
            Day of the last review.
        day : date or "YYYY-MM-DD"
            Today.
        """
        start, when = calendar_day(since), calendar_day(day)
        if not isinstance(self.review, str):
            return max((date for date in self.review if start < date <= when), default=None)
        while when > start:
            if self.is_review_date(when):
                return when
            when = when.replace(day=1) if when.day > 1 else when - dt.timedelta(days=1)
        return None

    def assign(
        self,
        scores: Any,
        previous: Any = None,
        *,
        on: str | dt.date,
        evidence: Any = None,
        rests_on: Mapping[str, Sequence[str]] | None = None,
    ) -> MessageAssignment:
        """The group of each customer.

        Parameters
        ----------
        scores : DataFrame (pandas, polars) or pyarrow.Table
            Customers and a column a trait, NaN where it is not measurable.
        previous : DataFrame, Table or MessageAssignment, optional
            Customers and a column ``group``: what :meth:`MessageAssignment.table` gave the last time.
        on : date or "YYYY-MM-DD"
            The day. If it is no review date, everybody keeps their group, and who has none is in the fallback.
        evidence : str or array_like of shape (n,), optional
            Decayed transactions behind the scores of each customer, or the column of ``scores`` that has them.
        rests_on : mapping of str to sequence of str, optional
            The spend categories with a weight of each trait, from
            :func:`~gpuseg.personality.use_limits.categories_behind`: a trait that rests on a sensitive one chooses
            nothing.

        Returns
        -------
        MessageAssignment
            Group, second best, reason; in the order of ``scores``.

        Raises
        ------
        InputError
            A column is missing, barred or a copy of a barred one; a previous group is none of these groups; ``on`` is
            no day.
        """
        opted = dict(self.opt_in)
        require_allowed(self.traits, opted, rests_on)
        wanted = open_columns(scores, self.traits)
        every = open_columns(scores)
        require_no_copies(every.names, every.values, self.traits, opted)
        n_i = _evidence(every, evidence)
        before = self._before(wanted.keys, previous)
        reviewed = self.is_review_date(on)
        decided = decide(
            self.groups,
            self.traits,
            self.margin,
            self.least_evidence,
            wanted.values,
            n_i,
            before,
            reviewed=reviewed,
        )
        return MessageAssignment(
            wanted, self.names, decided, before, calendar_day(on), reviewed, self.left_out, opted
        )

    def _before(self, keys: pa.Array, previous: Any) -> Int32:
        """Number of each customer's previous group, -1 for none."""
        if previous is None:
            return np.full(len(keys), -1, np.int32)
        frame = previous.table() if isinstance(previous, MessageAssignment) else previous
        old_keys, old = text_column(frame, "group", "previous groups")
        number = {name: code for code, name in enumerate(self.names)}
        unknown = sorted({str(name) for name in old if name is not None and name not in number})
        if unknown:
            raise InputError(
                f"previous groups: {', '.join(map(repr, unknown[:3]))} is none of {', '.join(self.names)}; "
                "give no previous groups where the groups were declared anew"
            )
        codes = np.array([-1 if name is None else number[name] for name in old], np.int32)
        if old_keys.type != keys.type and len(old_keys) and len(keys):
            raise InputError(
                f"previous groups: customers are {old_keys.type}, in the scores they are {keys.type}"
            )
        row = pc.fill_null(pc.index_in(keys, value_set=old_keys), len(codes)).to_numpy()
        return np.asarray(np.append(codes, np.int32(-1))[row], np.int32)

    def to_json(self) -> str:
        """All of it as text; :meth:`from_json` reads it."""
        held = {
            "groups": [
                {"name": g.name, "bounds": [list(b) for b in g.bounds], "centre": [list(c) for c in g.centre]}
                for g in self.groups
            ],
            "review": self.review
            if isinstance(self.review, str)
            else [day.isoformat() for day in self.review],
            "margin": self.margin,
            "fallback": self.fallback,
            "least_evidence": self.least_evidence,
            "opt_in": dict(self.opt_in),
            "learned_from": self.learned_from,
            "left_out": list(self.left_out),
        }
        return json.dumps(held, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> MessageGroups:
        """What :meth:`to_json` wrote, checked as if it were declared.

        Parameters
        ----------
        text : str
            The JSON.

        Raises
        ------
        InputError
            The text is not such JSON, or the groups are wrong.
        """
        try:
            held = json.loads(text)
            groups = tuple(
                MessageGroup(
                    g["name"],
                    tuple((trait, low, high) for trait, low, high in g["bounds"]),
                    tuple((trait, score) for trait, score in g["centre"]),
                )
                for g in held["groups"]
            )
            rest = {key: held[key] for key in ("margin", "fallback", "least_evidence", "learned_from")}
            opt_in, left_out = tuple(held["opt_in"].items()), tuple(held["left_out"])
            review = held["review"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"these are no message groups ({error!r}); write them with MessageGroups.to_json"
            ) from None
        return cls(groups, review_dates(review), opt_in=opt_in, left_out=left_out, **rest)


def _require_named(groups: Any, opt_in: Any) -> None:
    require_mapping("groups", groups)
    require_mapping("opt_in", {} if opt_in is None else opt_in)
    for name, asked in groups.items():
        require_mapping(f"group {name!r}", asked)


def _kmeans(
    wanted: CustomerColumns, usable: npt.NDArray[np.bool_], n_groups: int, seed: int, engine: str
) -> list[tuple[float, ...]]:
    from gpuseg.cluster.kmeans import KMeans

    distinct = len(np.unique(wanted.values[usable], axis=0))
    if distinct < n_groups:
        raise TooFewRowsError(
            f"n_groups={n_groups} exceeds the {distinct} distinct customers with usable scores; lower n_groups"
        )
    keys = wanted.keys.filter(pa.array(usable))
    columns = {f"t{i}": pa.array(wanted.values[usable, i]) for i in range(len(wanted.names))}
    model = KMeans(n_groups, random_state=seed, engine=engine)
    model.fit(pa.table({"customer": keys, **columns}), customer="customer")
    rounded = np.rint(np.asarray(model.cluster_centers_, np.float64) * _HUNDREDTHS) / _HUNDREDTHS
    return sorted(tuple(row) for row in rounded.tolist())


def _evidence(every: CustomerColumns, evidence: Any) -> Float64:
    if evidence is None:
        return np.full(len(every.keys), np.inf)
    if isinstance(evidence, str):
        return open_columns(every, [evidence]).values[:, 0]
    n_i = np.asarray(evidence, np.float64)
    if n_i.shape != (len(every.keys),):
        raise InputError(
            f"evidence has shape {n_i.shape}; give one number for each of {len(every.keys):,} rows"
        )
    return n_i
