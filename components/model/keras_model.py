"""A Keras model in a Model artifact: a SavedModel for conversion, and a Keras file for further training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.core.errors import ModelError, some_of, summary_line
from components.core.user_code import exits_reported
from components.data.compiled import compile_model
from components.data.task import CompilingTask, load_task
from components.facts.artifact_paths import KERAS_FILE, SERVING_FOLDER
from components.upstream.keras import layers_inside, run_as_written, takes_logits, unregistered_layers

if TYPE_CHECKING:
    import tensorflow as tf


_LOG = logging.getLogger(__name__)


def export(model: Any, folder: Path, outputs: Sequence[str] = (), batch: int | None = None) -> None:
    """Write a Keras model as a SavedModel into the artifact of a baseline or of a training step.

    The SavedModel's `serving_default` takes decoded inputs by name, with a dynamic batch dimension, and returns its
    outputs by name. The SavedModel has no other functions, because Keras would trace each layer several times, which
    takes a minute for recurrent layers.

    Args:
        model: A model that `check_exportable` accepts.
        folder: The artifact's folder.
        outputs: The names of the model's outputs, in its own order; empty for the model's own names.
        batch: Fixes the batch dimension throughout the graph; None leaves it dynamic.
    """
    import tensorflow as tf

    from components.model.saved_model import variables_among
    from components.upstream.autograph import leave_keras_as_it_is
    from components.upstream.keras import without_metrics

    leave_keras_as_it_is()
    signature = list(input_specs(model).values())
    if batch is not None:
        signature = [tf.TensorSpec([batch, *spec.shape[1:]], spec.dtype, name=spec.name) for spec in signature]
    names = tuple(outputs) or output_names(model)

    @tf.function(autograph=False)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        results = tf.nest.flatten(model(list(inputs) if len(inputs) > 1 else inputs[0], training=False))
        return dict(zip(names, results, strict=True))

    module = tf.Module()
    with without_metrics():
        concrete = serve.get_concrete_function(*signature)
    # Besides the variables, this finds the tables of lookup layers.
    tracked = tf.train.TrackableView(model).descendants()
    tables = [one for one in tracked if hasattr(one, "resource_handle")]
    # Training under quantization has many variables that nothing else reads. Each takes milliseconds to save. The state
    # of a layer's random numbers isn't among the model's variables.
    module.held = [*variables_among(concrete.graph.variables, {id(one) for one in concrete.captured_inputs}), *tables]
    module.serve = serve
    with without_metrics():  # Saving can trace the function again.
        tf.saved_model.save(module, str(folder / SERVING_FOLDER), signatures={"serving_default": concrete})


def save_keras(model: Any, folder: Path) -> None:
    """Save the Keras model next to its SavedModel, for steps that train it further.

    If Keras cannot save the model, for example because a layer is not registered, this only logs a warning. Only steps
    that train it further need the file, and `check_trains_on` reports the error before they run.
    """
    path = folder / KERAS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save(path)
    except Exception as error:
        path.unlink(missing_ok=True)
        _LOG.warning("Keras cannot save the model, so no step can train it further: %s", summary_line(error))


def load_kept(folder: Path) -> Any:
    """The uncompiled Keras model that `save_keras` wrote. Register the task's own layers first.

    Raises:
        ModelError: There is no such model, or it cannot be loaded.
    """
    import tensorflow as tf

    from components.upstream.autograph import leave_keras_as_it_is

    leave_keras_as_it_is()
    path = folder / KERAS_FILE
    if not path.is_file():
        raise ModelError(
            "there is no Keras model to train further",
            where="baseline",
            bound="a baseline with Keras structure: trained here, or a .keras, .h5, or Keras SavedModel",
            measured="a SavedModel without it, or a model that Keras cannot save",
            remedy="use a Keras file as the baseline, register its layers, or remove the steps",
        )
    try:
        # This is safe: a pretrained model was checked when it was imported, and any other model comes from the task.
        model = tf.keras.models.load_model(path, unregistered_layers(), compile=False, safe_mode=False)
    except Exception as error:
        raise _cannot_be_kept(error) from error
    run_as_written(model)
    return model


def loss_takes_logits(task: str, folder: Path, output: str | None = None) -> bool | Literal["sigmoid"] | None:
    """Whether the loss with which a task compiles its model expects logits; None if that is unknown.

    If the loss applies a sigmoid to each output, the result is `sigmoid` instead of True.

    `output` names the output that the loss compares. It can be None if there is only one.

    Raises:
        SpecError: The task's `compile` exits instead of returning.
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
            compile_model(compiling, model)
        except Exception as error:
            failure = error
    if failure is not None:
        # The task's compile was never called on a pretrained baseline, so it may not fit that model.
        _LOG.info("The model's loss is unknown: %s", summary_line(failure))
        return None
    loss = model.loss
    if isinstance(loss, dict):
        # Keras merges a dict of one loss with the model's only output.
        loss = loss.get(output) if output is not None or len(loss) != 1 else next(iter(loss.values()))
    elif isinstance(loss, list | tuple):
        loss = dict(zip(output_names(model), loss, strict=False)).get(output or output_names(model)[0])
    return takes_logits(loss)


def check_trains_on(model: Any) -> None:
    """Check that a Keras model can be saved and loaded again, which training steps require.

    Raises:
        ModelError: The model cannot be saved or loaded.
    """
    import tempfile

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        try:
            model.save(path)
            tf.keras.models.load_model(path, unregistered_layers(), compile=False, safe_mode=False)
        except Exception as error:
            raise _cannot_be_kept(error) from error


