"""Read and rewrite TFLite files whose data lies behind the flatbuffer. Imports TensorFlow.

A buffer can refer to its bytes by an offset from the beginning of the file. Files above 2 GB need that.
ai-edge-quantizer does it for weights that pack to more than 256 KiB. TensorFlow Lite for Microcontrollers ignores such
offsets, and computes wrong values without an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.convert.compact.sharing import SharingBuilder
from components.upstream.tflite.objects import schema, unpack

# Alignment of buffer data that `schema.fbs` requires (`force_align`).
_ALIGNMENT = 16
# Offsets inside a flatbuffer have 31 bits. The tables around the data need some of that room.
_MOST_INSIDE = 2**31 - 2**20


def read_model(content: bytes) -> Any:
    """Unpack a file, with the data of each buffer in the buffer.

    Returns:
        A `ModelT`. To write it, replace its buffers by instances of `AlignedBuffer`.
    """
    model = unpack(content)
    for buffer in model.buffers:
        # A writer uses 1 as a placeholder until it knows the offset.
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
    """Whether the data of all buffers fits inside a flatbuffer."""
    return sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None) < _MOST_INSIDE


def inlined(content: bytes) -> bytes:
    """Move data that lies behind the flatbuffer into it.

    Args:
        content: Any TFLite file.

    Returns:
        An equivalent file; the same bytes if all data is already inside, or if it doesn't fit.
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
    """Write a model as a file, in which equal parts are stored once.

    Args:
        model: A `ModelT` with instances of `AlignedBuffer`.
        size: Approximate size of the file in bytes.
    """
    builder = SharingBuilder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class AlignedBuffer:
    """A buffer that packs its data aligned, which the generated Python class `BufferT` doesn't."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data

    def Pack(self, builder: SharingBuilder) -> int:
        """Write the data and the table, like the generated `BufferT.Pack`."""
        data = None if self._data is None else builder.CreateByteVector(self._data, _ALIGNMENT)
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))
