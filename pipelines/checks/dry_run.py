"""What only TensorFlow and the task's own code can tell before the first node runs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from components.baseline.pretrained import has_keras_structure, load_keras
from components.calibrate.feature import feature_reader
from components.core.errors import DataError, EdgemillError, ModelError, SpecError, summary_line
from components.core.user_code import exits_reported, in_time, raised_at
from components.data.examples import check_dense
from components.data.task import Task, load_object, load_task, trainable
from components.data.task_contract import check_decoded, features_of
from components.model.keras_model import check_exportable, check_keras_takes, check_learns
from components.spec.baseline import TrainedBaseline
from components.spec.calibrate import CalibrationSpec
from pipelines.checks.first_records import files_by_split, first_records
from pipelines.checks.integer_check import check_integers
from pipelines.checks.schema_check import check_schema
from pipelines.checks.step_check import Previews, check_steps
from pipelines.checks.training_check import check_compiled, check_trains
from pipelines.checks.value_check import check_finite, check_label_type, check_partition, check_values
from pipelines.file.accuracy_bound import asks_for_fewest_float
from pipelines.file.load import LoadedPipeline, PipelineFileError
from pipelines.file.spec import Examples, HashedSplits, PipelineSpec

# Split, None where splits are hashed -> the model's inputs and the labels for a few examples.
Batches = dict[str | None, tuple[Any, Any]]

# How many times the limit of user code: models may be fetched, and are traced.
_BUILDING = 5.0


def dry_run(loaded: LoadedPipeline) -> Previews:
    """Import the task, decode the first records, build the model, and hold them and the recipes against each other.

    Returns:
        What the recipes that train do to each layer.

    Raises:
        PipelineFileError: With the first thing that is wrong.
    """
    try:
        with exits_reported("task"):
            return _checked(loaded.spec)
    except EdgemillError as error:
        raise PipelineFileError(loaded.file, [error]) from error


def _checked(spec: PipelineSpec) -> Previews:
    """As `dry_run`; raises what is wrong as it is."""
    import tensorflow  # noqa: F401  # in nobody's time but ours

    check_schema(spec.examples)
    task = load_task(spec.task)
    if spec.preprocess is not None:
        load_object(spec.preprocess, "preprocess")
    batches: Batches = {}
    # What a preprocessing function returns is known when Transform has run; remote data is not ours to read.
    if spec.preprocess is None:
        features = features_of(task)
        check_dense(_dense_features(spec), features)
        check_label_type(features, spec.examples.label)
        if "://" not in spec.examples.path:
            batches = _decode_first_records(spec, task, features)
        if not batches:
            _trace_decode(task, features)
    inputs = next((inputs for inputs, _ in batches.values()), None)
    if isinstance(spec.baseline, TrainedBaseline):
        model, output = _check_trainable(task, inputs)
    else:
        model, output = _check_pretrained(Path(spec.baseline.path), inputs, trust_code=spec.baseline.trust_code)
    _check_output(spec, output)
    if isinstance(spec.baseline, TrainedBaseline) and batches:
        used = (spec.baseline.split, spec.evaluate.split)
        with in_time("training on the first batch", "task", _BUILDING):
            check_trains(model, *(batches.get(split) or batches[None] for split in used))
    _check_metrics(spec)
    if output.rank and None not in output[1:]:
        for _, labels in batches.values():
            _check_computed(spec, labels, output)
    with in_time("the check of the recipes' steps", "recipes", _BUILDING):
        if model is not None:
            check_integers(spec.recipes, model)
        return check_steps(spec, task, model)


def _dense_features(spec: PipelineSpec) -> dict[str, str]:
    """The features that evaluation reads, and the field that asks for each."""
    wanted = dict.fromkeys(chain.from_iterable(spec.slices()), "gate.metrics")
    wanted |= dict.fromkeys(chain.from_iterable(spec.evaluate.slices), "evaluate.slices")
    return wanted | {spec.examples.label: "examples.label"}


def _decode_first_records(spec: PipelineSpec, task: Task, declared: Mapping[str, Any]) -> Batches:
    """A batch of each split, after a look at each file."""
    stratifying = _stratifying(spec)
    batches: Batches = {}
    for split, files in files_by_split(spec.examples):
        first = {file: records for file in files if (records := first_records(file, spec.examples.kind, declared))}
        if not first:
            raise DataError(
                f"there are no examples for the split {split!r}",
                where="examples.splits",
                bound="at least one record",
                measured=f"{len(files)} files without records",
                remedy="put the data there, or correct the pattern",
            )
        for file, records in first.items():
            batches[split] = _decode(spec.examples, task, declared, records, file)
            if isinstance(spec.examples.splits, HashedSplits) and spec.examples.splits.feature:
                check_partition(records, spec.examples.splits.feature, file)
            if stratifying and split in {None, stratifying.split}:
                for record in records:
                    feature_reader(str(stratifying.stratify_by))(record)
    return batches


def _stratifying(spec: PipelineSpec) -> CalibrationSpec | None:
    """The sample, if one is drawn by a feature: any that each tf.Example has, known to the task or not."""
    drawn = any(recipe.needs_calibration for recipe in spec.recipes)
    return spec.calibrate if drawn and spec.calibrate and spec.calibrate.stratify_by else None


def _decode(
    examples: Examples, task: Task, declared: Mapping[str, Any], records: list[bytes], file: Path
) -> tuple[Any, Any]:
    import tensorflow as tf

    try:
        features = tf.io.parse_example(tf.constant(records), dict(declared))
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # TensorFlow quotes the record as it is
        held = _features_in(records[0])
        raise DataError(
            f"the examples do not have the features that the task declares: {summary_line(error)}",
            where=str(file),
            bound=", ".join(sorted(declared)),
            measured=held,
            remedy="write the examples with these features, or correct the task's feature_spec()",
        ) from error
    check_values(features, examples.label, examples.num_classes, file)
    try:
        with in_time("the task's decode", "task"):
            decoded = task.decode(features)
    except EdgemillError:
        raise
    except Exception as error:
        raise _decode_fails(error) from error
    check_decoded(decoded)
    check_finite(decoded, file)
    return decoded, features[examples.label]


def _features_in(record: bytes) -> str:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return ", ".join(sorted(tf.train.Example.FromString(record).features.feature)) or "no features"
    except DecodeError:
        return "records that are no tf.Example"


def _trace_decode(task: Task, declared: Mapping[str, Any]) -> None:
    """See that decode runs on features of the declared shapes, where no record can be read up front."""
    import tensorflow as tf

    def parse_and_decode(serialized: Any) -> Any:
        decoded = task.decode(tf.io.parse_example(serialized, dict(declared)))
        check_decoded(decoded)
        return decoded

    try:
        with in_time("the task's decode", "task"):
            tf.function(parse_and_decode, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.string))
    except EdgemillError:
        raise
    except Exception as error:
        raise _decode_fails(error) from error


def _decode_fails(error: Exception) -> SpecError:
    return SpecError(
        f"the task's decode fails: {type(error).__name__}: {summary_line(error)}",
        where="task",
        measured=raised_at(error),
        remedy="run decode on one example and correct it",
    )


def _check_trainable(task: Task, inputs: Any) -> tuple[Any, Any]:
    """The Keras model, and the shape of its output."""
    maker = trainable(task)
    try:
        with in_time("the task's build_model or compile", "task", _BUILDING):
            model = maker.build_model()
            maker.compile(model)
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"the task's model cannot be built: {type(error).__name__}: {summary_line(error)}",
            where="task",
            remedy="call build_model() and compile() by themselves and correct them",
        ) from error
    check_exportable(model)
    check_compiled(model)
    check_learns(model)
    if inputs is not None:
        check_keras_takes(model, inputs)
    return model, model.outputs[0].shape


def _check_pretrained(path: Path, inputs: Any, *, trust_code: bool) -> tuple[Any, Any]:
    """The Keras model, or None for one without Keras structure, and the shape of its output."""
    if has_keras_structure(path):
        model = load_keras(path, trust_code=trust_code)
        if inputs is not None:
            check_keras_takes(model, inputs)
        return model, model.outputs[0].shape
    from components.model.saved_model import check_serving, check_takes, load_serving, run_serving

    # The model is held to the end: its signature's variables live no longer.
    _model, signature = load_serving(path)
    check_serving(signature, str(path))
    if inputs is not None:
        named = inputs if isinstance(inputs, Mapping) else {"": inputs}
        check_takes(lambda: run_serving(signature, named), signature.structured_input_signature[1], inputs)
    return None, next(iter(signature.structured_outputs.values())).shape


def _check_output(spec: PipelineSpec, shape: Any) -> None:
    """Hold the shape of the model's output against the number of classes and the metrics."""
    outputs = shape.rank and (1 if shape.rank == 1 else shape[-1])
    classes = spec.examples.num_classes
    if classes is not None and shape.rank == 2 and outputs not in {None, 1, classes}:
        raise ModelError(
            "the model's output does not fit the number of classes",
            where="examples.num_classes",
            bound=f"{outputs}, as the model has outputs",
            measured=classes,
            remedy="correct num_classes, or the model's last layer",
        )
    sparse = [metric.name for metric in spec.evaluate.metrics if metric.class_name.startswith("Sparse")]
    if sparse and outputs == 1:
        raise SpecError(
            f"the metric {sparse[0]!r} compares outputs for each class, and the model has one output",
            where="evaluate.metrics",
            bound="at least two outputs",
            measured=f"an output of shape {shape}",
            remedy="take `binary_accuracy` (`evaluate: {metrics: [binary_accuracy]}`), or give the model an output "
            "for each class",
        )


def _check_computed(spec: PipelineSpec, labels: Any, output: Any) -> None:
    """See that each metric can be computed of the labels and of outputs in the model's shape."""
    import numpy as np

    from components.evaluate.metric_check import check_computed

    # As if the model found all classes equally probable.
    outputs = np.full((len(labels), *output[1:]), 1 / max(2, output[-1] if output.rank > 1 else 1), np.float32)
    check_computed(spec.evaluate.metrics, np.asarray(labels), outputs)
    if any(map(asks_for_fewest_float, spec.recipes)):
        from components.convert.aeq.metric import score

        first = spec.evaluate.metrics[0]
        score(first.class_name, first.config, np.asarray(labels), outputs)


def _check_metrics(spec: PipelineSpec) -> None:
    """See that each metric can be made, and the first be computed on the calibration sample where a recipe needs it."""
    from components.evaluate.evaluation import check_metrics

    check_metrics(spec.evaluate, spec.examples.label)
    if any(map(asks_for_fewest_float, spec.recipes)):
        from components.convert.aeq.metric import keras_metric

        keras_metric(spec.evaluate.metrics[0].class_name, spec.evaluate.metrics[0].config)
