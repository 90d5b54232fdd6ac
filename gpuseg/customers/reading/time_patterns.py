"""Written forms of times (room ``customers``, called by texts and dialect): a pattern a form, independent of locale.

A form is a regular expression with named groups; the groups become whole numbers and these, checked, an instant. A
day that no calendar has (31 February) is no time, never the 3rd of March.
"""

from __future__ import annotations

import re

MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)

_DIRECTIVES = {
    "%Y": r"(?P<Y>\d{4})",
    "%y": r"(?P<y>\d{2})",
    "%m": r"(?P<m>\d{1,2})",
    "%d": r"(?P<d>\d{1,2})",
    "%e": r" ?(?P<d>\d{1,2})",
    "%H": r"(?P<H>\d{1,2})",
    "%I": r"(?P<I>\d{1,2})",
    "%M": r"(?P<M>\d{1,2})",
    "%S": r"(?P<S>\d{1,2})",
    "%f": r"(?P<f>\d{1,9})",
    "%p": r"(?P<p>[AaPp])\.?[Mm]\.?",
    "%b": r"(?P<b>[A-Za-z]{3})",
    "%B": r"(?P<B>[A-Za-z]{3,9})",
    "%z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
    "%%": "%",
}
_ALIASES = {"%T": "%H:%M:%S", "%F": "%Y-%m-%d", "%R": "%H:%M", "%D": "%m/%d/%y"}
_NEEDED = (("year", "Yy"), ("month", "mbB"), ("day", "d"))

_CLOCK = (
    r"(?:[ T,]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:\.(?P<f>\d{1,9}))?)?"
    r"(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?)?"
)
DAY_FIRST = rf"^\s*(?P<d>\d{{1,2}})[./-](?P<m>\d{{1,2}})[./-](?P<Y>\d{{4}}){_CLOCK}\s*$"
MONTH_FIRST = rf"^\s*(?P<m>\d{{1,2}})[./-](?P<d>\d{{1,2}})[./-](?P<Y>\d{{4}}){_CLOCK}\s*$"


def compile_format(form: str) -> str:
    """Regular expression for a form with the directives of strptime.

    Parameters
    ----------
    form : str
        Such as ``"%d.%m.%Y %H:%M"``. Names of months are English.

    Returns
    -------
    str
        Its groups are named by directive: ``Y``, ``m``, ``d``, ``H`` ...

    Raises
    ------
    ValueError
        A directive is unknown or occurs twice, or the form lacks a year, month or day.

    Examples
    --------
    >>> re.match(compile_format("%d.%m.%Y"), "31.12.2024").groupdict()
    {'d': '31', 'm': '12', 'Y': '2024'}
    """
    whole = form
    for short, long in _ALIASES.items():
        whole = whole.replace(short, long)
    pattern = ""
    used = ""
    for piece in re.findall(r"%.?|[^%]+", whole, flags=re.DOTALL):
        if not piece.startswith("%"):
            pattern += re.escape(piece)
            continue
        if piece not in _DIRECTIVES:
            known = " ".join([*_DIRECTIVES, *_ALIASES])
            raise ValueError(f"time_format={form!r}: {piece!r} is not a known directive; use {known}")
        group = "d" if piece == "%e" else piece[1]
        if group != "%" and group in used:
            raise ValueError(f"time_format={form!r}: {piece!r} stands there twice")
        used += group
        pattern += _DIRECTIVES[piece]
    for what, groups in _NEEDED:
        if len(set(groups) & set(used)) != 1:
            said = " or ".join(f"%{group}" for group in groups)
            raise ValueError(f"time_format={form!r} needs one {what} ({said})")
    if ("I" in used) != ("p" in used) or ("I" in used and "H" in used):
        raise ValueError(f"time_format={form!r}: %I goes with %p, and neither with %H")
    return rf"^\s*{pattern}\s*$"
