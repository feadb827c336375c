"""An ExampleGen executor that converts Parquet rows to tf.Examples.

TFX's own Parquet executor (1.16) writes 0, 0.0, false, and "" as missing values, and accepts only UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor

from components.core.errors import DataError


def to_example(row: Mapping[str, Any]) -> tf.train.Example:
    """Convert a row to a tf.Example.

    Integers and booleans become int64, floats float32, and strings (as UTF-8) and bytes become bytes. A list becomes a
    feature with several values. A null becomes a feature without values.

    Raises:
        DataError: A column has a different type.
    """
    return tf.train.Example(
        features=tf.train.Features(feature={name: _feature(name, value) for name, value in row.items()})
    )


def _feature(name: str, value: Any) -> tf.train.Feature:
    if value is None:
        return tf.train.Feature()
    values = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    match values:
        case [bool() | int() | np.integer() | np.bool_(), *_]:
            if not all(-(2**63) <= number < 2**63 for number in values):
                raise DataError(
                    "an integer has more than 64 bits",
                    where=f"feature {name}",
                    bound="-2**63 to 2**63 - 1",
                    measured=next(number for number in values if not -(2**63) <= number < 2**63),
                    remedy="convert it to a float, or leave it out",
                )
            return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
        case [float() | np.floating(), *_]:
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        case [str(), *_]:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode() for text in values]))
        case [bytes(), *_]:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        case []:
            return tf.train.Feature()
    raise DataError(
        "a feature has a type that tf.Example does not support",
        where=f"feature {name}",
        bound="integers, booleans, floats, strings, bytes, or lists of them",
        measured=type(values[0]).__name__,
        remedy="convert it, or leave it out",
    )


@beam.ptransform_fn
@beam.typehints.with_input_types(beam.Pipeline)
@beam.typehints.with_output_types(tf.train.Example)
def _parquet_to_example(pipeline: Any, exec_properties: dict[str, Any], split_pattern: str) -> Any:
    pattern = f"{exec_properties['input_base']}/{split_pattern}"
    return pipeline | "read" >> beam.io.ReadFromParquet(pattern) | "to tf.Example" >> beam.Map(to_example)


class ParquetExecutor(BaseExampleGenExecutor):
    """ExampleGen executor for Parquet files."""

    def GetInputSourceToExamplePTransform(self) -> Any:
        """See the base class."""
        return _parquet_to_example
