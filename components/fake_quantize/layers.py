"""How TFLite's integer kernels compute each kind of Keras layer. A table of names, without TensorFlow.

Measured with TensorFlow 2.16 by converting each layer alone after training under fake quantization, and comparing the
file's output with the layer's. `tests/components/fake_quantize/test_layer_table.py` repeats the measurement.
"""

from __future__ import annotations

from typing import Literal

from components.fake_quantize.operators.table import FUNCTIONS, ONE_SCALE_FUNCTIONS, OPERATOR, function_remedy

# Weight attribute and the axes with scales. Weights of dense layers and transposed convolutions are per tensor.
WEIGHTED: dict[str, tuple[str, tuple[int, ...]]] = {
    "Dense": ("kernel", ()),
    "Conv2D": ("kernel", (-1,)),
    "DepthwiseConv2D": ("depthwise_kernel", (-2, -1)),
    "Conv2DTranspose": ("kernel", ()),
    "Embedding": ("embeddings", ()),
}
# Weights with the scale of the output.
LOOKED_UP = frozenset({"Embedding"})

# Layers whose output has its own range.
RANGED = frozenset(
    {
        *("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Concatenate"),
        *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "LeakyReLU", "ReLU"),
    }
)
# Layers whose kernel takes several inputs, all with the scale of its output.
ONE_SCALE = frozenset({"Maximum", "Minimum", "Concatenate"})
# Layers whose kernel keeps the range of its input, or that do nothing outside training.
PASSING = frozenset(
    {
        *("Flatten", "Reshape", "Permute", "UpSampling2D", "RepeatVector"),
        *("MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"),
        *("AveragePooling1D", "AveragePooling2D"),
        *("ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D"),
        *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
        *("ActivityRegularization", "StochasticDepth", "Resizing", "CenterCrop"),
        *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness"),
    }
)
# Activations that the preceding kernel can compute: only the result needs a range.
FUSED_ACTIVATIONS = frozenset({"relu", "relu6"})
FUSING = frozenset({*WEIGHTED, "Add", "Subtract", "Multiply", "BatchNormalization"})
# Activations whose output range the kernel prescribes.
FIXED_ACTIVATIONS = frozenset({"sigmoid", "tanh", "softmax"})
# The smallest and largest value that these 8-bit kernels return, by class, or by function. Scales are 1/256 and 1/128.
FIXED_RANGES = {
    **dict.fromkeys(("sigmoid", "softmax", "Softmax"), (0.0, 255 / 256)),
    **dict.fromkeys(("tanh", "math.l2_normalize"), (-1.0, 127 / 128)),
}
RANGED_ACTIVATIONS = frozenset({"relu", "relu6", "gelu", "exponential"})
NO_ACTIVATION = "linear"
ATTENTION = frozenset({"MultiHeadAttention", "Attention", "AdditiveAttention"})
# Layers that create masks.
MASKING = frozenset({"Embedding", "Masking"})
# Layers that compute with the mask of their inputs, besides recurrent layers.
USING_MASKS = ATTENTION | {"GlobalAveragePooling1D", "Softmax"}

_REMEDIES = {
    "LayerNormalization": "normalize along axes of a fixed length",
    **dict.fromkeys(
        ATTENTION,
        "call it on sequences of vectors, without a mask other than a causal one, and without returning its scores",
    ),
    "Lambda": "use only TensorFlow functions and layers in it, or write it as a custom layer, registered with "
    "register_keras_serializable, and give it a config",
    "Normalization": "normalize along the last axis (axis=-1)",
    "GroupNormalization": "normalize along the last axis (axis=-1), in a model whose input has a fixed shape",
    "PReLU": "share the slopes along all axes but the last, or along none",
    "Masking": "remove it, and train on padded sequences as they are",
}
_ACTIVATION_REMEDY = "use relu, relu6, leaky ReLU, swish, gelu, elu, sigmoid, tanh, or softmax"

Role = Literal["weighted", "ranged", "passing", "fixed", "batch_norm", "recurrent", "unknown"]

# The class that recurrent layers are rewritten to.
INTEGER_RECURRENT = "IntegerRecurrent"


def role_of(kind: str, activation: str | None = None) -> Role:
    """The role of a layer in quantization.

    Args:
        kind: Class name of the layer.
        activation: For `Activation` and `Operator` layers, the name of the function.
    """
    if kind == "BatchNormalization":
        return "batch_norm"
    if kind == "Activation":
        if activation in FIXED_ACTIVATIONS:
            return "fixed"
        if activation in RANGED_ACTIVATIONS:
            return "ranged"
        return "passing" if activation == NO_ACTIVATION else "unknown"
    if kind == INTEGER_RECURRENT:
        return "recurrent"
    if kind == OPERATOR:
        return FUNCTIONS[str(activation)].role if activation in FUNCTIONS else "unknown"
    if kind == "Softmax":
        return "fixed"
    for role, kinds in (("weighted", WEIGHTED), ("ranged", RANGED), ("passing", PASSING)):
        if kind in kinds:
            return role  # type: ignore[return-value]
    return "unknown"


def has_one_scale(kind: str, function: str | None = None) -> bool:
    """Whether the kernel of a layer takes several inputs, all with the scale of its output.

    Args:
        kind: Class name of the layer.
        function: For `Operator` layers, the name of the function.
    """
    return kind in ONE_SCALE or (kind == OPERATOR and function in ONE_SCALE_FUNCTIONS)


def remedy_for(kind: str, activation: str | None = None) -> str:
    """How to fix a layer that cannot be quantized in training, other than excluding it."""
    if kind == OPERATOR:
        return function_remedy(str(activation))
    if kind in {"Activation", "ReLU"}:
        return _ACTIVATION_REMEDY
    return _REMEDIES.get(kind, "give it its own config: `configs: [{layers: [NAME], config: package.module:NAME}]`")
