"""Names of segments in a finished workbook (jobs; for ``gpuseg names``): new ones in the cells that hold the old ones.

:mod:`gpuseg.jobs.workbook` writes names in two places: beside the ids of the first sheet, and over the columns of the
second. Texts of a workbook lie in one list that cells point to; one that another cell shares is left as it is.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from html import escape

_TEXTS, _SHEETS = "xl/sharedStrings.xml", ("xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml")
_NUMBER = re.compile(r'<c r="A(\d+)"><v>(\d+)</v></c>')
_CELL = re.compile(r'(<c r="([A-Z]+)(\d+)"(?: s="\d+")? t="s"><v>)(\d+)(</v></c>)')
_TEXT = re.compile(r"<si>.*?</si>", re.DOTALL)
_CONTROL = re.compile(r"(_x[0-9a-fA-F]{4}_)")  # how a workbook writes a control character


def rename_in_workbook(content: bytes, names: Mapping[int, str]) -> bytes | None:
    """A workbook with new names.

    Parameters
    ----------
    content : bytes
        As :func:`gpuseg.jobs.workbook.profiles_workbook` wrote it.
    names : mapping of int to str
        New names, by segment id; others stay.

    Returns
    -------
    bytes or None
        None: it is not such a workbook.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            parts = {entry: book.read(entry) for entry in book.infolist()}
    except zipfile.BadZipFile:
        return None
    texts = {
        entry.filename: part.decode() for entry, part in parts.items() if entry.filename.endswith(".xml")
    }
    if not {_TEXTS, *_SHEETS} <= texts.keys():
        return None
    new = _renamed(texts, names)
    if new is None:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        for entry, part in parts.items():
            book.writestr(entry, new.get(entry.filename, part))
    return buffer.getvalue()


def _renamed(texts: Mapping[str, str], names: Mapping[int, str]) -> dict[str, str] | None:
    """The parts that change, by their name."""
    segments, figures = (texts[sheet] for sheet in _SHEETS)
    rows = {int(row): int(number) for row, number in _NUMBER.findall(segments)}
    heads = [cell[2] for cell in _CELL.finditer(figures) if cell[3] == "1"][3:]
    if not rows or len(heads) != len(rows):
        return None
    columns = dict(zip(heads, rows.values(), strict=True))
    wanted = [
        {("B", str(row)): names[number] for row, number in rows.items() if number in names},
        {(head, "1"): f"{number} {names[number]}" for head, number in columns.items() if number in names},
    ]
    shared = _TEXT.findall(texts[_TEXTS])
    used = Counter(cell[4] for sheet in _SHEETS for cell in _CELL.finditer(texts[sheet]))
    found = {}
    for sheet, cells in zip(_SHEETS, wanted, strict=True):

        def exchange(cell: re.Match[str], cells: Mapping[tuple[str, str], str] = cells) -> str:
            text = cells.get((cell[2], cell[3]))
            if text is None:
                return cell[0]
            place = int(cell[4])
            if used[cell[4]] > 1:
                used[cell[4]] -= 1
                place = len(shared)
                shared.append("")
            shared[place] = _item(text)
            return f"{cell[1]}{place}{cell[5]}"

        found[sheet] = _CELL.sub(exchange, texts[sheet])
    first, last = texts[_TEXTS].index("<si>"), texts[_TEXTS].rindex("</si>") + len("</si>")
    head = re.sub(r'uniqueCount="\d+"', f'uniqueCount="{len(shared)}"', texts[_TEXTS][:first])
    return found | {_TEXTS: head + "".join(shared) + texts[_TEXTS][last:]}


def _item(text: str) -> str:
    literal = _CONTROL.sub(r"_x005F\1", text)
    return f"<si><t>{escape(literal, quote=False)}</t></si>"
