"""Attention layers, written out as layers and functions with integer kernels. Imports TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from components.fake_quantize.operators.parts import Parts
from components.upstream.keras import attention_projections, is_masked

_layers = tf.keras.layers
# Subtracted from the scores of later positions. Their shares become at most 1e-7 of the share of an equal score, and
# the scores of the other positions keep steps that are small enough in 8 bits. Keras subtracts 1e9, which leaves no
# step.
_MASKED = 16.0

# Rank of the inputs -> the axes along which attention can be written out.
_AXES = {3: ((1,), (-2,)), 4: ((1, 2), (2,), (-2,))}


def multi_head(parts: Parts, layer: Any, args: Any, kwargs: Any) -> Any:
    """Expand a `MultiHeadAttention`; None if it uses a mask other than a causal one, or returns its scores."""
    given: dict[str, Any] = dict(zip(("query", "value", "key", "attention_mask"), args, strict=False)) | dict(kwargs)
    others = {name: value for name, value in given.items() if name not in {"query", "value", "key", "training"}}
    causal = others.pop("use_causal_mask", False)
    query, value = given["query"], given["value"]
    key = value if given.get("key") is None else given["key"]
    axes = tuple(layer.get_config()["attention_axes"] or range(1, query.shape.rank - 1))
    masked = any(is_masked(x) for x in (query, key, value))
    rank = query.shape.rank
    if (
        any(value is not None and value is not False for value in others.values())
        or masked
        or axes not in _AXES.get(rank, ())
        or any(x.shape.rank != rank for x in (key, value))
    ):
        return None
    image = query.shape if rank == 4 else None
    if image is not None:
        if causal or any(None in x.shape[1:] for x in (query, key, value)):
            return None
        query, key, value = (
            _as_sequences(parts, name, x, axes) for name, x in (("query", query), ("key", key), ("value", value))
        )
    config = layer.get_config()
    heads = config["num_heads"]
    dense = attention_projections(layer)

    def projected(name: str, x: Any, width: int, scale: float = 1.0) -> Any:
        weights = dense[f"{name}_dense"].get_weights()
        kernel = weights[0].reshape(weights[0].shape[0], heads * width) * scale
        bias = [weight.reshape(-1) * scale for weight in weights[1:]]
        settings = {"units": heads * width, "use_bias": bool(bias)}
        y = parts.layer(_layers.Dense, name, settings, x, [kernel, *bias], layer.trainable)
        return parts.layer(
            _layers.Permute,
            f"{name}/heads",
            {"dims": (2, 1, 3)},
            parts.reshape(f"{name}/split", (-1, heads, width), y),
        )

    width, value_width = config["key_dim"], config["value_dim"] or config["key_dim"]
    q = projected("query", query, width, 1.0 / math.sqrt(width))
    scores = parts.function("linalg.matmul", "scores", q, projected("key", key, width), transpose_b=True)
    shares = _shares(parts, scores, causal, config["dropout"])
    if shares is None:
        return None
    mixed = parts.function("linalg.matmul", "mixed", shares, projected("value", value, value_width))
    together = parts.reshape(
        "together",
        (-1, heads * value_width),
        parts.layer(_layers.Permute, "sequence", {"dims": (2, 1, 3)}, mixed),
    )
    weights = dense["output_dense"].get_weights()
    kernel = weights[0].reshape(heads * value_width, -1)
    if weights[0].ndim != 3:
        return None
    settings = {"units": kernel.shape[-1], "use_bias": len(weights) > 1}
    suffix = "" if image is None else "joined"
    y = parts.layer(_layers.Dense, suffix, settings, together, [kernel, *weights[1:]], layer.trainable)
    return y if image is None else parts.function("reshape", "", y, [-1, *image[1:3], kernel.shape[-1]])


def _as_sequences(parts: Parts, name: str, x: Any, axes: tuple[int, ...]) -> Any:
    """An image as one sequence if all of its positions attend to each other, otherwise each row as a sequence."""
    length = x.shape[1] * x.shape[2] if len(axes) == 2 else x.shape[2]
    return parts.function("reshape", f"{name}/places", x, [-1, length, x.shape[3]])


def single_head(parts: Parts, layer: Any, args: Any, kwargs: Any) -> Any:
    """Write out an `Attention` or `AdditiveAttention`; None if it uses a mask of its inputs or returns its scores."""
    inputs = list(args[0])
    given = {name: value for name, value in kwargs.items() if name != "training" and value is not None}
    causal = bool(given.pop("use_causal_mask", False))
    if len(args) > 1 or any(value is not False for value in given.values()) or any(map(is_masked, inputs)):
        return None
    query, value, key = (*inputs, inputs[1])[:3]
    if any(x.shape.rank != 3 or None in x.shape[1:] for x in inputs) or getattr(layer, "score_mode", "dot") != "dot":
        return None
    config = layer.get_config()
    scores = (_sums if type(layer).__name__ == "AdditiveAttention" else _products)(parts, layer, query, key)
    shares = _shares(parts, scores, causal, config.get("dropout", 0.0))
    return None if shares is None else parts.function("linalg.matmul", "", shares, value)


def _products(parts: Parts, layer: Any, query: Any, key: Any) -> Any:
    scores = parts.function("linalg.matmul", "scores", query, key, transpose_b=True)
    return parts.product("scaled", scores, float(layer.scale.numpy())) if layer.scale is not None else scores


def _sums(parts: Parts, layer: Any, query: Any, key: Any) -> Any:
    width = query.shape[-1]
    rows = parts.reshape("rows", (query.shape[1], 1, width), query)
    columns = parts.reshape("columns", (1, key.shape[1], width), key)
    y = parts.activation("tanh", "tanh", parts.function("math.add", "sums", rows, columns))
    factors = np.ones(width, np.float32) if layer.scale is None else layer.scale.numpy()
    trains = layer.trainable and layer.scale is not None
    y = parts.layer(_layers.Dense, "scores", {"units": 1, "use_bias": False}, y, [factors[:, None]], trains)
    return parts.reshape("square", (query.shape[1], key.shape[1]), y)


def _shares(parts: Parts, scores: Any, causal: bool, dropout: float) -> Any:
    """The softmax of scores [batch, ..., queries, keys]; None if it needs the length of an open axis."""
    if causal:
        queries, keys = scores.shape[-2:]
        if queries is None or keys is None:
            return None
        # The last query attends to all keys, as in Keras.
        mask = -_MASKED * np.triu(np.ones([queries, keys], np.float32), 1)
        mask = mask.reshape([1] * (scores.shape.rank - 2) + [queries, keys])
        scores = parts.function("math.add", "causal", scores, mask)
    shares = parts.layer(_layers.Softmax, "softmax", {}, scores)
    return parts.layer(_layers.Dropout, "dropout", {"rate": dropout}, shares) if dropout else shares
