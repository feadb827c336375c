"""Dynamic range schemes: integer weights, and activations quantized while the model runs."""

from __future__ import annotations

from typing import ClassVar, Literal

from components.spec.schemes.base import BaseScheme, Granularity


class DynamicWi8Afp32(BaseScheme):
    """Dynamic range: int8 weights, activations quantized at run time, float input and output. Needs no calibration.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the complete tensor.
    """

    weight_bits: ClassVar[Literal[8]] = 8
    miscomputes_sparse_blocks: ClassVar[bool] = True  # Under XNNPACK.
    finer_weights: ClassVar[str | None] = "float16"
    recipe_name: ClassVar[str | None] = "dynamic"

    kind: Literal["dynamic_wi8_afp32"] = "dynamic_wi8_afp32"
    granularity: Granularity = "per_channel"
