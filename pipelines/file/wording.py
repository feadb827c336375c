"""Converts pydantic's errors to messages for users: the field, what was expected and found, and how to fix it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from components.core.errors import SpecError, one_of
from components.spec.registry import SHAPES
from pipelines.file.redaction import may_hold_secret

# Field names from earlier versions.
_RENAMED = {"ranges": "calibration_method", "centroids": "num_clusters", "max_step_error": "max_state_error"}


# Keyword of a JSON schema that limits numbers -> pydantic's type of the error -> its wording.
_RANGES = {
    "exclusiveMinimum": "greater_than",
    "minimum": "greater_than_equal",
    "exclusiveMaximum": "less_than",
    "maximum": "less_than_equal",
}
_IN_WORDS = {
    "greater_than": "above",
    "greater_than_equal": "of at least",
    "less_than": "below",
    "less_than_equal": "of at most",
}
_QUOTED = re.compile(r"'([^']*)'")


def all_in_words(details: Sequence[Any], kind: type[Any]) -> list[SpecError]:
    """Convert the `ValidationError.errors()` of a type, except for errors that only follow from others."""

    def follows(detail: Any) -> bool:
        # pydantic doesn't count invalid items, and therefore reports too few items.
        place = detail["loc"]
        return detail["type"] == "too_short" and any(
            len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in details
        )

    schema = TypeAdapter(kind).json_schema()
    return [in_words(detail, kind) for detail in _one_of_each_union(details, schema) if not follows(detail)]


def _one_of_each_union(details: Sequence[Any], schema: Any) -> list[Any]:
    """For a value that fits no type of a union, such as a number or `all`, keep only the error for the closest type."""
    found: dict[Any, Any] = {}
    for number, detail in enumerate(details):
        place = detail["loc"]
        if not place or not _chooses(place, schema):
            found[number] = detail
            continue
        held = found.get(place[:-1])
        # Text is closest to a name, and everything else to another type.
        if held is None or isinstance(detail["input"], str) == (detail["type"] == "literal_error"):
            found[place[:-1]] = {**detail, "loc": place[:-1]}
    return list(found.values())


def _chooses(location: tuple[int | str, ...], schema: Any) -> bool:
    """Whether the last part of a location is a type of a union without kinds instead of a field."""
    *_, nodes = [schema], *(below for *_, below in _walk(location[:-1], schema))
    held = list(_alternatives(nodes, schema))
    named = any("properties" in node or "additionalProperties" in node or "items" in node for node in held)
    return isinstance(location[-1], str) and len(held) > 1 and not named


def in_words(detail: Any, kind: type[Any]) -> SpecError:
    """Convert one of `ValidationError.errors()` to a SpecError that lists fields of the validated type."""
    schema = TypeAdapter(kind).json_schema()
    location = tuple(part for part in detail["loc"] if part not in SHAPES)
    where = _field_path(location, schema)
    value = detail["input"]
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            name = str(location[-1])
            known = _known_fields(schema, location[:-1])
            renamed = _RENAMED.get(name)
            if renamed in known:
                return SpecError(
                    f"this field is now called {renamed!r}",
                    where=where,
                    remedy=f"write `{renamed}` instead of `{name}`",
                )
            return SpecError(
                f"unknown field {name!r}{nearest(name, known)}",
                where=where,
                bound=one_of(known) if known else None,
                remedy="correct or remove it",
            )
        case "missing":
            return SpecError("this field is required", where=where, remedy="add it; see `edgemill schema`")
        case "union_tag_invalid":
            tags = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
            tag = str(context["tag"])
            return SpecError(
                f"unknown value {tag!r}{nearest(tag, tags)}",
                where=where,
                bound=one_of(tags),
                measured=tag,
                remedy="correct the name",
            )
        case "union_tag_not_found":
            return SpecError("the field `kind` is missing", where=where, measured=value, remedy="add `kind: ...`")
        case "value_error":
            return SpecError(str(context["error"]), where=where, measured=_short(value), remedy="correct this field")
        case "string_pattern_mismatch":
            return SpecError(
                "this text does not match the pattern",
                where=where,
                bound=f"the pattern {context['pattern']}",
                measured=None if may_hold_secret(value) else value,
                remedy="use only the characters that the pattern allows",
            )
        case kind if kind in _RANGES.values():
            return _as_pydantic_says(detail, where, remedy=f"write a number {_range(detail, schema)}")
        case "finite_number":
            return _as_pydantic_says(detail, where, remedy="write a finite number, or remove the field")
        case "literal_error":
            names = _QUOTED.findall(context["expected"])
            near = nearest(value, names) if isinstance(value, str) else ""
            return _as_pydantic_says(detail, where, near, remedy="write one of these")
        case _:
            return _as_pydantic_says(detail, where, remedy="use a value of the expected type; see `edgemill schema`")


def _as_pydantic_says(detail: Any, where: str, suggestion: str = "", *, remedy: str) -> SpecError:
    message = detail["msg"][:1].lower() + detail["msg"][1:] + suggestion
    return SpecError(message, where=where, measured=_short(detail["input"]), remedy=remedy)


def _range(detail: Any, schema: Any) -> str:
    """The complete range of the number that an error is about, such as `above 0 and at most 1,000,000`."""
    *_, nodes = [schema], *(below for *_, below in _walk(detail["loc"], schema))
    limits = {name: node[name] for node in _alternatives(nodes, schema) for name in _RANGES if name in node}
    if not limits:
        return f"{_IN_WORDS[detail['type']]} {next(iter(detail['ctx'].values())):,}"
    return " and ".join(f"{_IN_WORDS[_RANGES[name]]} {limits[name]:,}" for name in _RANGES if name in limits)


def _field_path(location: tuple[int | str, ...], schema: Any) -> str:
    path = ""
    for index, (part, is_field, _) in enumerate(_walk(location, schema), 1):
        if isinstance(part, int):
            path += f"[{part}]"
        elif is_field or index == len(location):
            path += f".{part}" if path else part
    return path or "the file"


def _known_fields(schema: Any, location: tuple[int | str, ...]) -> list[str]:
    """List the fields that the JSON schema allows at a location in the file."""
    *_, nodes = [schema], *(below for *_, below in _walk(location, schema))
    members = _members(nodes, schema)
    return sorted({name for node in members for name in node.get("properties", {})})


def _walk(location: tuple[int | str, ...], schema: Any) -> Iterator[tuple[int | str, bool, list[Any]]]:
    """Yield each part of a location, whether it is a field or an index in the file, and the schemas below it.

    pydantic's locations include the chosen member of a union. That is a kind, not a field, even if a field has the
    same name.
    """
    nodes = [schema]
    chosen: list[Any] = []
    for part in location:
        members = _members(nodes, schema)
        kinds = [node for node in members if node.get("properties", {}).get("kind", {}).get("const") == part]
        # A kind is followed by a field, which can have the same name.
        chosen = kinds if not chosen else []
        if isinstance(part, int):
            nodes = [node["items"] for node in members if "items" in node]
        elif chosen:
            nodes = chosen
        else:
            nodes = [node["properties"][part] for node in members if part in node.get("properties", {})]
        yield part, bool(nodes) and not chosen, nodes


def _members(nodes: list[Any], schema: Any) -> list[Any]:
    """Resolve references and unions to plain schemas of objects and arrays."""
    return [node for node in _alternatives(nodes, schema) if "properties" in node or "items" in node]


def _alternatives(nodes: list[Any], schema: Any) -> Iterator[Any]:
    """Yield schemas, and the schemas that they refer to or combine in unions."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if "$ref" in node:
            waiting.append(schema["$defs"][node["$ref"].rpartition("/")[2]])
        waiting.extend(node.get("oneOf", []) + node.get("anyOf", []))
        yield node


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name closest to `name`; empty if none is similar."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
