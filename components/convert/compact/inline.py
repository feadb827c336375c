"""TFLite files whose data lies behind the flatbuffer, with that data in its place. Imports TensorFlow.

A buffer can name an offset from the beginning of the file instead of holding its bytes. Files above 2 GB need that;
ai-edge-quantizer does it as soon as the weights pack to more than 256 KiB. TensorFlow Lite for microcontrollers ignores
such offsets and computes something else, without an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.convert.compact.sharing import SharingBuilder
from components.upstream.tflite.objects import schema, unpack

# What `schema.fbs` demands of the data of a buffer (`force_align`).
_ALIGNMENT = 16
# Offsets inside a flatbuffer have 31 bits; the tables around the data need some of that room.
_MOST_INSIDE = 2**31 - 2**20


def read_model(content: bytes) -> Any:
    """A file as objects, each buffer with its data.

    Returns:
        A `ModelT`. `AlignedBuffer` writes its buffers as the format demands.
    """
    model = unpack(content)
    for buffer in model.buffers:
        # 1 is what a writer puts there before it knows the offset.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator.largeCustomOptionsOffset > 1:
                begin = operator.largeCustomOptionsOffset
                operator.customOptions = list(content[begin : begin + operator.largeCustomOptionsSize])
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return model


def fits_inside(model: Any) -> bool:
    """Whether a flatbuffer has room for the data of all buffers."""
    return sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None) < _MOST_INSIDE


def inlined(content: bytes) -> bytes:
    """Move data that lies behind the flatbuffer into it.

    Args:
        content: A TFLite file of any kind.

    Returns:
        An equivalent file; the same bytes if all data is inside already, or has no room there.
    """
    model = unpack(content)
    if not any(buffer.offset > 1 for buffer in model.buffers):
        return content
    model = read_model(content)
    if not fits_inside(model):
        return content
    model.buffers = [
        AlignedBuffer(None if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes())
        for buffer in model.buffers
    ]
    return packed(model, len(content))


def packed(model: Any, size: int) -> bytes:
    """Write objects as a file, equal parts once.

    Args:
        model: A `ModelT` with instances of `AlignedBuffer`.
        size: About how many bytes it takes.
    """
    builder = SharingBuilder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class AlignedBuffer:
    """A buffer that packs itself; the generated `BufferT` knows nothing of alignment in Python."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data

    def Pack(self, builder: SharingBuilder) -> int:
        """Write data and table, as the generated `BufferT.Pack` does."""
        data = None if self._data is None else builder.CreateByteVector(self._data, _ALIGNMENT)
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))
