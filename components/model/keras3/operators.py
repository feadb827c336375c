"""The operations of `keras.ops` in TensorFlow, on the symbolic tensors of tf-keras.

If a tf-keras layer computes exactly the same, that layer is called, because training steps support it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from components.model.keras3 import shapes
from components.model.keras3.configs import Config
from components.upstream.keras import is_symbolic

layers = tf.keras.layers


def apply_operation(kind: str, config: Config, name: str, args: Sequence[Any], kwargs: Config) -> Any:
    """Call an operation.

    Args:
        kind: Name of its class in Keras 3, such as `Mean`.
        config: Arguments of that class.
        name: Name for the layer, if the operation becomes one.
        args, kwargs: Its arguments: tensors, and constants as NumPy arrays or Python values.

    Returns:
        One tensor, or several.

    Raises:
        KeyError: The operation has no counterpart.
    """
    return _OPERATIONS[kind]({**config, "name": name}, *args, **kwargs)


def _unary(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda _config, x: function(x)


def _as_layer(layer: Callable[..., Any]) -> Callable[..., Any]:
    return lambda config, x: layer(name=config["name"])(x)


def _binary(function: Callable[[Any, Any], Any], layer: Callable[..., Any] | None = None) -> Callable[..., Any]:
    def call(config: Config, x1: Any, x2: Any) -> Any:
        # Python's numbers take the type of the tensor, as in Keras 3. NumPy's arrays have their own types.
        if layer is not None and is_symbolic(x1) and is_symbolic(x2) and x1.shape == x2.shape and x1.dtype == x2.dtype:
            return layer(name=config["name"])([x1, x2])
        return function(x1, x2)

    return call


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda config, x: function(x, axis=config.get("axis"), keepdims=config.get("keepdims", False))


def _mean(config: Config, x: Any) -> Any:
    axis, keepdims = config.get("axis"), config.get("keepdims", False)
    pooling = {3: (1,), 4: (1, 2), 5: (1, 2, 3)}.get(x.shape.rank)
    if pooling is not None and axis is not None and x.dtype.is_floating and _sorted_axes(axis, x.shape.rank) == pooling:
        layer = getattr(layers, f"GlobalAveragePooling{len(pooling)}D")
        return layer(keepdims=keepdims, name=config["name"])(x)
    return tf.reduce_mean(x, axis=axis, keepdims=keepdims)


def _sorted_axes(axis: Any, rank: int) -> tuple[int, ...]:
    return tuple(sorted(one % rank for one in (axis if isinstance(axis, list | tuple) else [axis])))


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(config: Config, x: Any) -> Any:
        axis = config.get("axis")
        if axis is None:
            return function(tf.reshape(x, [-1]), axis=0, output_type=tf.int32)
        found = function(x, axis=axis, output_type=tf.int32)
        return tf.expand_dims(found, axis) if config.get("keepdims") else found

    return call


def _clip(config: Config, x: Any) -> Any:
    return tf.clip_by_value(x, config["x_min"], config["x_max"])


def _leaky_relu(config: Config, x: Any) -> Any:
    return layers.LeakyReLU(alpha=config.get("negative_slope", 0.2), name=config["name"])(x)


def _relu(config: Config, x: Any) -> Any:
    options = {key: config[key] for key in ("max_value", "negative_slope", "threshold") if key in config}
    return layers.ReLU(**options, name=config["name"])(x)


def _relu6(config: Config, x: Any) -> Any:
    return layers.ReLU(6.0, name=config["name"])(x)


def _hard_sigmoid(config: Config, x: Any) -> Any:
    # As in the MobileNetV3 from tf-keras.
    return _relu6(config, x + 3.0) * (1.0 / 6.0)


def _hard_silu(config: Config, x: Any) -> Any:
    name = config["name"]
    return layers.Multiply(name=name)([x, _hard_sigmoid({"name": f"{name}_gate"}, x)])


def _activation(activation: str) -> Callable[..., Any]:
    return lambda config, x: layers.Activation(activation, name=config["name"])(x)


def _celu(config: Config, x: Any) -> Any:
    alpha = config.get("alpha", 1.0)
    return tf.nn.relu(x) + alpha * tf.math.expm1(tf.minimum(x, 0.0) / alpha)


def _softmax(config: Config, x: Any) -> Any:
    axis, name = config.get("axis", -1), config["name"]
    return layers.Activation("softmax", name=name)(x) if axis == -1 else layers.Softmax(axis, name=name)(x)


def _one_hot(config: Config, x: Any) -> Any:
    dtype = config.get("dtype") or "float32"
    return tf.one_hot(tf.cast(x, tf.int32), config["num_classes"], axis=config.get("axis", -1), dtype=dtype)


def _normalize(config: Config, x: Any) -> Any:
    if config.get("order", 2) != 2:
        raise KeyError("Normalize")
    epsilon = config.get("epsilon") or tf.keras.backend.epsilon()
    return tf.math.l2_normalize(x, axis=config.get("axis", -1), epsilon=epsilon**2)


def _pool(kind: str) -> Callable[..., Any]:
    def call(config: Config, x: Any) -> Any:
        layer = getattr(layers, f"{kind}Pooling{x.shape.rank - 2}D")
        options = {key: config[key] for key in ("pool_size", "strides", "padding", "data_format") if key in config}
        return layer(**options, name=config["name"])(x)

    return call


def _resize(config: Config, x: Any) -> Any:
    odd = [key for key in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio") if config.get(key)]
    method = config.get("interpolation", "bilinear")
    if odd or method not in ("bilinear", "nearest", "bicubic") or config.get("data_format") == "channels_first":
        raise KeyError("Resize")
    return tf.image.resize(x, config["size"], method)


def _scaled_sum(config: Config, x: Any) -> Any:
    # A layer of InceptionResNetV2 in Keras 3.
    name = config["name"]
    return layers.Add(name=name)([x[0], layers.Rescaling(config["scale"], name=f"{name}_scaled")(x[1])])


def _gelu(config: Config, x: Any) -> Any:
    if config.get("approximate", True):
        return tf.nn.gelu(x, approximate=True)
    return layers.Activation("gelu", name=config["name"])(x)


def _top_k(config: Config, x: Any) -> Any:
    return tuple(tf.math.top_k(x, config["k"], sorted=config.get("sorted", True)))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Abs": _unary(tf.abs),
    "Absolute": _unary(tf.abs),
    "Add": _binary(tf.add, layers.Add),
    "All": _reduction(tf.reduce_all),
    "Amax": _reduction(tf.reduce_max),
    "Amin": _reduction(tf.reduce_min),
    "Any": _reduction(tf.reduce_any),
    "Argmax": _arg(tf.argmax),
    "Argmin": _arg(tf.argmin),
    "AveragePool": _pool("Average"),
    "BroadcastTo": lambda config, x: tf.broadcast_to(x, config["shape"]),
    "Cast": lambda config, x: tf.cast(x, config["dtype"]),
    "Ceil": _unary(tf.math.ceil),
    "Celu": _celu,
    "Clip": _clip,
    "Concatenate": shapes.concatenate,
    "CustomScaleLayer": _scaled_sum,
    "Copy": _unary(tf.identity),
    "Cos": _unary(tf.cos),
    "Cumsum": lambda config, x: tf.cumsum(x, axis=config["axis"]),
    "DepthToSpace": lambda config, x: tf.nn.depth_to_space(x, config["block_size"]),
    "Divide": _binary(tf.divide),
    "DivideNoNan": _binary(tf.math.divide_no_nan),
    "Einsum": shapes.einsum,
    "Elu": lambda config, x: layers.ELU(config.get("alpha", 1.0), name=config["name"])(x),
    "Equal": _binary(tf.equal),
    "Erf": _unary(tf.math.erf),
    "Exp": _unary(tf.exp),
    "ExpandDims": lambda config, x: tf.expand_dims(x, config["axis"]),
    "Expm1": _unary(tf.math.expm1),
    "Flip": lambda config, x: tf.reverse(x, [config["axis"]] if isinstance(config["axis"], int) else config["axis"]),
    "Floor": _unary(tf.floor),
    "FullLike": lambda _config, x, fill_value: tf.fill(tf.shape(x), x.dtype.as_numpy_dtype(fill_value).item()),
    "FloorDivide": _binary(tf.math.floordiv),
    "Gelu": _gelu,
    "GetItem": shapes.get_item,
    "Greater": _binary(tf.greater),
    "GreaterEqual": _binary(tf.greater_equal),
    "HardSigmoid": _hard_sigmoid,
    "HardSilu": _hard_silu,
    "HardTanh": lambda _config, x: tf.clip_by_value(x, -1.0, 1.0),
    "LeakyRelu": _leaky_relu,
    "Less": _binary(tf.less),
    "LessEqual": _binary(tf.less_equal),
    "Log": _unary(tf.math.log),
    "Log1p": _unary(tf.math.log1p),
    "LogSigmoid": _unary(tf.math.log_sigmoid),
    "LogSoftmax": lambda config, x: tf.nn.log_softmax(x, axis=config.get("axis", -1)),
    "LogicalAnd": _binary(tf.logical_and),
    "LogicalNot": _unary(tf.logical_not),
    "LogicalOr": _binary(tf.logical_or),
    "Logsumexp": _reduction(tf.reduce_logsumexp),
    "Matmul": _binary(tf.matmul),
    "Max": _reduction(tf.reduce_max),
    "MaxPool": _pool("Max"),
    "Maximum": _binary(tf.maximum, layers.Maximum),
    "Mean": _mean,
    "Min": _reduction(tf.reduce_min),
    "Minimum": _binary(tf.minimum, layers.Minimum),
    "Mish": _activation("mish"),
    "Mod": _binary(tf.math.floormod),
    "Moveaxis": shapes.moveaxis,
    "Multiply": _binary(tf.multiply, layers.Multiply),
    "Negative": _unary(tf.negative),
    "Normalize": _normalize,
    "NotEqual": _binary(tf.not_equal),
    "OneHot": _one_hot,
    "OnesLike": lambda _config, x: tf.ones_like(x),
    "Pad": shapes.pad,
    "Power": _binary(tf.pow),
    "Prod": _reduction(tf.reduce_prod),
    "ReLU": _relu,
    "Reciprocal": _unary(tf.math.reciprocal),
    "Relu": _as_layer(layers.ReLU),
    "Relu6": _relu6,
    "Repeat": lambda config, x: tf.repeat(x, config["repeats"], axis=config.get("axis")),
    "Reshape": shapes.reshape,
    "Resize": _resize,
    "Roll": lambda config, x: tf.roll(x, config["shift"], config["axis"]),
    "Round": _unary(tf.round),
    "Rsqrt": _unary(tf.math.rsqrt),
    "Selu": _activation("selu"),
    "Sigmoid": _activation("sigmoid"),
    "Sign": _unary(tf.sign),
    "Silu": _activation("swish"),
    "Sin": _unary(tf.sin),
    "Softmax": _softmax,
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "SpaceToDepth": lambda config, x: tf.nn.space_to_depth(x, config["block_size"]),
    "Split": shapes.split,
    "Sqrt": _unary(tf.sqrt),
    "Square": _unary(tf.square),
    "Squareplus": lambda config, x: (x + tf.sqrt(tf.square(x) + float(config.get("b", 4)))) / 2.0,
    "Squeeze": lambda config, x: tf.squeeze(x, config.get("axis")),
    "Stack": lambda config, xs: tf.stack(list(xs), axis=config.get("axis", 0)),
    "StopGradient": lambda _config, variable: tf.stop_gradient(variable),
    "Subtract": _binary(tf.subtract, layers.Subtract),
    "Sum": _reduction(tf.reduce_sum),
    "Swapaxes": shapes.swapaxes,
    "Take": lambda config, x, indices: tf.gather(x, indices, axis=config.get("axis")),
    "Tanh": _activation("tanh"),
    "TanhShrink": lambda _config, x: x - tf.tanh(x),
    "Tile": lambda config, x: tf.tile(x, config["repeats"]),
    "TopK": _top_k,
    "Transpose": shapes.transpose,
    "TrueDivide": _binary(tf.divide),
    "Unstack": lambda config, x: tf.unstack(x, config.get("num"), axis=config.get("axis", 0)),
    "Var": _reduction(tf.math.reduce_variance),
    "Where": lambda _config, condition, x1, x2: tf.where(condition, x1, x2),
    "ZerosLike": lambda _config, x: tf.zeros_like(x),
}  # fmt: skip

KNOWN_OPERATIONS = frozenset(_OPERATIONS)
