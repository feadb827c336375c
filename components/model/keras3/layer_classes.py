"""Which class of tf-keras rebuilds a layer of Keras 3."""

from __future__ import annotations

import inspect
import re
from typing import Any

import tensorflow as tf

from components.model.keras3.configs import MODELS, Config

_KERAS = re.compile(r"keras(\.|$)")

# Layers that only models of `keras.applications` use -> a layer that computes the same and trains in the same way.
IN_APPLICATIONS = {
    "LayerScale": lambda config: tf.keras.layers.DepthwiseConv2D(1, use_bias=False, name=config["name"]),
    "StochasticDepth": lambda config: tf.keras.layers.Dropout(
        config["drop_path_rate"], noise_shape=(None, 1, 1, 1), name=config["name"]
    ),
}


def is_custom(entry: Config) -> bool:
    """Whether the class of a layer isn't part of Keras."""
    if "module" not in entry:
        return entry["class_name"] not in (*MODELS, *IN_APPLICATIONS) and layer_class_named(entry["class_name"]) is None
    return not _KERAS.match(str(entry["module"]))


def is_model(entry: Config) -> bool:
    """Whether an entry is a model of Keras itself, not a layer or a custom class."""
    return entry["class_name"] in MODELS and not is_custom(entry)


def layer_class_named(kind: str) -> Any:
    """The class of tf-keras with the same name and meaning, or None if there isn't one."""
    found = getattr(tf.keras.layers, kind, None)
    return found if isinstance(found, type) and issubclass(found, tf.keras.layers.Layer) else None


def accepted_arguments(layer_class: Any) -> set[str]:
    """The names of arguments that a class of layers accepts."""
    names = {"name", "trainable", "dtype", "activity_regularizer"}
    for base in layer_class.__mro__:
        if issubclass(base, tf.keras.layers.Layer) and "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)
    if issubclass(layer_class, tf.keras.layers.RNN):
        names.add("zero_output_for_mask")
    return names - {"self", "args", "kwargs"}
