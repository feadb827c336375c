"""Static schemes: integer weights and activations, with ranges known before the model runs."""

from __future__ import annotations

from typing import ClassVar, Literal

from components.spec.ranges import MinMax, Ranges, Ranges8, Ranges16
from components.spec.schemes.base import CalibratedScheme, StaticScheme


class StaticWi8Ai8(CalibratedScheme):
    """int8 weights and activations with calibrated or trained ranges (Jacob et al. 2018, arXiv:1712.05877).

    Attributes:
        calibration_method: How to estimate the ranges of activations from the calibration sample.
    """

    weight_bits: ClassVar[Literal[8]] = 8
    activation_bits: ClassVar[Literal[8]] = 8
    sparse_block: ClassVar[int | None] = 16
    finer_activations: ClassVar[str | None] = "static_wi8_ai16"
    recipe_name: ClassVar[str | None] = "int8"

    kind: Literal["static_wi8_ai8"] = "static_wi8_ai8"
    calibration_method: Ranges8 = MinMax()

    @property
    def range_estimator(self) -> Ranges:
        """See `Scheme`."""
        return self.calibration_method


class StaticWi8Ai16(CalibratedScheme):
    """int8 weights and int16 activations with symmetric calibrated or trained ranges ("16x8").

    Attributes:
        calibration_method: How to estimate the ranges of activations from the calibration sample.
    """

    weight_bits: ClassVar[Literal[8]] = 8
    activation_bits: ClassVar[Literal[16]] = 16
    recipe_name: ClassVar[str | None] = "int16x8"

    kind: Literal["static_wi8_ai16"] = "static_wi8_ai16"
    calibration_method: Ranges16 = MinMax()

    @property
    def range_estimator(self) -> Ranges:
        """See `Scheme`."""
        return self.calibration_method


class StaticWi4Ai8(StaticScheme):
    """int4 weights, stored two per byte, and int8 activations with trained ranges. Needs a `qat` step."""

    weight_bits: ClassVar[Literal[4]] = 4
    activation_bits: ClassVar[Literal[8]] = 8
    finer_weights: ClassVar[str | None] = "static_wi8_ai8"

    kind: Literal["static_wi4_ai8"] = "static_wi4_ai8"
