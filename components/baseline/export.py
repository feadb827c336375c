"""From a Keras model to the layout of a baseline artifact: a SavedModel that conversion starts from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ModelError
from components.layout import SERVING_FOLDER

if TYPE_CHECKING:
    import tensorflow as tf


def export(model: Any, folder: Path) -> None:
    """Write a Keras model as an Edgemill baseline.

    The SavedModel's `serving_default` takes decoded inputs by name, with an open batch dimension, and returns its
    output by name.

    Args:
        model: What `check_exportable` accepts.
        folder: The artifact's.
    """
    import tensorflow as tf

    signature = list(_inputs(model).values())
    (output,) = _outputs(model)

    @tf.function(autograph=False)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        (result,) = tf.nest.flatten(model(list(inputs) if len(inputs) > 1 else inputs[0], training=False))
        return {output: result}

    module = tf.Module()
    module.model = model
    module.serve = serve
    tf.saved_model.save(
        module, str(folder / SERVING_FOLDER), signatures={"serving_default": serve.get_concrete_function(*signature)}
    )


def check_exportable(model: Any, where: str = "task") -> None:
    """See that a Keras model can be exported, converted and evaluated; to be told before it is trained for hours.

    Raises:
        ModelError: It is stateful, does not say what it takes, has an open dimension, or several outputs.
    """
    from components.saved_model import check_borders

    stateful = [layer.name for layer in model.submodules if getattr(layer, "stateful", False)]
    if stateful:
        raise ModelError(
            "the model is stateful: what it returns depends on earlier calls",
            where=f"layer {', '.join(stateful)}",
            bound="stateful=False",
            measured="stateful=True",
            remedy="build it with stateful=False and give it whole sequences",
        )
    if not getattr(model, "inputs", None):
        raise ModelError(
            "the model does not say what it takes",
            where=where,
            bound="a functional model, or a Sequential one that begins with an Input",
            measured=type(model).__name__,
            remedy="give a Sequential model an Input first; of a subclassed one make a functional one: "
            "`image = Input(shape, name='image'); Model(image, model(image))`",
        )
    check_borders(_inputs(model), _outputs(model), where)


def check_keras_takes(model: Any, inputs: Any) -> None:
    """See that an exportable Keras model takes what the task's decode returns for a few examples.

    Raises:
        DataError: Names or shapes differ.
        ModelError: It cannot be run.
    """
    from components.saved_model import check_takes

    check_takes(lambda: model(inputs, training=False), _inputs(model), inputs)


def _inputs(model: Any) -> dict[str, tf.TensorSpec]:
    import tensorflow as tf

    named = {tensor.name.partition(":")[0]: tensor for tensor in model.inputs}
    return {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in named.items()}


def _outputs(model: Any) -> tuple[str, ...]:
    return tuple(name.partition(":")[0] for name in model.output_names)
