"""A Keras model in a Model artifact: as a SavedModel that conversion starts from, and as what training goes on from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import ModelError, summary_line
from components.core.user_code import exits_reported
from components.data.task import CompilingTask, load_task
from components.facts.artifact_paths import KERAS_FILE, SERVING_FOLDER
from components.upstream.keras import takes_logits

if TYPE_CHECKING:
    import tensorflow as tf


_LOG = logging.getLogger(__name__)


def export(
    model: Any,
    folder: Path,
    outputs: Sequence[str] = (),
    traces_layers: bool = True,
    batch: int | None = None,
) -> None:
    """Write a Keras model's SavedModel into the artifact of a baseline or of a training step.

    The SavedModel's `serving_default` takes decoded inputs by name, with an open batch dimension, and returns its
    output by name.

    Args:
        model: What `check_exportable` accepts.
        folder: The artifact's.
        outputs: What the model's one output is called; none takes the model's own name of it.
        traces_layers: Whether each layer is saved as well, with the tables it may hold, and not the signature and the
            variables alone. Layers under quantization cannot be: they hold weights of the trace before.
        batch: Fixes the batch dimension everywhere inside; None leaves it open.
    """
    import tensorflow as tf

    from components.upstream.autograph import leave_keras_as_it_is

    leave_keras_as_it_is()
    signature = list(input_specs(model).values())
    if batch is not None:
        signature = [tf.TensorSpec([batch, *spec.shape[1:]], spec.dtype, name=spec.name) for spec in signature]
    (output,) = outputs or output_names(model)

    @tf.function(autograph=False)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        (result,) = tf.nest.flatten(model(list(inputs) if len(inputs) > 1 else inputs[0], training=False))
        return {output: result}

    module = tf.Module()
    module.held = model if traces_layers else model.variables
    module.serve = serve
    tf.saved_model.save(
        module, str(folder / SERVING_FOLDER), signatures={"serving_default": serve.get_concrete_function(*signature)}
    )


def save_keras(model: Any, folder: Path) -> None:
    """Keep the model itself beside its SavedModel, for steps that train it further.

    A model that Keras cannot save (a layer that is not registered) is left out: only such steps miss it, and
    `check_trains_on` reports it before they are run.
    """
    path = folder / KERAS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save(path)
    except Exception as error:
        path.unlink(missing_ok=True)
        _LOG.warning("the Keras model is not kept, so no step can train it further: %s", summary_line(error))


def load_kept(folder: Path) -> Any:
    """The Keras model that `save_keras` kept, uncompiled; layers of the task's must be registered by then.

    Raises:
        ModelError: There is none, or it cannot be loaded.
    """
    import tensorflow as tf

    path = folder / KERAS_FILE
    if not path.is_file():
        raise ModelError(
            "there is no Keras model to train further",
            where="baseline",
            bound="a baseline with Keras structure: trained here, or a .keras, .h5 or Keras SavedModel",
            measured="a SavedModel without it, or a model that Keras cannot save",
            remedy="name a Keras file as baseline, register its layers, or remove the steps",
        )
    try:
        # What a pretrained model may hold was decided when it was imported; any other is the task's own.
        return tf.keras.models.load_model(path, compile=False, safe_mode=False)
    except Exception as error:
        raise _cannot_be_kept(error) from error


def loss_takes_logits(task: str, folder: Path) -> bool | None:
    """Whether the loss that a task compiles its model with takes logits; None where nothing says so.

    Args:
        task: Its reference, `package.module:NAME`.
        folder: The artifact of the baseline.

    Raises:
        SpecError: The task's compile exits instead of returning.
    """
    if not (folder / KERAS_FILE).is_file():
        return None
    compiling = load_task(task)
    if not isinstance(compiling, CompilingTask):
        return None
    failure: Exception | None = None
    with exits_reported("task"):
        try:
            model = load_kept(folder)
            compiling.compile(model)
        except Exception as error:
            failure = error
    if failure is not None:
        # A baseline that came with its weights need not suit the task's compile: it was never called.
        _LOG.info("The loss of the model is not known: %s", summary_line(failure))
        return None
    return takes_logits(model.loss)


def check_trains_on(model: Any) -> None:
    """See that a Keras model can be saved and loaded again, as steps that train it need.

    Raises:
        ModelError: It cannot.
    """
    import tempfile

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        try:
            model.save(path)
            tf.keras.models.load_model(path, compile=False, safe_mode=False)
        except Exception as error:
            raise _cannot_be_kept(error) from error


def _cannot_be_kept(error: Exception) -> ModelError:
    return ModelError(
        f"Keras cannot save the model and load it again, as a step that trains it needs: {summary_line(error)}",
        where="recipes",
        measured=type(error).__name__,
        remedy="register the model's own layers and functions with keras.utils.register_keras_serializable in the "
        "task's module, and give them a get_config",
    )


def check_learns(model: Any, where: str = "task") -> None:
    """See that training can change a Keras model: Keras itself goes through all epochs and leaves it as it is.

    Args:
        model: After everything that sets `trainable`.
        where: What is to be trained, for the message.

    Raises:
        ModelError: It has no trainable weights.
    """
    if not model.trainable_weights:
        raise ModelError(
            "the model is to be trained, and has no trainable weights",
            where=where,
            bound="at least one trainable weight",
            measured=f"{len(model.weights)} weights, all of them frozen" if model.weights else "no weights",
            remedy="set `trainable = True` on the layers to train or add layers with weights; a model that is to stay "
            "as it is belongs into `baseline: {kind: pretrained}`, in recipes without steps",
        )


def check_exportable(model: Any, where: str = "task") -> None:
    """See that a Keras model can be exported, converted and evaluated, before it is trained for hours.

    Raises:
        ModelError: It is stateful, computes in 16 bits, does not say what it takes, has an open dimension, or several
            outputs.
    """
    from components.model.saved_model import check_signature

    stateful = [layer.name for layer in model.submodules if getattr(layer, "stateful", False)]
    if stateful:
        raise ModelError(
            "the model is stateful: what it returns depends on earlier calls",
            where=f"layer {', '.join(stateful)}",
            bound="stateful=False",
            measured="stateful=True",
            remedy="build it with stateful=False and give it whole sequences",
        )
    half = {
        layer.name: layer.compute_dtype
        for layer in model.submodules
        if getattr(layer, "compute_dtype", None) in ("float16", "bfloat16")
    }
    if half:
        names = list(half)
        raise ModelError(
            "the model computes in 16-bit floats, which no conversion takes",
            where=f"layer {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
            bound="layers with the policy float32",
            measured=", ".join(sorted(set(half.values()))),
            remedy="build it with `tf.keras.mixed_precision.set_global_policy('float32')`; to store weights as float16 "
            "take the scheme float16",
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
    check_signature(input_specs(model), output_names(model), where)


def check_keras_takes(model: Any, inputs: Any) -> None:
    """See that an exportable Keras model takes what the task's decode returns for a few examples.

    Raises:
        DataError: Names or shapes differ.
        ModelError: It cannot be run.
    """
    from components.model.saved_model import check_takes

    check_takes(lambda: model(inputs, training=False), input_specs(model), inputs)


def input_specs(model: Any) -> dict[str, tf.TensorSpec]:
    """What the model takes, by name."""
    import tensorflow as tf

    named = {tensor.name.partition(":")[0]: tensor for tensor in model.inputs}
    return {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in named.items()}


def output_names(model: Any) -> tuple[str, ...]:
    """What the model's outputs are called."""
    return tuple(name.partition(":")[0] for name in model.output_names)
