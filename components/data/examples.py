"""Reading tf.Examples: one parser and one decoder for training, calibration, and evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, summary_line
from components.core.user_code import exits_reported
from components.data.records import serialized_batches
from components.data.supervision import (
    ONLY,
    check_supervision,
    fit_targets,
    label_or_targets,
    nothing_to_learn,
    targets_of,
    weights_of,
)
from components.data.task import (
    TaskWithTargets,
    WeighingTask,
    check_decoded,
    check_rows,
    features_of,
    is_uneven,
    load_task,
)

if TYPE_CHECKING:
    import tensorflow as tf

Inputs = dict[str, npt.NDArray[Any]]
# Serialized tf.Examples; a string tensor [N] is decoded without a copy.
Serialized: TypeAlias = "Sequence[bytes] | npt.NDArray[Any] | tf.Tensor"


@dataclass(frozen=True)
class Decoded:
    """A batch of N decoded examples.

    Attributes:
        inputs: Input name -> array [N, ...]. An unnamed single input has the name "".
        features: Name of a dense feature -> array [N, ...].
        targets: Output name -> array [N, ...]. A task without `targets` has the label under the name "", or nothing.
        weights: Weights of the examples, float32 [N]; None if all have the same weight.
    """

    inputs: Inputs
    features: Inputs
    targets: Inputs
    weights: npt.NDArray[Any] | None


def split_files(examples_uri: str, split: str) -> list[str]:
    """The gzipped TFRecord files of one split of an Examples artifact, sorted by name.

    Raises:
        DataError: There are none.
    """
    files = sorted(str(path) for path in Path(examples_uri, f"Split-{split}").glob("*") if path.is_file())
    if not files:
        raise DataError(
            f"there are no examples in the split {split!r}",
            where=examples_uri,
            remedy="check `examples.splits` of the pipeline file against the data folder",
        )
    return files


class ExampleDecoder:
    """Turns serialized tf.Examples into model inputs with the task's `feature_spec` and `decode`.

    Args:
        task: Reference of the task, `package.module:NAME`.
        transform_graph: Folder of a TensorFlow Transform graph if the examples went through one. The parsed features
            are then the results of its `preprocessing_fn`.
    """

    def __init__(self, task: str, transform_graph: str | None = None) -> None:
        import tensorflow as tf

        self._tf = tf
        self._task = load_task(task)
        if transform_graph is None:
            self.feature_spec: Mapping[str, Any] = features_of(self._task)
        else:
            import tensorflow_transform as tft

            self.feature_spec = tft.TFTransformOutput(transform_graph).transformed_feature_spec()
        self._traces: dict[Any, Any] = {}
        # One trace serves batches of any size.
        batch = tf.TensorSpec([None], tf.string)
        self._decode = tf.function(self._parse_and_decode, input_signature=[batch], autograph=False)
        self._supervise = tf.function(self._parse_and_supervise, input_signature=[batch], autograph=False)
        # One parser for each set of features to read.
        self._compare: dict[frozenset[str], Any] = {}

    def _parse_and_supervise(self, serialized: tf.Tensor) -> tuple[Any, Any, Any, list[tf.Tensor]]:
        """Inputs, features, the task's own targets, and a list with the weights if it has them."""
        decoded, features = self._parse_and_decode(serialized)
        return decoded, features, *self._supervision_of(features)

    def _parse_targets(self, read: frozenset[str], serialized: tf.Tensor) -> tuple[Any, Any, list[tf.Tensor]]:
        features = self._tf.io.parse_example(serialized, {name: self.feature_spec[name] for name in read})
        return features, *self._supervision_of(features)

    def _supervision_of(self, features: dict[str, tf.Tensor]) -> tuple[Any, list[tf.Tensor]]:
        weights = weights_of(self._task, features)
        return targets_of(self._task, features), [] if weights is None else [weights]

    def _parse_and_decode(self, serialized: tf.Tensor) -> tuple[Any, dict[str, tf.Tensor]]:
        features = self._tf.io.parse_example(serialized, dict(self.feature_spec))
        with exits_reported("task"):
            decoded = self._task.decode(features)
        check_decoded(decoded)
        return decoded, features

    def decode(self, serialized: Serialized) -> tuple[Inputs, Inputs]:
        """Decode a batch.

        Args:
            serialized: N serialized tf.Examples.

        Returns:
            The model's inputs and the parsed features, both as name -> array [N, ...]. An unnamed single input has the
            name "".

        Raises:
            DataError: A required feature is missing or has the wrong type or shape.
            SpecError: The task's `decode` doesn't return a row for each example.
        """
        inputs, features = self._run(self._decode, serialized)
        named = _named(inputs)
        check_rows(named, len(serialized))
        return named, self._dense(features)

    def decode_all(self, serialized: Serialized, label: str) -> Decoded:
        """Decode a batch with targets and weights.

        Args:
            serialized: N serialized tf.Examples.
            label: The feature that is the target if the task declares no targets; "" for none.

        Raises:
            DataError: A required feature is missing or has the wrong type or shape, or a weight is negative
                or not finite.
            SpecError: The task's `decode`, `targets`, or `example_weights` fails or returns something else.
        """
        inputs, features, own, held = self._run(self._supervise, serialized)
        dense, named = self._dense(features), _named(inputs)
        check_rows(named, len(serialized))
        return Decoded(named, dense, *self._checked(own, held, dense, label, len(serialized)))

    def supervision(self, serialized: Serialized, label: str, read: Collection[str]) -> Decoded:
        """Like `decode_all`, but without inputs, and with only some features. Doesn't call the task's `decode`.

        Args:
            serialized: N serialized tf.Examples.
            label: The feature that is the target if the task declares no targets; "" for none.
            read: Names of the dense features to return, including the label's.

        Raises:
            DataError: As for `decode_all`.
            SpecError: The task's `targets` or `example_weights` fails or returns something else.
        """
        features, own, held = self._run(self._comparing(frozenset(read)), serialized)
        dense = self._dense({name: value for name, value in features.items() if name in read})
        return Decoded({}, dense, *self._checked(own, held, dense, label, len(serialized)))

    def _comparing(self, read: frozenset[str]) -> Any:
        """The parser of the features that are read, or of all features for a task that computes targets or weights."""
        if read not in self._compare:
            named = read & self.feature_spec.keys()
            if not named or isinstance(self._task, TaskWithTargets | WeighingTask):
                named = frozenset(self.feature_spec)
            batch = self._tf.TensorSpec([None], self._tf.string)
            parse = functools.partial(self._parse_targets, named)
            self._compare[read] = self._tf.function(parse, input_signature=[batch], autograph=False)
        return self._compare[read]

    @staticmethod
    def _checked(
        own: Any, held: Sequence[Any], dense: Inputs, label: str, count: int
    ) -> tuple[Inputs, npt.NDArray[Any] | None]:
        targets = _named(label_or_targets(own, dense, label))
        weights = np.asarray(held[0]) if held else None
        check_supervision(targets, weights, count)
        return targets, weights

    def _run(self, traced: Any, serialized: Serialized) -> Any:
        tf = self._tf
        if not isinstance(serialized, tf.Tensor):
            serialized = tf.constant(list(serialized), dtype=tf.string)
        try:
            # Calling the only trace directly skips TensorFlow's search for it.
            if traced not in self._traces:
                self._traces[traced] = traced.get_concrete_function()
            return self._traces[traced](serialized)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # TensorFlow quotes the raw record.
            raise DataError(
                f"an example does not have the features that the task declares: {summary_line(error)}",
                where="examples",
                bound=f"features {', '.join(sorted(self.feature_spec))}",
                remedy="correct the data, or the task's feature_spec()",
            ) from error

    def _dense(self, features: Mapping[str, Any]) -> Inputs:
        return {name: np.asarray(value) for name, value in features.items() if not is_uneven(value)}

    def dataset(
        self,
        files: Sequence[str],
        batch_size: int,
        label: str,
        outputs: Sequence[str] = (ONLY,),
        shuffled: int = 1,
        seed: int | None = None,
        taken: Callable[[Any], Any] | None = None,
    ) -> tf.data.Dataset:
        """Batches of (inputs, targets), or (inputs, targets, weights) if examples have weights, as Keras takes them.

        Args:
            files: Gzipped TFRecord files.
            batch_size: Examples in a batch. The last batch can have fewer.
            label: The feature that is the target if the task declares no targets.
            outputs: Names of the outputs of the model that is trained.
            shuffled: Size of the shuffle buffer, in serialized examples. Each iteration has a new order; 1 keeps the
                order of the files.
            seed: Seed of the shuffling.
            taken: Index of an example in the order of the files, an int64 tensor -> whether to read it. None reads all.

        Raises:
            SpecError: There are neither targets nor a label.
        """
        if not label and not isinstance(self._task, TaskWithTargets):
            # TensorFlow would wrap an error from the function that it traces.
            raise nothing_to_learn(outputs, "task")
        tf = self._tf
        records = tf.data.TFRecordDataset(list(files), compression_type="GZIP")
        if taken is not None:
            wanted = taken
            records = records.enumerate().filter(lambda index, _: wanted(index)).map(lambda _, record: record)
        if shuffled > 1:
            records = records.shuffle(shuffled, seed=seed)

        def supervised(serialized: Any) -> tuple[Any, ...]:
            inputs, features, own, weights = self._parse_and_supervise(serialized)
            return inputs, fit_targets(label_or_targets(own, features, label), outputs, "task"), *weights

        return records.batch(batch_size).map(supervised, num_parallel_calls=2)


