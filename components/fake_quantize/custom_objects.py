"""Quantizers, configs, and schemes that the user's task brings, checked as they are used. Imports TensorFlow."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from components.core.errors import EdgemillError, ModelError, SpecError
from components.core.user_code import exits_reported
from components.data.task import load_object
from components.spec.steps.qat import CustomQuantizer


class Checked:
    """A quantizer of the task's, held to returning what it was given in shape and type."""

    def __init__(self, quantizer: Any, layer: str) -> None:
        self.quantizer, self._layer = quantizer, layer

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        """As the quantizer's own; then tries it, where errors still reach the caller as they are.

        Raises:
            ModelError: It returns another shape or type.
        """
        weights = self.quantizer.build(tensor_shape, name, layer)
        inputs = tf.zeros([size or 1 for size in tensor_shape])
        outputs = self.quantizer(inputs, False, weights=weights)
        if tuple(outputs.shape) != tuple(inputs.shape) or outputs.dtype != inputs.dtype:
            raise ModelError(
                f"the quantizer {type(self.quantizer).__name__} returns another shape or type than it is given",
                where=f"layer {self._layer}",
                bound=f"{inputs.dtype.name} {inputs.shape}",
                measured=f"{outputs.dtype.name} {outputs.shape}",
                remedy="return the quantized values in place of the inputs, each at its place",
            )
        return weights

    def __call__(self, inputs: Any, training: Any, weights: Any, **more: Any) -> Any:
        """As the quantizer's own."""
        return self.quantizer(inputs, training, weights=weights, **more)

    def get_config(self) -> Any:
        """As the quantizer's own."""
        return self.quantizer.get_config()


def custom_quantizer(own: CustomQuantizer) -> Any:
    """A new quantizer of the task's."""
    from tensorflow_model_optimization.quantization.keras import quantizers

    return own_object(own.object, quantizers.Quantizer, "quantizer")


def own_object(reference: str, kind: type[Any], field: Literal["config", "quantizer", "scheme"]) -> Any:
    """What a class or function of the user's makes, or an object itself.

    Args:
        reference: `package.module:NAME`.
        kind: What it must be.
        field: Where the pipeline file names it.

    Raises:
        SpecError: It cannot be imported or made, or is something else.
    """
    named = load_object(reference, field)
    if isinstance(named, kind):
        return named
    try:
        with exits_reported(field):
            made = named()
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"{reference!r} cannot be made: {type(error).__name__}: {error}",
            where=field,
            bound="a class or function that takes no arguments",
            remedy="give its arguments defaults, or name a function that returns the object",
        ) from error
    if not isinstance(made, kind):
        raise SpecError(
            f"{reference!r} makes something else",
            where=field,
            bound=f"a {kind.__name__} of tensorflow_model_optimization",
            measured=type(made).__name__,
            remedy="derive it from that class",
        )
    return made
