"""Message modules: a module a group, and every mistake named with its place."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from gpuseg.errors import InputError, SchemaError, SourceError
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.message_modules import message_modules, read_message_modules

GROUPS = ("explorers", "everyone")
MODULE = {"style": "pictures", "tone": "curious", "language": "new, try"}
GOOD = {
    "modules": {"explorers": MODULE, "everyone": {"style": "plain", "tone": "friendly", "language": "short"}}
}


def test_each_customer_gets_the_module_of_the_group(tmp_path):
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    groups = MessageGroups.by_thresholds({"explorers": {"openness": (55, None)}}, review="monthly")
    modules = read_message_modules(path, groups.names)
    scores = pa.table({"who": [1, 2], "openness": [60.0, 40.0]})
    result = groups.assign(scores, on="2024-01-01").table(modules)
    assert result.select(["style", "tone", "language"]).to_pylist() == [MODULE, GOOD["modules"]["everyone"]]
    with pytest.raises(InputError, match="'everyone' has no message module"):
        groups.assign(scores, on="2024-01-01").table({"explorers": modules["explorers"]})


def changed(path, value):
    held = json.loads(json.dumps(GOOD))
    *way, last = path.split(".")
    place = held
    for name in way:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(held)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed("modules.explorers.tone", ...), "modules.explorers.tone: missing"),
        (changed("modules.explorers.tone", " "), "modules.explorers.tone: ' ' is no text"),
        (changed("modules.explorers.tone", 3), "modules.explorers.tone: 3 is no text"),
        (
            changed("modules.explorers.ton", "x"),
            "modules.explorers.ton: unknown; there are style, tone, language",
        ),
        (
            changed("modules.everyone", ...),
            "modules.everyone: missing; every group has a module, the fallback too",
        ),
        (changed("modules.everyone", []), "modules.everyone: [] is no object"),
        (changed("modules.explorer", MODULE), "modules.explorer: no such group; did you mean 'explorers'?"),
        (changed("modules", []), "modules: missing, or no object"),
        (changed("purpose", "x"), "purpose: unknown"),
        ("[]", "modules: missing, or no object"),
        ('{"modules": {}, "modules": {}}', "'modules' is there twice"),
        ('{"modules":\n {"a": }}', "line 2, column 8:"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, said, tmp_path):
    path = tmp_path / "messages.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SchemaError) as caught:
        read_message_modules(path, GROUPS)
    assert any(problem.startswith(said) for problem in caught.value.problems), caught.value.problems
    assert str(path) in str(caught.value)


def test_all_mistakes_are_listed():
    text = json.dumps({"modules": {"explorers": {"style": "a"}}})
    with pytest.raises(SchemaError) as caught:
        message_modules(text, GROUPS)
    assert len(caught.value.problems) == 3


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_message_modules(tmp_path / "none.json", GROUPS)
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="UTF-8"):
        read_message_modules(tmp_path / "latin.json", GROUPS)
