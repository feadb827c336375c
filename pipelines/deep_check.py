"""What only TensorFlow and the task's own code can tell before the first node runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.baseline.export import refuse_stateful
from components.baseline.pretrained import check_signature, load_keras, recognise
from components.baseline.spec import TrainedBaseline
from components.errors import DataError, EdgemillError, ModelError, SpecError
from components.task import Task, TrainableTask, load_task
from pipelines.load import LoadedPipeline, PipelineFileError
from pipelines.spec import DeclaredSplits

if TYPE_CHECKING:
    import tensorflow as tf


def deep_check(loaded: LoadedPipeline) -> None:
    """Import the task, decode the first records, build the model, and hold them against each other.

    Raises:
        PipelineFileError: With the first thing that is wrong.
    """
    try:
        task = load_task(loaded.spec.task)
        inputs = _decode_first_records(loaded, task)
        if isinstance(loaded.spec.baseline, TrainedBaseline):
            _check_trainable(loaded, task, inputs)
        else:
            _check_pretrained(Path(loaded.spec.baseline.path), inputs)
    except EdgemillError as error:
        raise PipelineFileError(loaded.file, [error]) from error


def _decode_first_records(loaded: LoadedPipeline, task: Task) -> Any:
    """The model's inputs for a few examples of each split; None where the records are not ours to read."""
    import tensorflow as tf

    examples, spec = loaded.spec.examples, loaded.spec
    if examples.kind != "tfrecord" or spec.preprocess is not None or "://" in examples.path:
        return None
    if examples.label not in task.feature_spec():
        raise SpecError(
            "the task's feature_spec does not have the label",
            where="examples.label",
            bound=f"one of {', '.join(sorted(task.feature_spec()))}",
            measured=examples.label,
            remedy="add it to feature_spec(), or correct examples.label",
        )
    splits = examples.splits
    patterns = splits.patterns.values() if isinstance(splits, DeclaredSplits) else [splits.pattern]
    inputs = None
    for pattern in patterns:
        for file in sorted(path for path in Path(examples.path).glob(pattern) if path.stat().st_size):
            inputs = _decode(task, _first_records(tf, file), file)
    return inputs


def _first_records(tf: Any, file: Path, count: int = 4) -> list[bytes]:
    compression = "GZIP" if file.open("rb").read(2) == b"\x1f\x8b" else ""
    return [record.numpy() for record in tf.data.TFRecordDataset(str(file), compression_type=compression).take(count)]


def _decode(task: Task, records: list[bytes], file: Path) -> Any:
    import tensorflow as tf

    try:
        features = tf.io.parse_example(tf.constant(records), dict(task.feature_spec()))
    except tf.errors.InvalidArgumentError as error:
        held = tf.train.Example.FromString(records[0]).features.feature
        raise DataError(
            f"the examples do not have the features that the task declares: {error.message.splitlines()[0]}",
            where=str(file),
            bound=", ".join(sorted(task.feature_spec())),
            measured=", ".join(sorted(held)) or "no features",
            remedy="write the examples with these features, or correct the task's feature_spec()",
        ) from error
    try:
        return task.decode(features)
    except Exception as error:
        raise SpecError(
            f"the task's decode fails: {type(error).__name__}: {str(error).splitlines()[0]}",
            where="task",
            remedy="run decode on one example and correct it",
        ) from error


def _check_trainable(loaded: LoadedPipeline, task: Task, inputs: Any) -> None:
    if not isinstance(task, TrainableTask):
        raise SpecError(
            "the baseline is to be trained, but the task has no build_model and compile",
            where="baseline",
            bound="the methods of components.task.TrainableTask",
            measured=type(task).__name__,
            remedy="add them, or name a pretrained model: `baseline: {kind: pretrained, path: ...}`",
        )
    try:
        model = task.build_model()
        task.compile(model)
    except Exception as error:
        raise SpecError(
            f"the task's model cannot be built: {type(error).__name__}: {str(error).splitlines()[0]}",
            where="task",
            remedy="call build_model() and compile() by themselves and correct them",
        ) from error
    refuse_stateful(model)
    if inputs is None:
        return
    outputs = _call(model, inputs)
    classes = loaded.spec.examples.num_classes
    if classes is not None and outputs.shape.rank == 2 and outputs.shape[-1] not in {1, classes}:
        raise ModelError(
            "the model's output does not fit the number of classes",
            where="examples.num_classes",
            bound=f"{outputs.shape[-1]}, as the model has outputs",
            measured=classes,
            remedy="correct num_classes, or the model's last layer",
        )


def _check_pretrained(path: Path, inputs: Any) -> None:
    import tensorflow as tf

    if recognise(path) == "saved_model":
        loaded = tf.saved_model.load(str(path))
        check_signature(loaded, str(path))
        return
    model = load_keras(path)
    if inputs is not None:
        _call(model, inputs)


def _call(model: Any, inputs: Any) -> tf.Tensor:
    try:
        return model(inputs, training=False)
    except Exception as error:
        raise ModelError(
            f"the model does not take what decode returns: {str(error).splitlines()[0]}",
            where="task",
            bound=", ".join(f"{tensor.name.partition(':')[0]} {tensor.shape}" for tensor in model.inputs),
            measured=str({k: v.shape for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.shape),
            remedy="make decode and the model's inputs agree",
        ) from error
