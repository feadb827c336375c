"""Converts labels that are names to class numbers, in tf.Examples from CSV and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from components.ingest.listing import class_number


def with_class_number(example: tf.train.Example, label: str, classes: Sequence[str]) -> tf.train.Example:
    """The same example with the number of its class as the label. Without a label, the example stays unchanged.

    Raises:
        DataError: The label is not one of the classes.
    """
    feature = example.features.feature
    kind = feature[label].WhichOneof("kind") if label in feature else None
    if kind is None:
        return example
    [name] = getattr(feature[label], kind).value
    numbered = tf.train.Example()
    numbered.CopyFrom(example)
    number = class_number(name, classes, f"feature {label!r}")
    numbered.features.feature[label].CopyFrom(tf.train.Feature(int64_list=tf.train.Int64List(value=[number])))
    return numbered


@beam.typehints.with_output_types(tf.train.Example)
class Numbered(beam.PTransform):
    """A transform from files to tf.Examples that replaces names of classes with their numbers."""

    def __init__(self, inner: Any, label: str, classes: Sequence[str]) -> None:
        super().__init__()
        self._inner, self._label, self._classes = inner, label, tuple(classes)

    def expand(self, pipeline: Any) -> Any:
        """See the base class."""
        return pipeline | self._inner | "class numbers" >> beam.Map(with_class_number, self._label, self._classes)
