"""Builds or loads the baseline's model, and checks it. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from components.baseline.built import built_model
from components.baseline.pretrained import SavedLayers, load_keras, load_layers
from components.baseline.source import recognize
from components.core.errors import ConversionError, EdgemillError, ModelError, SpecError, summary_line
from components.core.user_code import in_time
from components.data.compiled import compile_model
from components.data.task import CompilingTask, Task, trainable
from components.model.keras_model import check_exportable, check_keras_takes, check_learns
from components.spec.baseline import PretrainedBaseline, TrainedBaseline
from pipelines.checks import first_batch
from pipelines.checks.converted.model import native_silence
from pipelines.checks.output_check import Built, built_of_keras
from pipelines.file.spec import PipelineSpec

# Multiple of the time limit for user code: models are traced, and may be downloaded.
BUILDING = 5.0


def checked_model(spec: PipelineSpec, task: Task, inputs: Any) -> Built:
    """Build or load the baseline's model, and check that it can be exported and trained.

    Args:
        spec: The pipeline.
        task: Its task.
        inputs: Decoded inputs of a few examples, which the model must accept; None if there are none.

    Raises:
        SpecError, ModelError: The model can't be built or loaded, can't be exported, or doesn't take the inputs.
    """
    if isinstance(spec.baseline, TrainedBaseline):
        return _check_trainable(task, inputs)
    return check_pretrained(spec.baseline, inputs)


def _check_trainable(task: Task, inputs: Any) -> Built:
    """Build and check the Keras model."""
    maker = trainable(task)
    with _reported("the task's model cannot be built"), in_time("the task's build_model or compile", "task", BUILDING):
        model = built_model(maker)
        compile_model(maker, model)
    check_exportable(model)
    first_batch.check_compiled(model)
    check_learns(model)
    if inputs is not None:
        check_keras_takes(model, inputs)
    return built_of_keras(model)


def check_compiles(task: CompilingTask, model: Any) -> None:
    """Compile a pretrained model for the steps that train it.

    Raises:
        SpecError: The task's `compile` fails, or doesn't compile the model.
    """
    with _reported("the pretrained model cannot be compiled"), in_time("the task's compile", "task", BUILDING):
        compile_model(task, model)
    first_batch.check_compiled(model)


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Report any error of user code as an error of the task."""
    try:
        yield
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"{what}: {type(error).__name__}: {summary_line(error)}",
            where="task",
            remedy="call build_model() and compile() by themselves and fix them",
        ) from error


def check_pretrained(baseline: PretrainedBaseline, inputs: Any) -> Built:
    """Load and check a pretrained model, which may have no Keras structure.

    Raises:
        SpecError, ModelError: As for `checked_model`.
    """
    source = recognize(Path(baseline.path), baseline.signature)
    if source.format == "tflite":
        return _check_tflite(baseline, inputs)
    layers = SavedLayers(None, None)
    if source.trains and source.format == "saved_model":
        from components.baseline.graphs import load_graph

        layers = load_layers(baseline, load_graph(baseline))
    model = load_keras(baseline, inputs) if source.format == "keras" else layers.model
    if model is not None:
        first_batch.check_weights_finite(model.weights, baseline.path)
        if inputs is not None:
            check_keras_takes(model, inputs)
        return built_of_keras(model)
    return _check_graph(baseline, inputs, untrained=layers.failure)


def _check_graph(baseline: PretrainedBaseline, inputs: Any, *, untrained: ModelError | None) -> Built:
    """Check a signature of a SavedModel. `untrained` says why steps can't train its Keras layers, if it has any."""
    from components.baseline.graphs import load_graph
    from components.model.saved_model import check_takes, operations_of, run_serving

    # Keep a reference to the model: the variables of its signature live only as long as it does.
    held, signature, _ = load_graph(baseline)
    first_batch.check_weights_finite(signature.variables, baseline.path)

    def run(inputs: Any, _held: Any = held) -> dict[str, Any]:
        return run_serving(signature, inputs if isinstance(inputs, Mapping) else {"": inputs})

    if inputs is not None:
        check_takes(lambda: run(inputs), signature.structured_input_signature[1], inputs)
    shapes = {name: spec.shape for name, spec in signature.structured_outputs.items()}
    converted = cache(lambda: _converted(signature, held))
    return Built(
        None,
        shapes,
        run,
        operations=operations_of(signature),
        converted=lambda: None if isinstance(content := converted(), ConversionError) else content,
        failure=lambda: content if isinstance(content := converted(), ConversionError) else None,
        untrained=untrained,
    )


def _converted(signature: Any, held: Any) -> bytes | ConversionError:
    """The float file that the converter creates from a signature, or the reason why it refuses the signature."""
    import tensorflow as tf

    from components.convert.tensorflow.converter import convert_float
    from components.model.saved_model import with_batch_of_one

    specs = signature.structured_input_signature[1]
    one = {name: with_batch_of_one(name, spec, name) for name, spec in specs.items()}
    try:
        with native_silence():
            return convert_float(tf.function(signature, autograph=False).get_concrete_function(**one), held)
    except ConversionError as error:
        return error


def _check_tflite(baseline: PretrainedBaseline, inputs: Any) -> Built:
    import numpy as np
    import tensorflow as tf

    from components.baseline.tflite import load_tflite

    model = load_tflite(baseline)

    def run(inputs: Any) -> dict[str, Any]:
        named = inputs if isinstance(inputs, Mapping) else {"": inputs}
        return model.predict({name: np.asarray(values) for name, values in named.items()})

    if inputs is not None:
        run(inputs)
    shapes = {name: tf.TensorShape([None, *shape[1:]]) for name, shape in model.output_shapes.items()}
    return Built(None, shapes, run, float_file=Path(baseline.path).read_bytes())
