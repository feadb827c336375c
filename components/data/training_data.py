"""A training split as batches: decoded once if it is small, again each epoch if it is not. Imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from components.core.errors import DataError
from components.data.examples import ExampleDecoder

_LOG = logging.getLogger(__name__)

# A split that takes no more than this when decoded is decoded once and kept: decoding images again each epoch would
# cost more than small models' training. While it is put together it takes twice as much.
IN_MEMORY_BYTES = 512 << 20
# Otherwise so many serialized examples are drawn from, fewer if decoded they would take more than the same bound.
_MAX_SHUFFLED = 10_000
_DECODED_AT_ONCE = 64
_FEW = 4


@dataclass(frozen=True)
class TrainingData:
    """A split's examples.

    Attributes:
        decoder: From serialized examples to inputs and features.
        files: Gzipped TFRecord files.
        label: The feature that is the target.
        few: Inputs of a few examples.
        whole: Inputs and labels of all, decoded; None for a split larger than `IN_MEMORY_BYTES`.
        taken: Of a split that is not kept decoded: number of an example -> whether it is one of these; None takes all.
    """

    decoder: ExampleDecoder
    files: tuple[str, ...]
    label: str
    few: Any
    whole: tuple[Any, Any] | None
    taken: Callable[[Any], Any] | None = None

    def count(self) -> int:
        """Number of examples; of a large split, all files are read for it."""
        if self.whole is not None:
            return int(self.whole[1].shape[0])
        records = tf.data.TFRecordDataset(list(self.files), compression_type="GZIP").enumerate()
        return sum(1 for index, _ in records if self.taken is None or self.taken(index))

    def without_each(self, period: int) -> tuple[TrainingData, TrainingData]:
        """All but every `period`-th example, and these."""

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
        """Batches of (inputs, labels) in another order for each seed."""
        if self.whole is not None:
            examples = tf.data.Dataset.from_tensor_slices(self.whole)
            return examples.shuffle(self.count(), seed, reshuffle_each_iteration=False).batch(batch_size).prefetch(2)
        return self.streamed(batch_size, seed)

    def streamed(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """The same, decoded from the files as they are read."""
        shuffled = max(batch_size, min(_MAX_SHUFFLED, IN_MEMORY_BYTES // _bytes_per_example(self.few)))
        batches = self.decoder.dataset(self.files, batch_size, shuffled, seed, self.taken)
        return batches.map(lambda inputs, features: (inputs, features[self.label])).prefetch(2)


def load_training_data(decoder: ExampleDecoder, files: Sequence[str], label: str, where: str) -> TrainingData:
    """Decode a split as far as it fits into memory.

    Args:
        decoder: From serialized examples to inputs and features.
        files: Gzipped TFRecord files.
        label: The feature that is the target.
        where: The field that names the split, for the message.

    Raises:
        DataError: It holds no examples.
    """
    parts: list[tuple[Any, Any]] = []
    size = 0
    for inputs, features in decoder.dataset(files, _DECODED_AT_ONCE):
        parts.append((inputs, features[label]))
        size += sum(tensor.dtype.size * tensor.shape.num_elements() for tensor in tf.nest.flatten(inputs))
        if size > IN_MEMORY_BYTES:
            _LOG.info("more than %d MiB of decoded examples: they are decoded again each epoch", IN_MEMORY_BYTES >> 20)
            break
    if not parts:
        raise DataError(
            "there are no examples to train on",
            where=where,
            bound="at least 1 example",
            measured=0,
            remedy="name a split that has examples",
        )
    few = tf.nest.map_structure(lambda tensor: tensor[:_FEW], parts[0][0])
    whole = None
    if size <= IN_MEMORY_BYTES:
        whole = tf.nest.map_structure(lambda *tensors: tf.concat(tensors, 0), *parts)
    return TrainingData(decoder, tuple(files), label, few, whole)


def _rows(examples: Any, mask: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.boolean_mask(tensor, mask), examples)


def _bytes_per_example(inputs: Any) -> int:
    tensors = tf.nest.flatten(inputs)
    return max(1, sum(tensor.dtype.size * tensor.shape[1:].num_elements() for tensor in tensors))
