"""A training split in batches. A small split is decoded once, a large one in each epoch. Imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from components.core.errors import DataError
from components.data.examples import ExampleDecoder
from components.data.supervision import ONLY

_LOG = logging.getLogger(__name__)

# A split of at most this decoded size is decoded once and kept in memory, because decoding images in each epoch would
# take longer than training small models. Concatenating the split needs twice as much memory.
IN_MEMORY_BYTES = 512 << 20
# For a larger split, the maximum number of examples in the shuffle buffer. The buffer has fewer if they would exceed
# the same size when decoded.
_MAX_SHUFFLED = 10_000
_DECODED_AT_ONCE = 64
_FEW = 4


@dataclass(frozen=True)
class TrainingData:
    """The examples of a split.

    Attributes:
        decoder: Turns serialized examples into inputs and features.
        files: Gzipped TFRecord files.
        label: The feature that is the target if the task declares no targets.
        outputs: Names of the model's outputs.
        few: Inputs of a few examples.
        whole: Decoded inputs, targets, and weights (if any) of all examples; None for a split larger than
            `IN_MEMORY_BYTES`.
        taken: Only for a split that is not kept in memory: index of an example -> whether it is included. None includes
            all examples.
    """

    decoder: ExampleDecoder
    files: tuple[str, ...]
    label: str
    outputs: tuple[str, ...]
    few: Any
    whole: tuple[Any, ...] | None
    taken: Callable[[Any], Any] | None = None

    def count(self) -> int:
        """Number of examples. For a large split, this reads all files."""
        if self.whole is not None:
            return int(tf.nest.flatten(self.whole[1])[0].shape[0])
        records = tf.data.TFRecordDataset(list(self.files), compression_type="GZIP").enumerate()
        return sum(1 for index, _ in records if self.taken is None or self.taken(index))

    def without_each(self, period: int) -> tuple[TrainingData, TrainingData]:
        """Two parts: all examples except every `period`-th one, and every `period`-th one."""

        def these(index: Any) -> Any:
            return index % period == 0

        def others(index: Any) -> Any:
            return index % period != 0

        if self.whole is None:
            return replace(self, taken=others), replace(self, taken=these)
        places = tf.range(self.count())
        return (
            replace(self, whole=_rows(self.whole, others(places))),
            replace(self, whole=_rows(self.whole, these(places))),
        )

    def batches(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Batches of (inputs, targets) or (inputs, targets, weights), in a different order for each seed."""
        if self.whole is not None:
            examples = tf.data.Dataset.from_tensor_slices(self.whole)
            return examples.shuffle(self.count(), seed, reshuffle_each_iteration=False).batch(batch_size).prefetch(2)
        return self.streamed(batch_size, seed)

    def streamed(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Like `batches`, but always decoded from the files while they are read."""
        shuffled = max(batch_size, min(_MAX_SHUFFLED, IN_MEMORY_BYTES // _bytes_per_example(self.few)))
        batches = self.decoder.dataset(self.files, batch_size, self.label, self.outputs, shuffled, seed, self.taken)
        return batches.prefetch(2)


def load_training_data(
    decoder: ExampleDecoder, files: Sequence[str], label: str, where: str, outputs: Sequence[str] = (ONLY,)
) -> TrainingData:
    """Load a split of gzipped TFRecord files for a model with these outputs, decoded if it fits in memory.

    The label is the target if the task declares no targets. `where` is the field that names the split.

    Raises:
        DataError: The split has no examples.
        SpecError: The model has several outputs, and the task declares no targets for them.
    """
    parts: list[tuple[Any, ...]] = []
    size = 0
    for batch in decoder.dataset(files, _DECODED_AT_ONCE, label, outputs):
        parts.append(batch)
        size += sum(tensor.dtype.size * tensor.shape.num_elements() for tensor in tf.nest.flatten(batch[0]))
        if size > IN_MEMORY_BYTES:
            _LOG.info("the decoded examples exceed %d MiB: they are decoded again each epoch", IN_MEMORY_BYTES >> 20)
            break
    if not parts:
        raise DataError(
            "there are no examples to train on",
            where=where,
            bound="at least 1 example",
            measured=0,
            remedy="specify a split that has examples",
        )
    few = tf.nest.map_structure(lambda tensor: tensor[:_FEW], parts[0][0])
    whole = None
    if size <= IN_MEMORY_BYTES:
        whole = tf.nest.map_structure(lambda *tensors: tf.concat(tensors, 0), *parts)
    return TrainingData(decoder, tuple(files), label, tuple(outputs), few, whole)


def _rows(examples: Any, mask: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.boolean_mask(tensor, mask), examples)


def _bytes_per_example(inputs: Any) -> int:
    tensors = tf.nest.flatten(inputs)
    return max(1, sum(tensor.dtype.size * tensor.shape[1:].num_elements() for tensor in tensors))
