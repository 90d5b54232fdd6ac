"""Docstrings say what the signatures say: every ``Parameters`` section in gpuseg, and one on every public name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpuseg

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "gpuseg").rglob("*.py"))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def section(docstring: str, title: str) -> list[str] | None:
    """Lines of a numpydoc section, or None where there is no such section."""
    lines = docstring.splitlines()
    for number, line in enumerate(lines[:-1]):
        if line.strip() == title and re.fullmatch(r"\s*-{3,}\s*", lines[number + 1]):
            body = lines[number + 2 :]
            for end, other in enumerate(body[1:], 1):
                if re.fullmatch(r"\s*-{3,}\s*", other):
                    return body[: end - 1]
            return body
    return None


def documented(docstring: str) -> list[str] | None:
    """Names in the ``Parameters`` section, in order."""
    lines = section(docstring, "Parameters")
    if lines is None:
        return None
    names = []
    for line in lines:
        if line and not line[0].isspace():
            names += [name.strip().lstrip("*") for name in line.partition(" :")[0].split(",")]
    return names


def parameters(definition: Definition) -> list[str]:
    """Names in the signature: of a function, of a class's ``__init__``, or the fields of a record."""
    if isinstance(definition, ast.ClassDef):
        for node in definition.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return parameters(node)
        return [
            node.target.id
            for node in definition.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
    arguments = definition.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *filter(None, [arguments.vararg]),
        *arguments.kwonlyargs,
    ]
    every += filter(None, [arguments.kwarg])
    return [argument.arg for argument in every if argument.arg not in {"self", "cls"}]


def definitions(path: Path) -> Iterator[tuple[str, Definition]]:
    """Functions, classes and methods of a file under their dotted names."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
        for node in body:
            if isinstance(node, Definition):
                yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")

    yield from walk(ast.parse(path.read_text(encoding="utf-8")).body, "")


def public() -> Iterator[tuple[str, Definition]]:
    """Functions and classes that ``gpuseg.__all__`` names, with the public methods of the classes."""
    for name, home in gpuseg._HOMES.items():
        path = ROOT / (home.replace(".", "/") + ".py")
        if home == f"gpuseg.{name}":
            continue
        for dotted, definition in definitions(path):
            if dotted == name or (dotted.startswith(f"{name}.") and "._" not in dotted):
                yield dotted, definition


def test_the_parser_reads_numpydoc():
    text = 'def f(x, *rows, k=1, **rest):\n    """Do.\n\n    Parameters\n    ----------\n    x, k : int\n'
    text += "        One : two.\n    *rows\n        Three.\n\n    Returns\n    -------\n    int\n    "
    (definition,) = ast.parse(text + '"""\n').body
    docstring = ast.get_docstring(definition)
    assert documented(docstring) == ["x", "k", "rows"]
    assert parameters(definition) == ["x", "rows", "k", "rest"]
    assert section(docstring, "Returns") == ["int"]
    assert section(docstring, "Raises") is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parameters_sections_equal_signatures(path):
    for name, definition in definitions(path):
        names = documented(ast.get_docstring(definition) or "")
        if names is not None:
            assert sorted(names) == sorted(parameters(definition)), f"{path.name}: {name}"


def test_public_names_document_their_parameters():
    seen = {name for name, _ in public()}
    assert {name for name, home in gpuseg._HOMES.items() if home != f"gpuseg.{name}"} <= seen
    for name, definition in public():
        docstring = ast.get_docstring(definition) or ""
        assert docstring, name
        wanted = parameters(definition)
        is_property = any("property" in ast.unparse(decorator) for decorator in definition.decorator_list)
        if wanted and not is_property:
            assert sorted(documented(docstring) or []) == sorted(wanted), name


def test_public_functions_say_what_they_return():
    for name, definition in public():
        if isinstance(definition, ast.FunctionDef) and "." not in name:
            assert section(ast.get_docstring(definition) or "", "Returns"), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_which_room_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
