"""Quantization schemes: the numeric format of a candidate, as a closed set of typed values.

The names follow ai-edge-quantizer's grammar: `<dynamic|static>_w<bits of weights>_a<bits of activations>`. An option
that makes no sense for a scheme is not a field of it, so an illegal combination cannot be written down.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from components.core.values import FrozenModel
from components.spec.ranges import KeepFloat, MinMax, Ranges8, Ranges16

Granularity = Literal["per_channel", "per_tensor"]


class Float32(FrozenModel):
    """No quantization: the float model as a TFLite file."""

    kind: Literal["float32"] = "float32"


class Float16(FrozenModel):
    """Weights stored as float16 and computed as float32: half the size at almost the accuracy of float32."""

    kind: Literal["float16"] = "float16"


class DynamicWi8Afp32(FrozenModel):
    """Dynamic range: int8 weights, activations quantized at run time, float input and output. Needs no calibration.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the whole tensor.
    """

    kind: Literal["dynamic_wi8_afp32"] = "dynamic_wi8_afp32"
    granularity: Granularity = "per_channel"


class StaticWi8Ai8(FrozenModel):
    """int8 weights and activations with calibrated or trained ranges (Jacob et al. 2018, arXiv:1712.05877).

    The file holds only integers, at its inputs and outputs too, unless an option says otherwise.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the whole tensor.
        float_io: Keep float32 at the model's inputs and outputs.
        float_fallback: Let operators without an integer kernel stay float.
        calibration_method: How to estimate the ranges of activations from the calibration sample.
        keep_float: Layers to leave float: `auto`, or a list of layer names. By default, none.
    """

    kind: Literal["static_wi8_ai8"] = "static_wi8_ai8"
    granularity: Granularity = "per_channel"
    float_io: bool = False
    float_fallback: bool = False
    calibration_method: Ranges8 = MinMax()
    keep_float: KeepFloat | None = None


class StaticWi8Ai16(FrozenModel):
    """int8 weights and int16 activations with symmetric calibrated or trained ranges ("16x8").

    The file holds only integers, at its inputs and outputs too, unless an option says otherwise.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the whole tensor.
        float_io: Keep float32 at the model's inputs and outputs.
        float_fallback: Let operators without an integer kernel stay float.
        calibration_method: How to estimate the ranges of activations from the calibration sample.
        keep_float: Layers to leave float: `auto`, or a list of layer names. By default, none.
    """

    kind: Literal["static_wi8_ai16"] = "static_wi8_ai16"
    granularity: Granularity = "per_channel"
    float_io: bool = False
    float_fallback: bool = False
    calibration_method: Ranges16 = MinMax()
    keep_float: KeepFloat | None = None


class StaticWi4Ai8(FrozenModel):
    """int4 weights, stored two in a byte, and int8 activations with trained ranges. Needs a `qat` step.

    The file holds only integers, at its inputs and outputs too, unless an option says otherwise.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the whole tensor.
        float_io: Keep float32 at the model's inputs and outputs.
        float_fallback: Let operators without an integer kernel stay float.
    """

    kind: Literal["static_wi4_ai8"] = "static_wi4_ai8"
    granularity: Granularity = "per_channel"
    float_io: bool = False
    float_fallback: bool = False


def _from_name(value: Any) -> Any:
    """`static_wi8_ai8` is short for `{kind: static_wi8_ai8}`."""
    return {"kind": value} if isinstance(value, str) else value


SchemeKind = Literal["float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16", "static_wi4_ai8"]

# Those whose activations are integers with ranges that are known before the model runs.
StaticScheme = StaticWi8Ai8 | StaticWi8Ai16 | StaticWi4Ai8

_AnyScheme = Annotated[Float32 | Float16 | DynamicWi8Afp32 | StaticScheme, Field(discriminator="kind")]
Scheme = Annotated[_AnyScheme, BeforeValidator(_from_name, json_schema_input_type=SchemeKind | _AnyScheme)]


def needs_ranges(scheme: Scheme) -> bool:
    """Whether activations need ranges before conversion: calibrated on a representative dataset, or trained."""
    return isinstance(scheme, StaticScheme)


def uses_aeq(scheme: Scheme) -> bool:
    """Whether ranges are estimated, or layers kept float, by us: TensorFlow's converter can do neither."""
    return isinstance(scheme, StaticWi8Ai8 | StaticWi8Ai16) and (
        not isinstance(scheme.calibration_method, MinMax) or scheme.keep_float is not None
    )


def promises_integers_only(scheme: Scheme) -> bool:
    """Whether a file of this scheme may hold no float tensor at all."""
    kept = getattr(scheme, "keep_float", None) is not None
    return isinstance(scheme, StaticScheme) and not (scheme.float_io or scheme.float_fallback or kept)
