"""JSON schemas of YAML and JSON files, with a description of each field, for editors, programs, and reference pages."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

_SECTION = re.compile(r"^(Attributes|Args|Returns|Raises):$", re.MULTILINE)
# A field, or several fields with one description, at the first level of the section.
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*):(.*(?:\n(?: {5,}.*)?)*)", re.MULTILINE)


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a file's root type, whose docstring describes its fields in a section `Attributes:`."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **kind.model_json_schema(schema_generator=_Described)}


def schema_of_written(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a file that a run writes, as for `schema_of`.

    Numbers that JSON lacks are strings. Fields that a later version adds are valid too.
    """
    return {"$schema": GenerateJsonSchema.schema_dialect, **kind.model_json_schema(schema_generator=_Written)}


class _Described(GenerateJsonSchema):
    """Copies the descriptions of fields from class docstrings to the fields."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        kind = schema["cls"]
        found = super().model_schema(schema)
        described = self.resolve_ref_schema(found)
        if "description" in described:
            described["description"] = summary(kind)
        texts = field_descriptions(kind)
        for name, field in kind.model_fields.items():
            properties = described.get("properties", {})
            if name in texts:
                properties[field.alias or name]["description"] = texts[name]
        return found


class _Written(_Described):
    """Describes values as `components.core.values.FrozenModel` writes them."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        found = super().float_schema(schema)
        if schema.get("allow_inf_nan") is False:
            return found
        return {"anyOf": [found, {"enum": ["NaN", "Infinity", "-Infinity"]}]}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        self.resolve_ref_schema(found).pop("additionalProperties", None)
        return found


def summary(kind: type[BaseModel]) -> str:
    """Return a class docstring without its sections, with each paragraph on one line."""
    text = _SECTION.split(inspect.cleandoc(kind.__doc__ or ""))[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def field_descriptions(kind: type[BaseModel]) -> dict[str, str]:
    """Map fields to their descriptions in the `Attributes:` sections of a class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        sections = _SECTION.split(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
        for title, text in zip(sections[1::2], sections[2::2], strict=True):
            if title == "Attributes":
                for names, description in _ENTRY.findall(text):
                    found |= dict.fromkeys(names.split(", "), " ".join(description.split()))
    return found
