"""What a shop's categories mean to the studies (room ``personality``; the state and the weights call it).

A :class:`CategoryMap` takes a source value (a merchant category code, or the shop's own name of a category) to one of
the 55 spend categories in ``gpuseg/data/mcc_categories.csv``, or to none: a value is mapped only where the meaning that
the studies gave the category holds. Alcohol from a grocery is no pub. Sensitive spend is left out unless opted in.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpuseg.customers.sensitive import check_opt_in, sensitive_kind
from gpuseg.errors import InputError, SourceError

DECLARED = "declared sensitive"
"""Kind of a source value that only its own line in a file calls sensitive."""

_COLUMNS = ("value", "category", "sensitive")


@dataclass(frozen=True)
class Meaning:
    """What one source value stands for.

    Parameters
    ----------
    category : str or None
        One of :func:`study_categories`; ``None``: looked at, and none of them.
    kind : str or None
        Kind of sensitive spend (a key of :data:`gpuseg.customers.sensitive.KINDS`, or :data:`DECLARED`).
    """

    category: str | None
    kind: str | None = None


@dataclass(frozen=True)
class CategoryMap:
    """Source values and the spend categories that they stand for. Made by :meth:`mcc`, :meth:`of` and the like.

    Parameters
    ----------
    meanings : mapping of str to Meaning
        Every source value that is known.
    opt_in : tuple of str
        Sensitive kinds, categories or source values that count all the same.
    """

    meanings: Mapping[str, Meaning]
    opt_in: tuple[str, ...] = field(default=())

    @classmethod
    def mcc(cls, *, opt_in: Sequence[str] = ()) -> CategoryMap:
        """Merchant category codes (ISO 18245): 932 codes, all of them mapped.

        Parameters
        ----------
        opt_in : sequence of str
            Sensitive kinds (``"health"``, ``"pharmacy"``, ``"religion_politics"``, ``"gambling"``, ``"debt"``,
            ``"alcohol"``), categories or codes that count all the same.

        Raises
        ------
        InputError
            ``opt_in`` names none of them.

        Notes
        -----
        A code that lost its leading zeros on the way (742 for 0742) is known as well.

        Examples
        --------
        >>> codes = CategoryMap.mcc()
        >>> codes.category("5812"), codes.category("742"), codes.category("7995")
        ('restaurants', 'pets_vet', None)
        """
        mapping = {row["mcc"]: row["category"] for row in _mcc_rows()}
        short = {code.lstrip("0"): category for code, category in mapping.items() if code.startswith("0")}
        return cls.of(short | mapping, opt_in=opt_in)

    @classmethod
    def complete_journey(cls, *, opt_in: Sequence[str] = ()) -> CategoryMap:
        """Product categories of the Complete Journey, a grocery: the few that mean what the studies meant.

        Parameters
        ----------
        opt_in : sequence of str
            As in :meth:`mcc`.

        Raises
        ------
        InputError
            ``opt_in`` names none of them.

        Notes
        -----
        The column is ``product_category``. What is mapped, what is not, and the share of the spend that is covered
        are in the README of ``gpuseg/data``.
        """
        text = _shipped("complete_journey_categories.csv")
        return _parsed(text, "complete_journey_categories.csv", opt_in)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, opt_in: Sequence[str] = ()) -> CategoryMap:
        """A map from a file.

        Parameters
        ----------
        path : path
            CSV in UTF-8 with the columns ``value`` (of the shop), ``category`` (one of :func:`study_categories`; empty:
            none of them) and, optional, ``sensitive`` (yes or no); further columns are for people.
        opt_in : sequence of str
            As in :meth:`mcc`.

        Raises
        ------
        SourceError
            The file cannot be read, or is no such table.
        InputError
            A line is wrong: all such lines are named. Or ``opt_in`` names nothing that is known.

        Notes
        -----
        ``sensitive=no`` allows nothing that is sensitive by its category or its name: ``opt_in`` does.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SourceError(f"{path}: cannot be read: {reason}; give a CSV file in UTF-8") from error
        return _parsed(text, str(path), opt_in)

    @classmethod
    def of(
        cls,
        mapping: Mapping[str, str | None],
        *,
        sensitive: Iterable[str] = (),
        opt_in: Sequence[str] = (),
    ) -> CategoryMap:
        """A map from a dictionary.

        Parameters
        ----------
        mapping : mapping of str to str or None
            Source value to category (one of :func:`study_categories`; ``None``: none of them).
        sensitive : iterable of str
            Source values that are sensitive besides those that are so by their category or their name.
        opt_in : sequence of str
            As in :meth:`mcc`.

        Raises
        ------
        InputError
            A category is none of them, or ``sensitive`` or ``opt_in`` names nothing that is known.

        Examples
        --------
        >>> shop = CategoryMap.of({"Pets": "pets_vet", "Casino": "entertainment_events", "Misc": None})
        >>> shop.categories, shop.kept_out()
        (('pets_vet',), {'Casino': 'gambling'})
        """
        problems = [message for value, name in mapping.items() if (message := _problem(value, name))]
        if problems:
            raise InputError("; ".join(problems))
        declared = set(sensitive)
        if strangers := sorted(declared - mapping.keys()):
            raise InputError(
                f"sensitive names {', '.join(map(repr, strangers))}, not among the source values"
            )
        meanings = {value: Meaning(name, _kind(value, name)) for value, name in mapping.items()}
        for value in declared:
            meanings[value] = Meaning(mapping[value], meanings[value].kind or DECLARED)
        return _opted(meanings, opt_in)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories that count, ascending."""
        return tuple(sorted({m.category for v, m in self.meanings.items() if m.category and self._counts(v)}))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what a line counts for."""
        stated = {
            value: [m.category, None if self._counts(value) else m.kind] for value, m in self.meanings.items()
        }
        return hashlib.sha256(json.dumps([stated, self.opt_in], sort_keys=True).encode()).hexdigest()

    @property
    def unmapped(self) -> int:
        """Code of a value that stands for no category."""
        return len(self.categories)

    @property
    def left_out(self) -> int:
        """Code of a value that is sensitive and not opted in."""
        return len(self.categories) + 1

    def category(self, value: str) -> str | None:
        """The category that lines of this value count for, if any.

        Parameters
        ----------
        value : str
            A source value, known or not.
        """
        meaning = self.meanings.get(value)
        return meaning.category if meaning is not None and self._counts(value) else None

    def kept_out(self) -> dict[str, str]:
        """Source values that are sensitive and not opted in, each with its kind."""
        return {
            value: m.kind for value, m in sorted(self.meanings.items()) if m.kind and not self._counts(value)
        }

    def codes(self, values: Iterable[str]) -> npt.NDArray[np.int32]:
        """The code of each value: a row in :attr:`categories`, :attr:`unmapped` or :attr:`left_out`.

        Parameters
        ----------
        values : iterable of str
            Source values, known or not.
        """
        row = {name: number for number, name in enumerate(self.categories)}
        return np.array([self._code(value, row) for value in values], np.int32)

    def _code(self, value: str, row: Mapping[str, int]) -> int:
        meaning = self.meanings.get(value)
        if meaning is None:
            # Nobody said what it means; but a name that tells too much is not even counted as merely unknown.
            kind = sensitive_kind(value)
            return self.left_out if kind is not None and not self._opted(value, kind, None) else self.unmapped
        if not self._counts(value):
            return self.left_out
        return self.unmapped if meaning.category is None else row[meaning.category]

    def _counts(self, value: str) -> bool:
        meaning = self.meanings[value]
        return meaning.kind is None or self._opted(value, meaning.kind, meaning.category)

    def _opted(self, value: str, kind: str, category: str | None) -> bool:
        return any(name in self.opt_in for name in (value, kind, category) if name is not None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CategoryMap):
            return NotImplemented
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@cache
def study_categories() -> Mapping[str, str | None]:
    """The 55 spend categories, ascending, and the kind of sensitive spend that each is, if any."""
    sensitive = {row["category"]: row["sensitive"] == "yes" for row in _mcc_rows()}
    return {name: sensitive_kind(name) if sensitive[name] else None for name in sorted(sensitive)}


