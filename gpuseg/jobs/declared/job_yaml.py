"""YAML of job files (jobs, called by job_file): plain values with the line of each, nothing clever.

Only JSON's kinds of values and one spelling each: true and false are flags, and yes, no, on, off stay text (Norway is
``no``); a date stays text, and so does 007. A key that stands twice is refused, and so are anchors, tags and aliases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gpuseg.errors import SchemaError, SourceError

Place = tuple[str | int, ...]
"""Where a value stands: keys and positions from the top."""

_BOOL, _INT, _FLOAT, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))
_PLAIN = (
    (_BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (_INT, r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (_FLOAT, r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    (_NULL, r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
)


@dataclass(frozen=True)
class Written:
    """What a file says and where.

    Parameters
    ----------
    values : dict
        The top mapping.
    lines : mapping of tuple to int
        The line, from 1, of each value's key (or of the value, in a list).
    """

    values: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int | None:
        """The line of a place, or of the nearest place around it that is written."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A SafeLoader that resolves plain text by :data:`_PLAIN` alone."""

    yaml_implicit_resolvers: Mapping[str, Any] = {}


for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def read_yaml(path: Path) -> Written:
    """Read a job file's YAML.

    Raises
    ------
    SourceError
        The file is missing or cannot be read.
    SchemaError
        It is no YAML mapping, or has keys twice; every one is listed with its lines.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceError(
            f"{path}: the job file cannot be read ({reason}); `gpuseg init FILE` writes one"
        ) from error
    except UnicodeDecodeError as error:
        raise SchemaError(str(path), [f"the text is not UTF-8 ({error.reason}); save it as UTF-8"]) from error
    problems: list[str] = []
    lines: dict[Place, int] = {}
    try:
        loader = _Loader(text)
        problems += [
            f"{type(token).__name__.removesuffix('Token').lower()}s are not read (line {token.start_mark.line + 1}); "
            "write the value out"
            for token in yaml.scan(text)
            if isinstance(token, (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken))
        ]
        if problems:
            raise SchemaError(str(path), problems)
        node = loader.get_single_node()
        _note(node, (), lines, problems)
        values = loader.construct_document(node) if node is not None and not problems else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(str(path), [_no_yaml(error)]) from error
    if not problems and not isinstance(values, dict):
        problems.append("there is no mapping of keys to values; `gpuseg init FILE` writes a job file")
    if problems:
        raise SchemaError(str(path), problems)
    assert isinstance(values, dict)
    return Written(values, lines)


def _note(node: Any, place: Place, lines: dict[Place, int], problems: list[str]) -> None:
    """Note the line of every value, and the keys that stand twice or are not text."""
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[(*place, position)] = item.start_mark.line + 1
            _note(item, (*place, position), lines, problems)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            problems.append(f"a key is no text (line {line}); keys are words")
            continue
        key.tag = "tag:yaml.org,2002:str"  # a column may be called 2024 or true
        inner = (*place, key.value)
        if inner in lines:
            where = ".".join(map(str, inner))
            problems.append(f"{where!r} stands twice (lines {lines[inner]} and {line}); keep one of them")
        lines[inner] = line
        _note(value, inner, lines, problems)


def _no_yaml(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    said = getattr(error, "problem", None) or (str(error).splitlines() or ["nested too deeply"])[0]
    return f"this is not YAML{where}: {said}; indent with spaces, and put text with : or # between quotes"