def _cannot_be_kept(error: Exception) -> ModelError:
    return ModelError(
        f"Keras cannot save the model and load it again, which training steps require: {summary_line(error)}",
        where="recipes",
        measured=type(error).__name__,
        remedy="write each slice with all axes, `x[:, :, :2]` instead of `x[..., :2]`, and save the model again; or "
        "remove the steps, because recipes without steps convert it"
        if "Ellipsis" in str(error)
        else "register the model's own layers and functions with keras.utils.register_keras_serializable in the "
        "task's module, and give them a get_config",
    )


def check_learns(model: Any, where: str = "task") -> None:
    """Check that training can change a Keras model. Keras itself runs all epochs even if no weight is trainable.

    Args:
        model: The model, after `trainable` is set on all layers.
        where: A description of the trained model, for the error message.

    Raises:
        ModelError: The model has no trainable weights.
    """
    if not any(tensor.dtype.is_floating for tensor in model.outputs):
        raise ModelError(
            "the model returns integers, which have no gradient, so it cannot be trained",
            where=where,
            bound="at least one floating-point output",
            measured=", ".join(f"{tensor.name} ({tensor.dtype.name})" for tensor in model.outputs),
            remedy="return the scores, and compute the class in the task's postprocess; or use recipes without steps",
        )
    if not model.trainable_weights:
        raise ModelError(
            "the model has no trainable weights, so it cannot be trained",
            where=where,
            bound="at least one trainable weight",
            measured=f"{len(model.weights)} weights, all of them frozen" if model.weights else "no weights",
            remedy="set `trainable = True` on the layers to train, or add layers with weights; to keep the model as it "
            "is, use `baseline: {kind: pretrained}` and recipes without steps",
        )


def _refuse_widths(model: Any) -> None:
    """Raise a ModelError if a layer computes in floats other than float32."""
    import tensorflow as tf

    # The file doesn't contain the parts that `compile` adds, and a float64 Input is cast to the float32 of later
    # layers.
    found = {
        layer.name: layer.compute_dtype
        for layer in layers_inside(model)
        if getattr(layer, "compute_dtype", None) in ("float16", "bfloat16", "float64")
        and not isinstance(layer, tf.keras.metrics.Metric)
        and not (isinstance(layer, tf.keras.layers.InputLayer) and layer.compute_dtype == "float64")
    }
    if not found:
        return
    wide = "float64" in found.values()
    raise ModelError(
        f"the model computes in {64 if wide else 16}-bit floats, which cannot be converted",
        where=f"layer {some_of(found, 3)}",
        bound="layers with the policy float32",
        measured=", ".join(sorted(set(found.values()))),
        remedy="build it without `dtype='float64'` and `tf.keras.backend.set_floatx`, and copy the weights over"
        if wide
        else "build it with `tf.keras.mixed_precision.set_global_policy('float32')`; to store weights as float16 "
        "use the scheme float16",
    )


def check_exportable(model: Any, where: str = "task") -> None:
    """Check that a Keras model can be exported, converted, and evaluated, before hours of training.

    Raises:
        ModelError: `check_layers` refuses the model, it takes strings, or it has a dynamic dimension other than the
            batch.
    """
    from components.model.saved_model import check_signature

    check_layers(model, where)
    check_signature(input_specs(model), where)


def check_layers(model: Any, where: str = "task") -> None:
    """Check for properties that make it impossible to export a Keras model in any shape.

    Raises:
        ModelError: The model is stateful, computes in 16 or 64 bits, or has no defined inputs.
    """
    stateful = [layer.name for layer in layers_inside(model) if getattr(layer, "stateful", False)]
    if stateful:
        raise ModelError(
            "the model is stateful: what it returns depends on earlier calls",
            where=f"layer {', '.join(stateful)}",
            bound="stateful=False",
            measured="stateful=True",
            remedy="build it with stateful=False and give it complete sequences",
        )
    _refuse_widths(model)
    if not getattr(model, "inputs", None):
        raise ModelError(
            "the model does not define its inputs",
            where=where,
            bound="a functional model, or a Sequential model that starts with an Input",
            measured=type(model).__name__,
            remedy="give a Sequential model an Input first; wrap a subclassed model in a functional one: "
            "`image = Input(shape, name='image'); Model(image, model(image))`",
        )


def check_keras_takes(model: Any, inputs: Any) -> None:
    """Check that an exportable Keras model accepts what the task's `decode` returns for a few examples.

    Raises:
        DataError: Names or shapes differ.
        ModelError: The model fails on these inputs.
    """
    from components.model.saved_model import check_takes

    check_takes(lambda: model(inputs, training=False), input_specs(model), inputs)


def input_specs(model: Any) -> dict[str, tf.TensorSpec]:
    """The specs of the model's inputs, by name."""
    import tensorflow as tf

    named = {tensor.name.partition(":")[0]: tensor for tensor in model.inputs}
    return {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in named.items()}


def output_names(model: Any) -> tuple[str, ...]:
    """The names of the model's outputs, in the order of `model.outputs`: those of its layers, or of its own dict."""
    # Keras flattens a dict in the order of its sorted keys.
    names = sorted(model.output) if isinstance(model.output, dict) else model.output_names
    return tuple(name.partition(":")[0] for name in names)