def _kind(value: str, category: str | None) -> str | None:
    """The category's kind or that of the value itself: rather one value too many than one too few."""
    of_category = None if category is None else study_categories()[category]
    return of_category or sensitive_kind(value)


def _problem(value: object, category: object) -> str | None:
    if not isinstance(value, str) or not value:
        return f"source value {value!r} is no text; write codes as text, such as '5812'"
    if category is None or category in study_categories():
        return None
    near = difflib.get_close_matches(str(category), study_categories(), 1)
    hint = f"did you mean {near[0]!r}?" if near else "study_categories() lists them"
    return f"{value!r} stands for {category!r}, which is none of the {len(study_categories())} categories; {hint}"


def _opted(meanings: Mapping[str, Meaning], opt_in: Sequence[str]) -> CategoryMap:
    opted = (opt_in,) if isinstance(opt_in, str) else tuple(opt_in)
    check_opt_in(opted, [*study_categories(), *meanings, DECLARED])
    return CategoryMap(dict(meanings), tuple(sorted(set(opted))))


def _parsed(text: str, where: str, opt_in: Sequence[str]) -> CategoryMap:
    """The map in the text of a CSV file; problems are collected, each with its line."""
    reader = csv.DictReader(io.StringIO(text))
    found = reader.fieldnames or []
    missing = [name for name in _COLUMNS[:2] if name not in found]
    if missing:
        raise SourceError(
            f"{where}, line 1: no column {' and '.join(missing)}; the header needs value,category"
        )
    mapping: dict[str, str | None] = {}
    declared, problems = [], []
    for row in reader:
        value, category = (row["value"] or "").strip(), (row["category"] or "").strip() or None
        said = (row.get("sensitive") or "no").strip()
        wrong = _problem(value, category)
        if value in mapping:
            wrong = f"source value {value!r} is there twice; keep one of the lines"
        elif said not in {"yes", "no"}:
            wrong = f"sensitive is {said!r}; write yes or no"
        if wrong:
            problems.append(f"{where}, line {reader.line_num}: {wrong}")
        else:
            mapping[value] = category
            declared += [value] * (said == "yes")
    if problems:
        raise InputError("\n".join(problems))
    return CategoryMap.of(mapping, sensitive=declared, opt_in=opt_in)


def _shipped(name: str) -> str:
    return resources.files("gpuseg").joinpath("data", name).read_text(encoding="utf-8")


@cache
def _mcc_rows() -> tuple[dict[str, str], ...]:
    return tuple(csv.DictReader(_shipped("mcc_categories.csv").splitlines()))
