"""Quantization schemes: the numeric format of a candidate, as a closed set of typed values.

The names follow ai-edge-quantizer's grammar: `<dynamic|static>_w<bits of weights>_a<bits of activations>`. A
scheme has no field for an option that doesn't apply to it, so invalid combinations can't be expressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field

from components.spec.ranges import from_kind
from components.spec.schemes.base import BaseScheme, CalibratedScheme, Granularity, StaticScheme
from components.spec.schemes.dynamic_range import DynamicWi8Afp32
from components.spec.schemes.floats import Float16, Float32
from components.spec.schemes.static import StaticWi4Ai8, StaticWi8Ai8, StaticWi8Ai16

__all__ = [
    "SCHEMES",
    "AnyScheme",
    "BaseScheme",
    "CalibratedScheme",
    "DynamicWi8Afp32",
    "Float16",
    "Float32",
    "Form",
    "Granularity",
    "Scheme",
    "SchemeKind",
    "StaticScheme",
    "StaticWi4Ai8",
    "StaticWi8Ai8",
    "StaticWi8Ai16",
    "static_kinds",
]

# Add a new scheme here. Its class states all facts about it.
AnyScheme = Float32 | Float16 | DynamicWi8Afp32 | StaticWi8Ai8 | StaticWi8Ai16 | StaticWi4Ai8

# How recurrent layers are lowered. `streaming`: a model of one time step with its state as inputs and outputs;
# `sequence`: one graph over all time steps.
Form = Literal["streaming", "sequence"]

SCHEMES: dict[str, type[BaseScheme]] = {
    get_args(scheme.model_fields["kind"].annotation)[0]: scheme for scheme in get_args(AnyScheme)
}
if TYPE_CHECKING:
    SchemeKind: TypeAlias = str
else:
    SchemeKind = Literal[tuple(SCHEMES)]


_ByKind = Annotated[AnyScheme, Field(discriminator="kind")]
Scheme = Annotated[_ByKind, BeforeValidator(from_kind, json_schema_input_type=SchemeKind | _ByKind)]


def static_kinds() -> str:
    """The kinds of all static schemes, as a phrase."""
    *others, last = (kind for kind, scheme in SCHEMES.items() if scheme.is_static)
    return f"{', '.join(others)} or {last}"