def _named(values: Any) -> Inputs:
    named = values if isinstance(values, Mapping) else {"": values}
    return {name: np.asarray(value) for name, value in named.items()}


def read_serialized(files: Sequence[str]) -> Iterator[bytes]:
    """Serialized tf.Examples of gzipped TFRecord files, in their order. Raises the errors of `serialized_batches`."""
    # Without batches, TensorFlow takes longer to return a record than to read it.
    for records in serialized_batches(files, 64):
        yield from records


def first_inputs(files: Sequence[str], count: int, task: str, transform_graph: str | None, purpose: str) -> Inputs:
    """The decoded model inputs of the first examples of a split, by name, arrays [N, ...] with N at most `count`.

    Raises:
        DataError: There are no examples for this purpose.
    """
    return ExampleDecoder(task, transform_graph).decode(first_examples(files, count, purpose))[0]


def first_examples(files: Sequence[str], count: int | None, purpose: str) -> list[bytes]:
    """The first serialized tf.Examples of a split, at most `count`; None for all.

    Raises:
        DataError: There are no examples for this purpose.
    """
    serialized = list(islice(read_serialized(files), count))
    if not serialized:
        raise DataError(
            f"there are no examples to {purpose}",
            where=", ".join(files) or "evaluate.split",
            remedy="check the data folder and the splits",
        )
    return serialized
