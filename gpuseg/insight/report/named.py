"""Names of segments on a finished page (room ``insight``; the page and the command that renames call it).

Every place where a name stands is an element that carries the segment's id, so that a name that people approve later
replaces exactly these, whatever else the page says in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

_PLACE = "\ue000segment {}\ue001"  # of a private use area: no text of people looks like it
_PLACES = re.compile(r"\ue000segment (\d+)\ue001")
_ELEMENT = '<span data-segment="{}">{}</span>'
_ELEMENTS = re.compile(r'<span data-segment="(\d+)">([^<]*)</span>')
_ORIGIN = "<span data-names>{}</span>"
_ORIGINS = re.compile(r"<span data-names>[^<]*</span>")


def placeholders(numbers: Iterable[int]) -> dict[int, str]:
    """What stands for the names while sentences are made.

    Parameters
    ----------
    numbers : iterable of int
        Ids of segments.
    """
    return {number: _PLACE.format(number) for number in numbers}


def with_names(page: str, names: Mapping[int, str]) -> str:
    """A page with placeholders, with a marked name in place of each.

    Parameters
    ----------
    page : str
        HTML; placeholders stand between elements, never in an attribute.
    names : mapping of int to str
        By segment id, as people write them.
    """
    return _PLACES.sub(lambda found: _named(found, names), page)


def origin_of_names(approved: Iterable[int] = (), waiting: Iterable[int] = ()) -> str:
    """Where the names come from, in an element that can be found again.

    Parameters
    ----------
    approved, waiting : iterable of int
        Ids of segments whose names people approved; of those with a proposal still.
    """
    signed, proposed = (", ".join(map(str, numbers)) for numbers in (approved, waiting))
    made = "made from the strongest differences; who knows them signs or changes it in review.csv"
    if not signed:
        said = f"Names are proposals, {made}."
    elif not proposed:
        said = "Names were approved by people who know them."
    else:
        said = f"Names of segments {signed} were approved by people who know them; of {proposed} they are proposals."
    return _ORIGIN.format(said)


def rename_on_page(
    page: str, names: Mapping[int, str], approved: Iterable[int] = (), waiting: Iterable[int] = ()
) -> str | None:
    """A finished page with new names; None, if it does not say where names stand.

    Parameters
    ----------
    page : str
        As :func:`with_names` left it.
    names : mapping of int to str
        New names, by segment id; others stay.
    approved, waiting : iterable of int
        As of :func:`origin_of_names`.
    """
    if not _ELEMENTS.search(page):
        return None
    renamed = _ELEMENTS.sub(lambda found: _named(found, names), page)
    return _ORIGINS.sub(lambda _: origin_of_names(approved, waiting), renamed)


def _named(found: re.Match[str], names: Mapping[int, str]) -> str:
    number = int(found[1])
    return _ELEMENT.format(number, escape(names[number])) if number in names else found[0]


def rename_in_sentences(
    sentences: Iterable[str], names: Mapping[int, str], new: Mapping[int, str]
) -> list[str]:
    """Sentences with new names between quotation marks, all at once, so that two names may change places.

    Parameters
    ----------
    sentences : iterable of str
        Findings: names stand between straight quotation marks.
    names, new : mapping of int to str
        Names of all segments as they are; those that change.
    """
    quoted = {f'"{name}"': f'"{new.get(number, name)}"' for number, name in names.items()}
    any_name = re.compile("|".join(map(re.escape, sorted(quoted, key=len, reverse=True))))
    return [any_name.sub(lambda found: quoted[found[0]], sentence) for sentence in sentences]
