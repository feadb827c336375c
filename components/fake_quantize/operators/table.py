"""How TFLite's integer kernels compute TensorFlow functions. A table of names, without TensorFlow.

Measured like `components.fake_quantize.layers`, by `tests/components/fake_quantize/test_operators.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The class of layers that compute one function.
OPERATOR = "Operator"


@dataclass(frozen=True)
class FunctionRow:
    """One function of tensors.

    Attributes:
        role: `ranged` if its output has its own range, `passing` if it keeps its input's or returns integers, `fixed`
            if the kernel prescribes the range.
        in_16_bits: Whether it has a kernel for 16-bit activations.
    """

    role: Literal["ranged", "passing", "fixed"]
    in_16_bits: bool = True


_RANGED, _ONLY_8 = FunctionRow("ranged"), FunctionRow("ranged", in_16_bits=False)
_PASSING, _PASSING_8 = FunctionRow("passing"), FunctionRow("passing", in_16_bits=False)

# Public name of a function -> how its kernel works. Functions that also exist as Keras layers are rewritten as those.
FUNCTIONS: dict[str, FunctionRow] = {
    **dict.fromkeys(
        (
            *("__operators__.add", "math.add", "math.subtract", "math.multiply", "nn.bias_add"),
            *("math.reduce_mean", "math.reduce_sum", "linalg.matmul", "einsum", "math.rsqrt"),
            *("math.reduce_prod", "broadcast_to", "ones_like", "ones", "zeros", "fill"),
        ),
        _RANGED,
    ),
    **dict.fromkeys(
        (
            *("math.maximum", "math.minimum", "math.abs", "math.log", "nn.gelu"),
            *("math.squared_difference", "stack", "repeat", "roll", "where"),
        ),
        _ONLY_8,
    ),
    **dict.fromkeys(
        (
            *("reshape", "compat.v1.transpose", "compat.v1.squeeze", "expand_dims", "identity"),
            *("__operators__.getitem", "slice", "split", "stop_gradient"),
            *("image.resize", "math.reduce_max", "math.reduce_min", "nn.max_pool2d", "nn.avg_pool2d"),
            *("compat.v1.shape", "math.argmax", "math.argmin", "compat.v1.pad"),
            *("compat.v1.gather", "compat.v1.gather_nd"),
        ),
        _PASSING,
    ),
    **dict.fromkeys(
        (
            *("nn.depth_to_space", "nn.space_to_depth", "tile", "math.top_k"),
            *("math.greater", "math.greater_equal", "math.less", "math.less_equal"),
        ),
        _PASSING_8,
    ),
    "math.l2_normalize": FunctionRow("fixed", in_16_bits=False),
    "nn.log_softmax": FunctionRow("fixed", in_16_bits=False),
}
# Functions whose kernel takes several inputs, all with the scale of its output.
ONE_SCALE_FUNCTIONS = frozenset({"math.maximum", "math.minimum", "stack", "where"})
# Functions of constants, which the converter computes before it knows their range. The range must include all of them.
CONSTANTS = frozenset({"ones_like", "ones", "zeros", "fill"})
# Functions whose kernel also computes a ReLU that follows.
FUSING_FUNCTIONS = frozenset({"__operators__.add", "math.add", "math.subtract", "math.multiply"})

_REMEDIES = {
    "math.truediv": "multiply by the reciprocal, if the divisor is constant, or divide in the task's decode",
    "math.pow": "raise to the power 2 or 3, which is computed as a product",
    "cast": "declare the model's input as float32, and cast in the task's decode",
    "space_to_batch_nd": "pass the rate of tf.nn.atrous_conv2d as dilations of tf.nn.conv2d",
    "clip_by_value": "clip to constants, or use ReLU with max_value",
}


def function_remedy(function: str) -> str:
    """How to replace a function without an integer kernel."""
    fallback = "compute it in the task's decode, or write it as a registered custom layer with its own config"
    return _REMEDIES.get(function, fallback)
