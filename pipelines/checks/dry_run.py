"""Checks that need TensorFlow and the task's code, before the first node runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from components.calibrate.feature import feature_reader
from components.core.errors import DataError, EdgemillError, SpecError, summary_line
from components.core.user_code import exits_reported, in_time, raised_at
from components.core.values import Watch, unwatched
from components.data.dense import check_dense, named_label
from components.data.objects import load_object
from components.data.task import Task, check_decoded, check_rows, compiling, features_of, load_task
from components.spec.baseline import PretrainedBaseline, TrainedBaseline
from components.spec.calibrate import CalibrationSpec
from pipelines.checks import first_batch
from pipelines.checks.examples.empty_cells import check_cells
from pipelines.checks.first_records import check_schema, files_by_split, records_by_split
from pipelines.checks.model_check import BUILDING, check_compiles, checked_model
from pipelines.checks.operator_check import lacking_operators
from pipelines.checks.output_check import Batch, Built, batch_of, check_outputs, check_shapes, check_targets_declared
from pipelines.checks.recipe_check import CheckedRecipes, Previews, check_recipes
from pipelines.file.impossible import without_impossible
from pipelines.file.load import LoadedPipeline, PipelineFileError
from pipelines.file.spec import CsvExamples, Examples, HashedSplits, PipelineSpec

# Split (None if splits are hashed) -> a few examples.
Batches = dict[str | None, Batch]


def dry_run(loaded: LoadedPipeline, watch: Watch = unwatched) -> tuple[LoadedPipeline, Previews]:
    """Import the task, decode the first records, build the model, and check them against each other and the recipes.

    Args:
        loaded: The pipeline.
        watch: Called with the current check.

    Returns:
        The pipeline, without recipes that cannot work on the model if they can be skipped; and how each of the others
        treats each layer (`CheckedRecipes`).

    Raises:
        PipelineFileError: The first error of the data, the task, or the model, or all errors of the recipes.
    """
    checked = _reporting(loaded, lambda spec: _checked(spec, watch))
    possible = without_impossible(loaded, checked.refused)
    return possible.model_copy(update={"lacking": lacking_operators(checked.kinds, loaded.devices)}), checked.previews


def check_model(loaded: LoadedPipeline) -> LoadedPipeline:
    """Import the task, build the model, and check it against the recipes, if there are no examples.

    Returns:
        The pipeline, without recipes that cannot work on the model if they can be skipped.

    Raises:
        PipelineFileError: As for `dry_run`.
    """

    def checked(spec: PipelineSpec) -> CheckedRecipes:
        task = load_task(spec.task)
        return _checked_recipes(spec, task, checked_model(spec, task, None))

    return without_impossible(loaded, _reporting(loaded, checked).refused)


def _reporting(loaded: LoadedPipeline, check: Callable[[PipelineSpec], CheckedRecipes]) -> CheckedRecipes:
    """Run a check, and convert its error to an error of the pipeline file."""
    try:
        with exits_reported("task"):
            return check(loaded.spec)
    except EdgemillError as error:
        raise PipelineFileError(loaded.file, [error]) from error


def _checked(spec: PipelineSpec, watch: Watch) -> CheckedRecipes:
    """Check everything, and raise the original error unless it is about a recipe."""
    # Four stages come before the recipes: importing TensorFlow, the task, the examples, and the model.
    stages = 4 + len(spec.recipes)
    watch(0, stages, "importing TensorFlow")
    import tensorflow  # noqa: F401  # so that its import time doesn't count against user code

    check_schema(spec.examples)
    watch(1, stages, "importing the task")
    task = load_task(spec.task)
    if spec.preprocess is not None:
        load_object(spec.preprocess, "preprocess")
    watch(2, stages, "reading examples")
    batches: Batches = {}
    # The output of a preprocessing function is unknown until Transform runs. Remote data isn't read here.
    if spec.preprocess is None:
        features = features_of(task)
        check_dense(_dense_features(spec), features)
        first_batch.check_label_type(features, spec.examples.label)
        if "://" not in spec.examples.path:
            batches = _decode_first_records(spec, task, features)
        if not batches:
            _trace_decode(task, features)
    inputs = next((batch.inputs for batch in batches.values()), None)
    watch(3, stages, "building the model")
    built = checked_model(spec, task, inputs)
    # A model that will be trained is checked with its loss.
    if isinstance(spec.baseline, PretrainedBaseline):
        for batch in batches.values():
            first_batch.check_outputs_finite(built, batch.inputs, spec.baseline.path)
    check_targets_declared(spec, task, built)
    check_shapes(spec, task, built, batches.values())
    if isinstance(spec.baseline, TrainedBaseline) and batches:
        used = (spec.baseline.split, spec.evaluate.split)
        with in_time("training on the first batch", "task", BUILDING):
            first_batch.check_trains(built.model, *(batches.get(split) or batches[None] for split in used))
    check_outputs(spec, task, built, batches.values())
    checked = _checked_recipes(spec, task, built, lambda done, _, what: watch(4 + done, stages, what))
    if isinstance(spec.baseline, PretrainedBaseline):
        _check_steps_train(spec, task, built, batches, checked)
    return checked


def _check_steps_train(spec: PipelineSpec, task: Task, built: Built, batches: Batches, checked: CheckedRecipes) -> None:
    """Train a pretrained model on the first batch if a step will train it."""
    steps = [step for recipe in spec.recipes if recipe.name not in checked.refused for step in recipe.steps]
    if not steps:
        return
    check_compiles(compiling(task), built.model)
    if not batches:
        return
    for split in dict.fromkeys(spec.training_split(step) for step in steps):
        used = (batches.get(each) or batches[None] for each in (split, spec.evaluate.split))
        with in_time("training on the first batch", "task", BUILDING):
            first_batch.check_trains(built.model, *used)


def _checked_recipes(spec: PipelineSpec, task: Task, built: Built, watch: Watch = unwatched) -> CheckedRecipes:
    with in_time("the check of the recipes", "recipes", BUILDING):
        return check_recipes(spec.recipes, task, built, watch)


def _dense_features(spec: PipelineSpec) -> dict[str, str]:
    """Map the features that the evaluation reads to the fields that name them."""
    wanted = dict.fromkeys(chain.from_iterable(spec.slices()), "gate.metrics")
    wanted |= dict.fromkeys(chain.from_iterable(spec.evaluate.slices), "evaluate.slices")
    wanted |= dict.fromkeys(
        chain.from_iterable(metric.features for metric in spec.evaluate.metrics), "evaluate.metrics"
    )
    if spec.evaluate.group_by is not None:
        wanted[spec.evaluate.group_by] = "evaluate.group_by"
    return wanted | named_label(spec.examples.label)


def _decode_first_records(spec: PipelineSpec, task: Task, declared: Mapping[str, Any]) -> Batches:
    """Decode one batch of each split, and check the first records of each file."""
    stratifying = _stratifying(spec)
    batches: Batches = {}
    if isinstance(spec.examples, CsvExamples):
        check_cells([file for _, files in files_by_split(spec.examples) for file in files], _required(declared))
    for split, first in records_by_split(spec.examples, declared):
        if not first:
            raise DataError(
                f"there are no examples for the split {split!r}",
                where="examples.splits",
                bound="at least one record",
                measured="only files without records",
                remedy="put the data there, or correct the pattern",
            )
        for file, records in first.items():
            batches[split] = _decode(spec.examples, task, declared, records, file)
            if isinstance(spec.examples.splits, HashedSplits) and spec.examples.splits.feature:
                first_batch.check_partition(records, spec.examples.splits.feature, file)
            if stratifying and split in {None, stratifying.split}:
                for record in records:
                    feature_reader(str(stratifying.stratify_by))(record)
    return batches


def _required(declared: Mapping[str, Any]) -> list[str]:
    """The features that every example must have."""
    import tensorflow as tf

    return [name for name, feature in declared.items()
            if isinstance(feature, tf.io.FixedLenFeature) and feature.default_value is None]  # fmt: skip


def _stratifying(spec: PipelineSpec) -> CalibrationSpec | None:
    """Return the `calibrate` section if the sample is stratified by a feature, which need not be in the task's spec."""
    drawn = any(recipe.needs_calibration for recipe in spec.recipes)
    return spec.calibrate if drawn and spec.calibrate and spec.calibrate.stratify_by else None


