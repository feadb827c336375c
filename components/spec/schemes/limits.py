"""Lists what can't be converted in which format. Checks, steps, and plans read this table. Doesn't import TensorFlow.

Measured with TensorFlow 2.16 and 2.21, whose tables differ. `tests/pipelines/checks/test_limits.py` compares every row
with the installed converter: a row that the converter accepts is wrong.
`tests/components/fake_quantize/test_layer_table.py` does so for training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from components.core.version import library_version

# In dynamic range quantization, smaller weights stay in float (the converter's `minimum_elements_for_weights`).
DYNAMIC_MINIMUM_ELEMENTS = 1024


@dataclass(frozen=True)
class OperatorLimit:
    """The formats without a kernel for a TFLite operator, if the converter measures ranges.

    Attributes:
        name: The builtin operator (`PRELU`).
        float_in_8_bits: The converter leaves it in float between 8-bit integers.
        refused_in_16_bits: The converter refuses it in 16 bits, even if it only computes indices.
        not_run_in_16_bits: The converter writes it with 16-bit activations, but the runtime has no kernel for them.
        remedy: What to use instead.
    """

    name: str
    float_in_8_bits: bool = False
    refused_in_16_bits: bool = False
    not_run_in_16_bits: bool = False
    remedy: str = "replace the layer or function that computes it"


_REMEDIES = {
    "CONV_3D": "use Conv2D",
    "CONV_3D_TRANSPOSE": "use Conv2DTranspose",
    "DEPTH_TO_SPACE": "use Conv2DTranspose or UpSampling2D",
    "DIV": "multiply by the reciprocal, if the divisor is constant",
    "ELU": "use ReLU or LeakyReLU",
    "GELU": "use ReLU or swish",
    "HARD_SWISH": "use ReLU6 or swish",
    "PADV2": "pad with zeros",
    "PRELU": "use ReLU or LeakyReLU",
    **dict.fromkeys(("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM"), "draw random numbers only if `training` is true"),
    "SPACE_TO_DEPTH": "use a Conv2D with strides",
    "SQUARE": "multiply the tensor by itself",
    "SQUARED_DIFFERENCE": "use BatchNormalization instead of LayerNormalization",
    "TILE": "use Concatenate",
}
_NO_INTEGERS = (
    *("ATAN2", "BUCKETIZE", "CEIL", "COMPLEX_ABS", "CONV_3D", "CONV_3D_TRANSPOSE", "COS", "CUMSUM", "DIV", "ELU"),
    *("FLOOR", "FLOOR_DIV", "FLOOR_MOD", "LOCAL_RESPONSE_NORMALIZATION", "NEG", "NOT_EQUAL", "POW"),
    *(
        "RANDOM_STANDARD_NORMAL",
        "RANDOM_UNIFORM",
        "RFFT2D",
        "ROUND",
        "SEGMENT_SUM",
        "SIGN",
        "SIN",
        "SQRT",
        "SQUARE",
        "ZEROS_LIKE",
    ),
)
_REFUSED_IN_16_BITS = (
    *("ARG_MAX", "ARG_MIN", "CAST", "DEPTH_TO_SPACE", "EQUAL", "GREATER", "GREATER_EQUAL", "HARD_SWISH"),
    *("L2_NORMALIZATION", "LESS", "LESS_EQUAL", "LOG_SOFTMAX", "ONE_HOT", "PRELU", "SELECT_V2", "SPACE_TO_DEPTH"),
    *("TOPK_V2",),
)
_NOT_RUN_IN_16_BITS = ["GELU", "PADV2", "SCATTER_ND", "SQUARED_DIFFERENCE", "TILE"]


# For TensorFlow 2.21: operators that it quantizes in 8 bits, runs in 16 bits, or replaces with other operators.
_IN_8_BITS_SINCE_2_21 = frozenset({"DIV", "SQRT"})
_RUN_IN_16_BITS_SINCE_2_21 = frozenset({"GELU"})
_CONVERTED_SINCE_2_21 = frozenset({"Softsign"})


def _row(name: str, **fails: bool) -> OperatorLimit:
    return OperatorLimit(name, **fails, remedy=_REMEDIES.get(name, OperatorLimit.remedy))


def operator_limits(tensorflow: str) -> dict[str, OperatorLimit]:
    """Return the formats that each TFLite operator rules out.

    Args:
        tensorflow: The version of TensorFlow, such as `2.16.2`.
    """
    newer = _is_at_least_2_21(tensorflow)
    rows = (
        *(_row(name, float_in_8_bits=True, refused_in_16_bits=True) for name in _NO_INTEGERS),
        *(_row(name, refused_in_16_bits=True) for name in _REFUSED_IN_16_BITS),
        *(_row(name, not_run_in_16_bits=True) for name in _NOT_RUN_IN_16_BITS),
    )
    return {
        row.name: replace(
            row,
            float_in_8_bits=row.float_in_8_bits and not (newer and row.name in _IN_8_BITS_SINCE_2_21),
            not_run_in_16_bits=row.not_run_in_16_bits and not (newer and row.name in _RUN_IN_16_BITS_SINCE_2_21),
        )
        for row in rows
    }


def _is_at_least_2_21(tensorflow: str) -> bool:
    return tuple(int(part) for part in tensorflow.split(".")[:2]) >= (2, 21)


_TENSORFLOW = library_version("tensorflow") or "2.16"
# TFLite operator -> the formats that it rules out.
OPERATORS = operator_limits(_TENSORFLOW)

_WITHOUT_OPERATOR = {
    "Acos": "compute it in the task's decode",
    "Atan": "compute it in the task's decode",
    "AvgPool3D": "use a Conv3D with strides, or pool in two dimensions",
    "Cosh": "write it with tf.exp",
    "DenseBincount": "use tf.one_hot instead of CategoryEncoding",
    "Erf": "use tf.nn.gelu or tanh",
    "LookupTableFindV2": "look keys up in the task's decode",
    "MaxPool3D": "use a Conv3D with strides, or pool in two dimensions",
    "Sinh": "write it with tf.exp",
    "Softsign": "use tanh",
    "StringToHashBucketFast": "hash in the task's decode",
    "Tan": "write it with tf.sin and tf.cos",
}
# TensorFlow operation without a TFLite operator -> what to use instead. It rules out every format.
WITHOUT_OPERATOR: dict[str, str] = {
    name: remedy
    for name, remedy in _WITHOUT_OPERATOR.items()
    if not (_is_at_least_2_21(_TENSORFLOW) and name in _CONVERTED_SINCE_2_21)
}

# Layers that train under quantization: kinds and activations without a kernel for the bits that are trained.
TRAINED_NOT_IN_16_BITS = frozenset({"Concatenate", "RepeatVector", "Conv2DTranspose", "gelu"})
TRAINED_NOT_IN_4_BITS = frozenset({"Conv2DTranspose"})

# Property of a format -> why the fused LSTM rules it out.
LSTM_NOT_IN_16_BITS = "the fused LSTM has no kernel for 16-bit activations"
LSTM_NOT_IN_4_BITS = "the fused LSTM has no kernel for 4-bit weights"
# Why a layer unrolled over a sequence rules out 16 bits.
UNROLLED_NOT_IN_16_BITS = (
    "in a layer unrolled over a sequence, the converter leaves weights that time steps share as floats if activations "
    "have 16 bits"
)
