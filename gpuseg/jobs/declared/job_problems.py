"""What is wrong with a job file, in sentences (jobs, called by job_file): key, line, value, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from gpuseg.jobs.declared.job_yaml import Place, Written

_WANTED = {
    "string_type": "text; put quotes around it",
    "string_too_short": "some text",
    "string_pattern_mismatch": "letters, digits, - _ and . (64 at most, a letter or digit first)",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list, such as [a, b]",
    "tuple_type": "a list, such as [a, b]",
    "too_short": "a longer list",
    "too_long": "a shorter list",
    "dict_type": "a section with keys",
    "model_type": "a section with keys",
    "model_attributes_type": "a section with keys",
}
_BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
_SIGNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def refuse(problems: list[str]) -> None:
    """Raise for a section that contradicts itself: several sentences in one error.

    Raises
    ------
    PydanticCustomError
        If there is any problem.
    """
    if problems:
        raise PydanticCustomError(
            "contradiction", "{text}", {"text": "; ".join(problems), "problems": problems}
        )


def problem_sentences(error: ValidationError, written: Written, model: type[BaseModel]) -> list[str]:
    """A sentence for each thing that is wrong, in the order of the lines.

    Parameters
    ----------
    error : ValidationError
        From pydantic.
    written : Written
        The file.
    model : type of BaseModel
        What the file should be.
    """
    found: dict[str, int] = {}
    for detail in error.errors(include_url=False):
        place = tuple(part for part in detail["loc"] if not str(part).startswith("["))
        for sentence in _sentences(detail, place, written, model):
            found.setdefault(sentence, written.line(place) or 0)
    return sorted(found, key=lambda sentence: found[sentence])


def _sentences(detail: ErrorDetails, place: Place, written: Written, model: type[BaseModel]) -> Iterator[str]:
    line = written.line(place)
    at = f" (line {line})" if line else ""
    name = ".".join(map(str, place))
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_of(model, place[:-1])
        yield f"unknown key {name!r}{at}; {nearest(str(place[-1]), known)}"
    elif kind == "missing":
        yield f"{name!r} is missing{at}; {_description(model, place)}"
    elif kind == "contradiction":
        yield from (f"{name}{at}: {problem}" if name else problem for problem in context["problems"])
    elif kind == "literal_error":
        known = [piece.strip("'") for piece in context["expected"].replace(" or ", ", ").split(", ")]
        yield f"{name!r} is {detail['input']!r}{at}; {nearest(str(detail['input']), known)}"
    elif kind == "value_error":
        yield f"{name}{at}: {context['error']}"
    elif kind in _BOUNDS:
        bound = _BOUNDS[kind]
        yield f"{name!r} is {detail['input']!r}{at}; it must be {_SIGNS[bound]} {context[bound]}"
    else:
        wanted = _WANTED.get(kind, detail["msg"])
        yield f"{name!r} is {_shown(detail['input'])}{at}; it must be {wanted}"


def nearest(wrong: str, known: list[str]) -> str:
    """The remedy for a misspelt name: the nearest known one, or all of them."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(wrong.casefold(), list(folded), n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]!r}?" if close else f"known here: {', '.join(known)}"


def _shown(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _description(model: type[BaseModel], place: Place) -> str:
    owner = _model_at(model, place[:-1])
    field = owner.model_fields.get(str(place[-1])) if owner else None
    return (field.description if field and field.description else "it is needed").rstrip(".")


def _keys_of(model: type[BaseModel], place: Place) -> list[str]:
    owner = _model_at(model, place)
    return list(owner.model_fields) if owner else []


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """The section's model at a place; None inside free mappings."""
    for part in place:
        field = model.model_fields.get(str(part))
        inner = _section(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    options: Mapping[Any, None] = dict.fromkeys(get_args(annotation))
    return next((found for option in options if (found := _section(option)) is not None), None)
