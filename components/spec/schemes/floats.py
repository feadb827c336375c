"""Float schemes: no integers anywhere."""

from __future__ import annotations

from typing import ClassVar, Literal

from components.spec.schemes.base import BaseScheme


class Float32(BaseScheme):
    """No quantization: the float model as a TFLite file."""

    weight_bits: ClassVar[Literal[32]] = 32
    sparse_block: ClassVar[int | None] = 4

    kind: Literal["float32"] = "float32"


class Float16(BaseScheme):
    """Weights stored as float16 and computed as float32: half the size, and almost the accuracy of float32."""

    weight_bits: ClassVar[Literal[16]] = 16

    kind: Literal["float16"] = "float16"
