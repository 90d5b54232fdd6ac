"""Generated sections of a README: what stands between two markers."""

from __future__ import annotations

from pathlib import Path


def read(path: Path, name: str) -> str:
    """The section called ``name``."""
    return _parts(path, name)[1]


def write(path: Path, name: str, text: str) -> None:
    """Put ``text`` in its place."""
    before, _, after = _parts(path, name)
    path.write_text(before + text + after, encoding="utf-8")


def _parts(path: Path, name: str) -> tuple[str, str, str]:
    """Up to the end of the first marker, between both, from the second on."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    whole = path.read_text(encoding="utf-8")
    if whole.count(begin) != 1 or whole.count(end) != 1:
        raise ValueError(f"{path} needs one section {begin.strip()} … {end}")
    before, rest = whole.split(begin)
    text, after = rest.split(end)
    return before + begin, text, end + after
