"""Spend that tells too much (room ``customers``, called by insight and jobs): which categories build no segment.

Health, pharmacy, religion and politics, gambling, debt and alcohol. A category is known by its merchant category code
(the table in ``gpuseg/data``), or by the words of its name. Rather one category too many than one too few: what is kept
out is listed with its reason, and a job may opt in with a named purpose.

The rule: whatever tells *what* a customer buys (shares, variety, number of categories, top category, the styles of
variety and breadth) is reckoned as if the sensitive lines were not there. A share is therefore of the spend that
counts: of all purchases, the shares would add up to 1 less the sensitive share, which would build segments after all.
Whatever tells *how much and when* (visits, money, recency, rhythm, discounts, own label) counts every line.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources

from gpuseg.errors import InputError

KINDS = {
    "health": "health",
    "pharmacy": "pharmacies and medicines",
    "religion_politics": "religion, politics and membership",
    "gambling": "gambling",
    "debt": "debt, cash advances and fines",
    "alcohol": "alcohol and tobacco",
}
"""Every kind of sensitive spend, and what it is in words."""

_SLUGS = {
    "medical_dental_optical": "health",
    "pharmacy": "pharmacy",
    "religion_membership_political": "religion_politics",
    "gambling": "gambling",
    "debt_collection_credit": "debt",
    "bank_charges_cash_advance": "debt",
    "fines": "debt",
    "alcohol_tobacco": "alcohol",
    "pubs_bars": "alcohol",
}

# Whole words, and beginnings of words (with a *); folded: lower case, without accents. English, German, French,
# Spanish, Italian, Portuguese, Dutch.
_WORDS = {
    "health": "health* medic* doctor* dentist* dental hospital* clinic* optician* therap* physio* psych* sante salute "
    "salud saude arzt* arzte* zahnarzt* krankenhaus* gesundheit* medecin* dentaire hopital* ospedale gezondheid* "
    "nutrition* vitamin* supplement* diabet* incontinen* contracept* fertilit* condom* pregnan*",
    "pharmacy": "pharma* farma* apothek* drug drugs drugstore* drogerie* rx parafarm* parapharm* prescription*",
    "religion_politics": "relig* church* mosque* synagog* temple* kirche* eglise* chiesa* iglesia* igreja* parish* "
    "politi* partei* parti union unions gewerkschaft* syndicat* sindaca* vakbond*",
    "gambling": "gambl* casino* lotter* lotto* loteria* loterie* betting bet bets wager* gluck* wett* jeux pari paris "
    "scommess* apuesta* aposta* gokken loterij* bingo poker",
    "debt": "debt* loan* credit* kredit* schulden* inkasso* collection collections pawn* pfand* dette* deuda* divida* "
    "debit* prestit* prestamo* emprestimo* lening* overdraft* payday fine fines mahn*",
    "alcohol": "alco* alko* liquor* beer* bier* biere* birra cerveza* cerveja* wine* wein* vin vins vino* vinho* "
    "wijn* spirit* spiritu* whisk* vodka* schnaps* brewer* tobac* tabac* tabak* cigar* zigar* vape* pub pubs",
}


@lru_cache(maxsize=1 << 16)
def sensitive_kind(name: str) -> str | None:
    """The kind of sensitive spend that a category's name or code stands for, if any.

    Parameters
    ----------
    name : str
        A name, or a merchant category code of four digits.

    Returns
    -------
    str or None
        A key of :data:`KINDS`.

    Examples
    --------
    >>> sensitive_kind("5912"), sensitive_kind("Bier & Wein"), sensitive_kind("GROCERY")
    ('pharmacy', 'alcohol', None)
    """
    return _by_code().get(name.strip()) or _by_name().get(_folded(name)) or _by_word(name)


def allowed_categories(
    names: Iterable[str], opt_in: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which categories may build segments.

    Parameters
    ----------
    names : iterable of str
        Category names or merchant category codes.
    opt_in : sequence of str
        Kinds (keys of :data:`KINDS`) or names of categories that are allowed all the same.

    Returns
    -------
    allowed : tuple of str
        In the given order.
    excluded : dict of str to str
        Name and reason of every other one.

    Raises
    ------
    InputError
        ``opt_in`` names neither a kind nor one of the names.

    Examples
    --------
    >>> allowed_categories(["grocery", "wine", "lottery"], opt_in=["alcohol"])
    (('grocery', 'wine'), {'lottery': 'gambling: sensitive, kept out unless opted in'})
    """
    given = list(dict.fromkeys(names))
    check_opt_in(opt_in, given)
    excluded = kept_out(given, opt_in)
    return tuple(name for name in given if name not in excluded), excluded


def kept_out(names: Iterable[str], opt_in: Sequence[str] = ()) -> dict[str, str]:
    """Those of the categories that are sensitive and not opted in, each with its reason.

    Parameters
    ----------
    names : iterable of str
        Category names or merchant category codes.
    opt_in : sequence of str
        Kinds or names that count all the same; not checked, since some of the records cannot tell (see
        :func:`check_opt_in`).
    """
    kinds = {name: sensitive_kind(name) for name in names if name not in opt_in}
    return {
        name: f"{KINDS[kind]}: sensitive, kept out unless opted in"
        for name, kind in kinds.items()
        if kind is not None and kind not in opt_in
    }


def check_opt_in(opt_in: Sequence[str], names: Sequence[str]) -> None:
    """Refuse what is neither a kind nor a category: an opt-in with a spelling mistake would be silent.

    Raises
    ------
    InputError
        Names it, and the kinds.
    """
    unknown = [name for name in opt_in if name not in KINDS and name not in names]
    if unknown:
        raise InputError(
            f"opt_in names {', '.join(map(repr, unknown))}, which is neither a category nor one of the kinds "
            f"{', '.join(KINDS)}"
        )


@cache
def _by_code() -> Mapping[str, str]:
    return {row["mcc"]: _SLUGS[row["category"]] for row in _rows()}


@cache
def _by_name() -> Mapping[str, str]:
    found = {_folded(row["description"]): _SLUGS[row["category"]] for row in _rows()}
    return found | {_folded(slug): kind for slug, kind in _SLUGS.items()}


def _rows() -> list[dict[str, str]]:
    text = resources.files("gpuseg").joinpath("data", "mcc_categories.csv").read_text(encoding="utf-8")
    return [row for row in csv.DictReader(text.splitlines()) if row["sensitive"] == "yes"]


def _by_word(name: str) -> str | None:
    words = _folded(name).split()
    return next((kind for kind, pattern in _patterns().items() if any(map(pattern.fullmatch, words))), None)


@cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    return {
        kind: re.compile(words.replace("*", "[a-z]*").replace(" ", "|")) for kind, words in _WORDS.items()
    }


def _folded(name: str) -> str:
    """Lower case without accents; everything that is no letter or digit is a gap between words."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(mark for mark in plain if not unicodedata.combining(mark))
    return " ".join(re.findall(r"[a-z0-9]+", letters))
