"""Custom quantizers, configs, and schemes from the user's task, with checks. Imports TensorFlow."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from components.core.errors import EdgemillError, ModelError, SpecError
from components.core.user_code import exits_reported
from components.data.objects import load_object
from components.spec.steps.qat import CustomQuantizer


class Checked:
    """A custom quantizer of the task. Checks that it preserves the shape and type of its input."""

    def __init__(self, quantizer: Any, layer: str) -> None:
        self.quantizer, self._layer = quantizer, layer

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        """Build the quantizer and try it here, because errors at this point still reach the caller unchanged.

        Raises:
            ModelError: The quantizer returns a different shape or type.
        """
        weights = self.quantizer.build(tensor_shape, name, layer)
        inputs = tf.zeros([size or 1 for size in tensor_shape])
        outputs = self.quantizer(inputs, False, weights=weights)
        if tuple(outputs.shape) != tuple(inputs.shape) or outputs.dtype != inputs.dtype:
            raise ModelError(
                f"the quantizer {type(self.quantizer).__name__} returns a different shape or type than its input",
                where=f"layer {self._layer}",
                bound=f"{inputs.dtype.name} {inputs.shape}",
                measured=f"{outputs.dtype.name} {outputs.shape}",
                remedy="return the quantized values in the shape, order, and type of the inputs",
            )
        return weights

    def __call__(self, inputs: Any, training: Any, weights: Any, **more: Any) -> Any:
        """Call the quantizer."""
        return self.quantizer(inputs, training, weights=weights, **more)

    def get_config(self) -> Any:
        """The quantizer's configuration."""
        return self.quantizer.get_config()


def custom_quantizer(own: CustomQuantizer) -> Any:
    """Create a custom quantizer of the task."""
    from tensorflow_model_optimization.quantization.keras import quantizers

    return own_object(own.object, quantizers.Quantizer, "quantizer")


def own_object(reference: str, kind: type[Any], field: Literal["config", "quantizer", "scheme"]) -> Any:
    """The object that a reference names, or that a class or function it names creates.

    Args:
        reference: `package.module:NAME`.
        kind: The required type.
        field: The field of the pipeline file with the reference.

    Raises:
        SpecError: The object cannot be imported or created, or has a different type.
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
            f"{reference!r} cannot be created: {type(error).__name__}: {error}",
            where=field,
            bound="a class or function that takes no arguments",
            remedy="give its arguments defaults, or specify a function that returns the object",
        ) from error
    if not isinstance(made, kind):
        raise SpecError(
            f"{reference!r} has the wrong type",
            where=field,
            bound=f"a {kind.__name__} of tensorflow_model_optimization",
            measured=type(made).__name__,
            remedy="derive it from that class",
        )
    return made