def _decode(examples: Examples, task: Task, declared: Mapping[str, Any], records: list[bytes], file: Path) -> Batch:
    import tensorflow as tf

    try:
        features = tf.io.parse_example(tf.constant(records), dict(declared))
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # TensorFlow quotes the raw record.
        raise DataError(
            f"the examples do not have the features that the task declares: {summary_line(error)}",
            where=str(file),
            bound=", ".join(_in_words(name, declared[name]) for name in sorted(declared)),
            measured=_features_in(records),
            remedy="write the examples with these features, or correct the task's feature_spec()",
        ) from error
    first_batch.check_values(features, examples.label, examples.num_classes, file)
    with _decoding():
        decoded = task.decode(features)
    check_decoded(decoded)
    check_rows(decoded, len(records))
    # The batch size must not be a constant in the task: the last batch has fewer examples.
    first = tf.io.parse_example(tf.constant(records[:1]), dict(declared))
    with _decoding():
        alone = task.decode(first)
    check_rows(alone, 1)
    first_batch.check_finite(decoded, file)
    batch = batch_of(task, features, examples.label, decoded, len(records))
    batch_of(task, first, examples.label, alone, 1)
    return batch


def _in_words(name: str, feature: Any) -> str:
    """A feature's declaration, such as `image: 784 of float32`."""
    shape, dtype = getattr(feature, "shape", None), getattr(feature, "dtype", None)
    kind = dtype.name if dtype is not None else "any type"
    return f"{name}: {kind}" if shape is None else f"{name}: {_size(list(shape))} of {kind}"


def _size(shape: list[int | None]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _features_in(records: list[bytes]) -> str:
    """The content of the first records, such as `image: 784 of float`; all forms of a feature that varies."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    types = {"int64_list": "int64", "float_list": "float32", "bytes_list": "string"}
    forms: dict[str, dict[str, None]] = {}
    try:
        for record in records:
            for name, feature in tf.train.Example.FromString(record).features.feature.items():
                kind = feature.WhichOneof("kind")
                form = f"{len(getattr(feature, kind).value)} of {types[kind]}" if kind else "nothing"
                forms.setdefault(name, {})[form] = None
    except DecodeError:
        return "records that are not tf.Examples"
    return ", ".join(f"{name}: {' or '.join(forms[name])}" for name in sorted(forms)) or "no features"


def _trace_decode(task: Task, declared: Mapping[str, Any]) -> None:
    """Check that decode runs on features of the declared shapes, if no records can be read in advance."""
    import tensorflow as tf

    def parse_and_decode(serialized: Any) -> Any:
        decoded = task.decode(tf.io.parse_example(serialized, dict(declared)))
        check_decoded(decoded)
        return decoded

    with _decoding():
        tf.function(parse_and_decode, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.string))


@contextmanager
def _decoding() -> Iterator[None]:
    try:
        with in_time("the task's decode", "task"):
            yield
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"the task's decode fails: {type(error).__name__}: {summary_line(error)}",
            where="task",
            measured=raised_at(error),
            remedy="run decode on one example and fix it",
        ) from error
