"""Serialization of tf.Examples that doesn't depend on the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam


@beam.typehints.with_output_types(bytes)
class SerializeInOneOrder(beam.DoFn):
    """Serializes equal tf.Examples and tf.SequenceExamples to equal bytes. Leaves serialized ones unchanged."""

    def process(self, record: Any) -> Iterator[bytes]:
        """See the base class."""
        yield record if isinstance(record, bytes) else record.SerializeToString(deterministic=True)
