"""Computes models of mixed precision in 32-bit floats, because TFLite has no kernels of 16-bit floats.

Imports TensorFlow.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import summary_line
from components.model.input_shapes import drawn
from components.model.keras_model import input_specs
from components.upstream.keras import is_graph, lambdas_allowed, layers_inside, unregistered_layers

_LOG = logging.getLogger(__name__)
_HALF = frozenset({"float16", "bfloat16"})
# Policies that compute in 16 bits.
_POLICIES = _HALF | {f"mixed_{name}" for name in _HALF}
# Rounding to 8 bits (bfloat16) in every layer, as a fraction of the largest output.
_TOLERANCE = 0.05
_EXAMPLES, _OPEN_SIZE = 3, 32


def in_float32(model: Any) -> Any:
    """A model with the same weights whose layers compute in 32-bit floats.

    Args:
        model: A Keras model with inputs of known shapes. It is returned unchanged if no layer computes in 16 bits, if
            it isn't a functional or Sequential model, or if the changed model returns something else.
    """
    if not is_graph(model) or not any(getattr(one, "compute_dtype", None) in _HALF for one in layers_inside(model)):
        return model
    try:
        with lambdas_allowed():
            changed = type(model).from_config(_wide(model.get_config()), unregistered_layers())
        changed.set_weights([weight.astype(np.float32) if weight.dtype.itemsize == 2 else weight
                             for weight in map(np.asarray, model.get_weights())])  # fmt: skip
        if _close(model, changed):
            return changed
    except Exception as error:
        # The model is then refused by the names of these layers.
        _LOG.info("The model can't compute in 32-bit floats: %s", summary_line(error))
    return model


def _wide(config: Any) -> Any:
    """A configuration with policies, casts, and inputs of 32 bits instead of 16."""
    if isinstance(config, list | tuple):
        return type(config)(map(_wide, config))
    if not isinstance(config, dict):
        return config
    return {key: "float32" if key == "dtype" and _is_half(value) else _wide(value) for key, value in config.items()}


def _is_half(dtype: Any) -> bool:
    named = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
    return isinstance(named, str) and named in _POLICIES


def _close(model: Any, changed: Any) -> bool:
    """Whether both models return the same, within the rounding of the first."""
    random, specs = np.random.default_rng(0), input_specs(model)
    if {name: spec.shape for name, spec in specs.items()} != {n: s.shape for n, s in input_specs(changed).items()}:
        return False
    sizes = {name: [size or _OPEN_SIZE for size in spec.shape[1:]] for name, spec in specs.items()}
    values = [
        drawn(tf.TensorSpec([None, *sizes[name]], spec.dtype), spec.shape[0] or _EXAMPLES, random)
        for name, spec in specs.items()
    ]
    both = [tf.nest.flatten(one(values if len(values) > 1 else values[0], training=False)) for one in (model, changed)]
    for wanted, found in zip(*(map(np.asarray, outputs) for outputs in both), strict=True):
        difference = np.abs(wanted.astype(np.float64) - found.astype(np.float64))
        if difference.max(initial=0.0) > _TOLERANCE * max(float(np.abs(found).max(initial=0.0)), 1e-6):
            return False
    return True
