"""What every scheme says about itself. All other code reads these facts and never asks for a scheme's class by name."""

from __future__ import annotations

from typing import ClassVar, Literal

from components.core.values import FrozenModel
from components.spec.ranges import KeepFloat, MinMax, Ranges

Granularity = Literal["per_channel", "per_tensor"]
Backend = Literal["tensorflow", "aeq"]


class BaseScheme(FrozenModel):
    """A numeric format.

    Attributes:
        weight_bits: Bits of a weight in the file: 32 and 16 are floats, 8 and 4 integers.
        activation_bits: Bits of an activation; 32 are floats.
        is_static: Whether activations are integers whose ranges are known before the model runs: measured on a
            representative dataset, or trained.
        sparse_block: Length of the blocks that TFLite's sparse kernel for fully connected layers takes in this format,
            along the input axis; None without such a kernel.
        miscomputes_sparse_blocks: Whether the runtime computes wrong values, without any error, from block-sparse
            weights in this format.
        kind: The scheme's name in a pipeline file.
    """

    weight_bits: ClassVar[Literal[4, 8, 16, 32]]
    activation_bits: ClassVar[Literal[8, 16, 32]] = 32
    is_static: ClassVar[bool] = False
    sparse_block: ClassVar[int | None] = None
    miscomputes_sparse_blocks: ClassVar[bool] = False

    kind: str

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight_bits == 32 and self.activation_bits == 32

    @property
    def is_dynamic_range(self) -> bool:
        """Whether weights are integers and activations are quantized on the fly."""
        return self.weight_bits <= 8 and not self.is_static

    @property
    def must_be_trained(self) -> bool:
        """Whether the recipe must have a step `qat`: the converter makes 4-bit weights of trained ranges only."""
        return self.weight_bits < 8

    @property
    def range_estimator(self) -> Ranges:
        """How the ranges of activations are estimated from the calibration sample."""
        return MinMax()

    @property
    def kept_float(self) -> KeepFloat | None:
        """Which layers stay float; None quantizes all of them."""
        return None

    @property
    def backend(self) -> Backend:
        """What quantizes: TensorFlow's converter can neither estimate ranges nor keep layers float."""
        plain = isinstance(self.range_estimator, MinMax) and self.kept_float is None
        return "tensorflow" if plain else "aeq"

    @property
    def integers_only(self) -> bool:
        """Whether a file of this scheme may hold no float tensor at all."""
        return False


class StaticScheme(BaseScheme):
    """Integer weights and integer activations with ranges that are known before the model runs.

    The file holds only integers, at its inputs and outputs too, unless an option says otherwise.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the whole tensor.
        float_io: Keep float32 at the model's inputs and outputs.
        float_fallback: Let operators without an integer kernel stay float.
    """

    is_static: ClassVar[bool] = True

    granularity: Granularity = "per_channel"
    float_io: bool = False
    float_fallback: bool = False

    @property
    def integers_only(self) -> bool:
        """Whether no option lets a tensor stay float."""
        return not (self.float_io or self.float_fallback or self.kept_float)


class CalibratedScheme(StaticScheme):
    """A static scheme whose ranges may be measured; those of a step `qat` go first.

    Attributes:
        keep_float: Layers to leave float: `auto`, or a list of layer names. By default, none.
    """

    keep_float: KeepFloat | None = None

    @property
    def kept_float(self) -> KeepFloat | None:
        """As the file says."""
        return self.keep_float
