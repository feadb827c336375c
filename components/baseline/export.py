"""The layout of a baseline artifact: a SavedModel for conversion, and a Keras file for steps that train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ModelError

if TYPE_CHECKING:
    import tensorflow as tf

KERAS_FILE = "keras/model.keras"
SERVING_FOLDER = "Format-Serving"


def export(model: Any, folder: Path) -> None:
    """Write a Keras model as an Edgemill baseline: a SavedModel for conversion, a Keras file for training steps.

    The SavedModel's `serving_default` takes decoded inputs by name, with an open batch dimension, and returns outputs
    by name.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=_bare(tensor.name)) for tensor in model.inputs]
    names = [_bare(name) for name in model.output_names]

    @tf.function(autograph=False)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    module = tf.Module()
    module.model = model
    module.serve = serve
    tf.saved_model.save(
        module, str(folder / SERVING_FOLDER), signatures={"serving_default": serve.get_concrete_function(*signature)}
    )
    (folder / KERAS_FILE).parent.mkdir(parents=True, exist_ok=True)
    model.save(folder / KERAS_FILE)


def refuse_stateful(model: Any) -> None:
    """Raise a ModelError if a layer keeps its state from one call to the next: TFLite files of it depend on history."""
    stateful = [layer.name for layer in model.submodules if getattr(layer, "stateful", False)]
    if stateful:
        raise ModelError(
            "the model is stateful: what it returns depends on earlier calls",
            where=f"layer {', '.join(stateful)}",
            bound="stateful=False",
            measured="stateful=True",
            remedy="build it with stateful=False and give it whole sequences",
        )


def _bare(name: str) -> str:
    return name.partition(":")[0]
