"""Message modules: style, tone and language of what each group is told, from a JSON file (room ``personality``).

The file holds a module a group, the fallback included, and nothing else::

    {"modules": {"explorers": {"style": "vivid pictures, a story", "tone": "curious", "language": "new, try, discover"},
                 "everyone": {"style": "plain", "tone": "friendly", "language": "short sentences"}}}
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpuseg.errors import SchemaError, SourceError


class MessageModule(NamedTuple):
    """How a group is spoken to.

    Parameters
    ----------
    style : str
        How the message is built: pictures, figures, a story.
    tone : str
        How it sounds.
    language : str
        Words that it uses.
    """

    style: str
    tone: str
    language: str


def read_message_modules(path: str | Path, groups: Sequence[str]) -> dict[str, MessageModule]:
    """The module of each group, from a file.

    Parameters
    ----------
    path : str or Path
        JSON in UTF-8.
    groups : sequence of str
        ``MessageGroups.names``: every group and the fallback.

    Returns
    -------
    dict of str to MessageModule
        In the order of ``groups``.

    Raises
    ------
    SourceError
        The file cannot be read.
    SchemaError
        Lists every problem with its place: line and column where it is no JSON, else the path within it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read as UTF-8 text ({error}); give a JSON file") from None
    return message_modules(text, groups, where=str(path))


def message_modules(text: str, groups: Sequence[str], *, where: str = "messages") -> dict[str, MessageModule]:
    """The module of each group, from the text of such a file.

    Parameters
    ----------
    text : str
        JSON.
    groups : sequence of str
        Every group and the fallback.
    where : str
        Words for the text in messages.

    Raises
    ------
    SchemaError
        As in :func:`read_message_modules`.

    Examples
    --------
    >>> module = {"style": "plain", "tone": "friendly", "language": "short"}
    >>> message_modules(json.dumps({"modules": {"everyone": module}}), ["everyone"])["everyone"].tone
    'friendly'
    """
    repeated: list[str] = []

    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        repeated.extend(sorted({name for name in names if names.count(name) > 1}))
        return dict(pairs)

    try:
        held = json.loads(text, object_pairs_hook=no_repeats)
    except json.JSONDecodeError as error:
        raise SchemaError(
            where, [f"line {error.lineno}, column {error.colno}: {error.msg}; mend the JSON"]
        ) from None
    problems = [f"{name!r} is there twice within one object; keep one" for name in repeated]
    problems += _problems(held, groups)
    if problems:
        raise SchemaError(where, problems)
    return {name: MessageModule(**held["modules"][name]) for name in groups}


def _problems(held: Any, groups: Sequence[str]) -> list[str]:
    if not isinstance(held, Mapping) or not isinstance(held.get("modules"), Mapping):
        return ['modules: missing, or no object; the file is {"modules": {group: {...}, ...}}']
    problems = [f"{name}: unknown; only 'modules' stands here" for name in held if name != "modules"]
    modules = held["modules"]
    for name in modules:
        if name not in groups:
            near = difflib.get_close_matches(name, groups, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(groups)}"
            problems.append(f"modules.{name}: no such group; {hint}")
    for name in groups:
        if name not in modules:
            problems.append(f"modules.{name}: missing; every group has a module, the fallback too")
        else:
            problems += _module_problems(f"modules.{name}", modules[name])
    return problems


def _module_problems(place: str, module: Any) -> list[str]:
    fields = MessageModule._fields
    if not isinstance(module, Mapping):
        return [f"{place}: {module!r} is no object; give {', '.join(fields)}"]
    problems = [
        f"{place}.{name}: unknown; there are {', '.join(fields)}" for name in module if name not in fields
    ]
    for name in fields:
        value = module.get(name)
        if not isinstance(value, str) or not value.strip():
            said = "missing" if name not in module else f"{value!r} is no text"
            problems.append(f"{place}.{name}: {said}; say it in words")
    return problems
