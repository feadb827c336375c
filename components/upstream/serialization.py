"""tf.Examples as bytes that do not depend on the process that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam


@beam.typehints.with_output_types(bytes)
class SerializeInOneOrder(beam.DoFn):
    """Serializes tf.Examples and tf.SequenceExamples, equal ones as equal bytes; bytes stay as they are."""

    def process(self, record: Any) -> Iterator[bytes]:
        """See the base class."""
        yield record if isinstance(record, bytes) else record.SerializeToString(deterministic=True)
