"""Facts that every scheme states. All other code reads these facts and never checks a scheme's class."""

from __future__ import annotations

from typing import ClassVar, Literal

from components.core.values import FrozenModel
from components.spec.ranges import KeepFloat, MinMax, Ranges

Granularity = Literal["per_channel", "per_tensor"]
Backend = Literal["tensorflow", "aeq"]


class BaseScheme(FrozenModel):
    """A numeric format.

    Attributes:
        weight_bits: Bits of a weight in the file. 32 and 16 mean floats; 8 and 4 mean integers.
        activation_bits: Bits of an activation. 32 means floats.
        is_static: Whether activations are integers whose ranges are known before the model runs: measured on a
            representative dataset, or trained.
        sparse_block: Block length, along the input axis, of TFLite's sparse kernel for fully connected layers in this
            format; None if there is no such kernel.
        miscomputes_sparse_blocks: Whether the runtime silently computes wrong values from block-sparse weights in this
            format.
        finer_activations: Kind of the scheme that differs only in having more bits per activation, or None.
        finer_weights: Kind of the scheme to use if a weight needs more bits, or None.
        recipe_name: Name of the scheme's recipe in the files that `edgemill init` writes; None leaves it out.
        kind: The scheme's name in a pipeline file.
    """

    weight_bits: ClassVar[Literal[4, 8, 16, 32]]
    activation_bits: ClassVar[Literal[8, 16, 32]] = 32
    is_static: ClassVar[bool] = False
    sparse_block: ClassVar[int | None] = None
    miscomputes_sparse_blocks: ClassVar[bool] = False
    finer_activations: ClassVar[str | None] = None
    finer_weights: ClassVar[str | None] = None
    recipe_name: ClassVar[str | None] = None

    kind: str

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight_bits == 32 and self.activation_bits == 32

    @property
    def is_dynamic_range(self) -> bool:
        """Whether weights are integers and activations are quantized at run time."""
        return self.weight_bits <= 8 and not self.is_static

    @property
    def must_be_trained(self) -> bool:
        """Whether the recipe needs a step `qat`, because the converter writes 4-bit weights only for trained ranges."""
        return self.weight_bits < 8

    @property
    def range_estimator(self) -> Ranges:
        """How the ranges of activations are estimated from the calibration sample."""
        return MinMax()

    @property
    def kept_float(self) -> KeepFloat | None:
        """Which layers stay in float; None quantizes all of them."""
        return None

    @property
    def backend(self) -> Backend:
        """The quantizer to use. TensorFlow's converter can neither estimate ranges nor keep layers in float."""
        plain = isinstance(self.range_estimator, MinMax) and self.kept_float is None
        return "tensorflow" if plain else "aeq"

    @property
    def integers_only(self) -> bool:
        """Whether a file of this scheme must not have any float tensor."""
        return False


class StaticScheme(BaseScheme):
    """Integer weights and integer activations with ranges that are known before the model runs.

    The file contains only integers, including its inputs and outputs, unless an option says otherwise.

    Attributes:
        granularity: One scale for each channel of a convolution's weights, or one for the complete tensor.
        float_io: Keep float32 at the model's inputs and outputs.
        float_fallback: Leave operators without an integer kernel in float.
    """

    is_static: ClassVar[bool] = True

    granularity: Granularity = "per_channel"
    float_io: bool = False
    float_fallback: bool = False

    @property
    def integers_only(self) -> bool:
        """Whether no option allows float tensors."""
        return not (self.float_io or self.float_fallback or self.kept_float)


class CalibratedScheme(StaticScheme):
    """A static scheme whose ranges can be calibrated. Ranges of a step `qat` take precedence.

    Attributes:
        keep_float: Layers to keep in float: `auto`, or a list of layer names. By default, none.
    """

    keep_float: KeepFloat | None = None

    @property
    def kept_float(self) -> KeepFloat | None:
        """See `Scheme`."""
        return self.keep_float
