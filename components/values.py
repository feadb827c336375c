"""The base of every value that crosses a border: a file, a component parameter, an artifact."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen, typed value that refuses keys it does not know."""

    # NaN and infinity are written as strings: JSON has no other way to bring them back.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="strings")
