"""Make TFLite files smaller by removing what no reader needs. Imports TensorFlow."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from components.convert.compact.inline import AlignedBuffer, fits_inside, packed, read_model

# Names that the converter generates for tensors without a name in the model: one of its operations and a number.
_MADE_UP = re.compile(rb"(arith\.\w+?|tfl\.\w+?|input_to_\w+_intermediate|effective_hidden_scale_intermediate)\d*")
_OF_THE_CONVERSION = b"CONVERSION_METADATA"


def compacted(content: bytes) -> bytes:
    """Rewrite a file in fewer bytes.

    Equal parts are stored once. Buffers of activations, ranges that scales were computed from (`min`, `max`), and the
    record of the converter's options are removed. Tensor names that the converter generated become "". The order of
    tensors and operators, names from the model, signatures, other metadata, and the alignment of buffers don't change.

    Args:
        content: Any TFLite file. Data behind the flatbuffer moves into it. A file above 2 GB has no room for that, and
            is returned unchanged.

    Returns:
        An equivalent file. A compact file is returned byte for byte.
    """
    model = read_model(content)
    if not fits_inside(model):
        return content
    model.description = None
    # Readers use the first entry of a name. The quantizer adds an empty second one.
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
    return packed(model, len(content))


class _Buffers:
    """The distinct buffers with content, after the empty buffer that replaces all buffers without."""

    def __init__(self, buffers: list[Any]) -> None:
        self._all = buffers
        self._places: dict[bytes, int] = {b"": 0}
        self.kept = [AlignedBuffer(None)]

    def place_of(self, index: int) -> int:
        data = self._all[index].data
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        if content not in self._places:
            self._places[content] = len(self.kept)
            self.kept.append(AlignedBuffer(content))
        return self._places[content]


def _strip(tensor: Any) -> None:
    """Remove ranges that scales were computed from, and empty fields."""
    held = tensor.quantization
    held.min = held.max = None
    for field in ("scale", "zeroPoint"):
        values = getattr(held, field)
        if values is not None and not len(values):
            setattr(held, field, None)
    if held.scale is None and held.details is None:
        tensor.quantization = None
