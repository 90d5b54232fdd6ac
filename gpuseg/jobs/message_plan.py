"""Message groups as a job declares them (jobs; settings hold it, the pipeline acts on it): JSON values only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.jobs.declared.message_section import Messages
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.message_modules import MessageModule, read_message_modules


@dataclass(frozen=True)
class MessagePlan:
    """What message groups are made of.

    Parameters
    ----------
    by : {"styles", "personality"}
        What chooses.
    declared : mapping or None
        The groups, as ``MessageGroups.to_json`` has them; None: they are learned.
    learned : mapping or None
        ``groups``, ``of`` and ``names`` of groups to be learned, and the options of ``MessageGroups``.
    modules : mapping of str to mapping, or None
        Style, tone and language of each group's message.
    """

    by: str
    declared: Mapping[str, Any] | None
    learned: Mapping[str, Any] | None = None
    modules: Mapping[str, Mapping[str, str]] | None = None

    def groups(self) -> MessageGroups | None:
        """The declared groups; None where they are learned."""
        return None if self.declared is None else MessageGroups.from_json(json.dumps(self.declared))

    def of_groups(self) -> dict[str, MessageModule] | None:
        """The module of each group."""
        if self.modules is None:
            return None
        return {name: MessageModule(**module) for name, module in self.modules.items()}


def message_plan(section: Messages, modules: str | Path | None) -> MessagePlan:
    """The plan of a section.

    Parameters
    ----------
    section : Messages
        Of a job file.
    modules : str, Path or None
        Where the file of message modules is.

    Returns
    -------
    MessagePlan

    Raises
    ------
    SourceError
        The file of modules cannot be read.
    SchemaError
        It lacks the module of a group, or has something else.
    """
    read = None if modules is None else read_message_modules(modules, section.names())
    told = None if read is None else {name: module._asdict() for name, module in read.items()}
    groups = section.declared()
    if groups is not None:
        return MessagePlan(section.by, json.loads(groups.to_json()), None, told)
    assert section.learned is not None
    options = section.options()
    if not isinstance(section.review, str):
        options["review"] = [day.isoformat() for day in section.review]
    of = section.learned.of
    learned = {
        "groups": section.learned.groups,
        "of": None if of is None else list(of),
        "names": list(section.learned.called()),
        **options,
    }
    return MessagePlan(section.by, None, learned, told)
