"""A TFLite file in fewer bytes that computes the same: what no reader needs is left out. Imports TensorFlow."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from components.convert.sharing import SharingBuilder

# What `schema.fbs` demands of the data of a buffer (`force_align`).
_ALIGNMENT = 16
# How the converter calls tensors that have no name in the model: after its own operations, with a number.
_MADE_UP = re.compile(rb"(arith\.\w+?|tfl\.\w+?|input_to_\w+_intermediate|effective_hidden_scale_intermediate)\d*")
_OF_THE_CONVERSION = b"CONVERSION_METADATA"


def compacted(content: bytes) -> bytes:
    """Write a file anew.

    Equal parts are stored once; buffers of activations, ranges that scales were computed from (`min`, `max`), and the
    record of the converter's options are left out; tensors that the converter itself has named are called "". Kept are
    the order of tensors and operators, names from the model, signatures, other metadata, and the alignment of buffers.

    Args:
        content: A TFLite file of any kind. One whose buffers lie behind the flatbuffer (above 2 GB) stays as it is.

    Returns:
        An equivalent file. What is compact already stays what it is, to the byte.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    if any(buffer.offset > 1 for buffer in model.buffers):
        return content
    model.description = None
    # A reader takes the first of a name; the quantizer adds an empty second one.
    held = [each for each in model.metadata or [] if each.name != _OF_THE_CONVERSION]
    model.metadata = list({each.name: each for each in reversed(held)}.values())[::-1]
    buffers = _Buffers(model.buffers)
    for graph in model.subgraphs:
        border = {*map(int, graph.inputs), *map(int, graph.outputs)}
        for index, tensor in enumerate(graph.tensors):
            tensor.buffer = buffers.place_of(tensor.buffer)
            if index not in border and _MADE_UP.fullmatch(tensor.name or b""):
                tensor.name = b""
            if tensor.quantization is not None:
                _strip(tensor)
    for each in model.metadata:
        each.buffer = buffers.place_of(each.buffer)
    if model.metadataBuffer is not None:
        model.metadataBuffer = [buffers.place_of(index) for index in model.metadataBuffer]
    model.buffers = buffers.kept
    builder = SharingBuilder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Buffers:
    """The buffers with something in them, each once, behind the empty one that stands for all others."""

    def __init__(self, buffers: list[Any]) -> None:
        self._all = buffers
        self._places: dict[bytes, int] = {b"": 0}
        self.kept = [_Aligned(None)]

    def place_of(self, index: int) -> int:
        data = self._all[index].data
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        if content not in self._places:
            self._places[content] = len(self.kept)
            self.kept.append(_Aligned(content))
        return self._places[content]


class _Aligned:
    """A buffer that packs itself; the generated `BufferT` knows nothing of alignment in Python."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data

    def Pack(self, builder: SharingBuilder) -> int:
        data = None if self._data is None else builder.CreateByteVector(self._data, _ALIGNMENT)
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def _strip(tensor: Any) -> None:
    """Leave out what only tells where scales come from, and what is empty."""
    held = tensor.quantization
    held.min = held.max = None
    for field in ("scale", "zeroPoint"):
        values = getattr(held, field)
        if values is not None and not len(values):
            setattr(held, field, None)
    if held.scale is None and held.details is None:
        tensor.quantization = None
