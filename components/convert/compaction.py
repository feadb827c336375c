"""Read TFLite files whose data follows the flatbuffer, and rewrite files without data that no reader needs.

Imports TensorFlow. A buffer can refer to its bytes by an offset from the beginning of the file. Files above 2 GB need
that. ai-edge-quantizer does it for weights that pack to more than 256 KiB. TensorFlow Lite for Microcontrollers ignores
such offsets, and computes wrong values without an error.
"""

from __future__ import annotations

import re
from typing import Any

import flatbuffers
import numpy as np

from components.upstream.tflite.objects import schema, unpack

# Alignment of buffer data that `schema.fbs` requires (`force_align`).
_ALIGNMENT = 16
# Offsets inside a flatbuffer have 31 bits. The tables around the data need some of that room.
_MOST_INSIDE = 2**31 - 2**20
# Names that the converter generates for tensors without a name in the model: one of its operations and a number.
_MADE_UP = re.compile(rb"(arith\.\w+?|tfl\.\w+?|input_to_\w+_intermediate|effective_hidden_scale_intermediate)\d*")
# The converter joins the names of operations that it merges. It names each part of a split after all of them.
_JOINT, _MOST_JOINED = b";", 8
_OF_THE_CONVERSION = b"CONVERSION_METADATA"


def read_model(content: bytes) -> Any:
    """Unpack a file, with the data of each buffer in the buffer.

    Returns:
        A `ModelT`. To write it, replace its buffers with instances of `AlignedBuffer`.
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
    """Whether the data of all buffers fits into a flatbuffer."""
    return sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None) < _MOST_INSIDE


def inlined(content: bytes) -> bytes:
    """Move data that follows the flatbuffer of a TFLite file into it.

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
    """Write a `ModelT` with `AlignedBuffer`s as a file of about `size` bytes, in which equal parts are stored once."""
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


class SharingBuilder(flatbuffers.Builder):
    """A builder for generated `Pack` methods that stores equal objects once. Any flatbuffer reader can read the result.

    A table is buffered until it is complete. If it equals an earlier table, its offset is the earlier table's offset:
    the format allows several references to one object. Fields are laid out from wide to narrow, so that none needs
    padding.
    """

    def __init__(self, initialSize: int = 1024) -> None:  # noqa: N803 - the name in the base class
        super().__init__(initialSize)
        self._written: dict[Any, int] = {}
        self._fields: dict[int, tuple[Any, Any]] = {}
        self._slots = 0
        # The vector that is being written: its start, its (element size, length, alignment), and the offsets in it.
        self._vector: tuple[int, tuple[int, int, int], list[int]] | None = None

    def StartObject(self, numfields: int) -> None:  # noqa: D102
        self._fields, self._slots = {}, numfields

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:  # noqa: D102
        if x != d:
            self._fields[o] = (flags, x)

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:  # noqa: D102
        if x != d:
            self._fields[o] = (None, x)

    def EndObject(self) -> int:  # noqa: D102
        fields = self._fields
        # Compare as text, because 0.0 == -0.0.
        key = tuple((slot, flags, str(value)) for slot, (flags, value) in sorted(fields.items()))
        # Tables of different types can share the same bytes.
        if key in self._written:
            return self._written[key]
        super().StartObject(self._slots)
        for slot in sorted(fields, key=lambda slot: (-_width(fields[slot][0]), slot)):
            flags, value = fields[slot]
            if flags is None:
                self.PrependUOffsetTRelative(value)
            else:
                self.Prepend(flags, value)
            self.Slot(slot)
        self._written[key] = super().EndObject()
        return self._written[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: D102, N803
        self._vector = (self.Offset(), (elemSize, numElems, alignment), [])
        return int(super().StartVector(elemSize, numElems, alignment))

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: D102
        if self._vector is not None:
            self._vector[2].append(off)
        super().PrependUOffsetTRelative(off)

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: D102, N803
        end = int(super().EndVector(numElems))
        if self._vector is None:  # A string.
            return end
        begin, (width, count, alignment), offsets = self._vector
        self._vector = None
        data = self.Head() + 4
        key = (width, count, alignment, tuple(offsets) or bytes(self.Bytes[data : data + width * count]))
        if self._written.setdefault(key, end) != end:
            self.head = len(self.Bytes) - begin
        return self._written[key]

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: D102
        text = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        if text not in self._written:
            self._written[text] = int(super().CreateString(text))
        return self._written[text]

    def CreateByteVector(self, x: bytes, alignment: int = 1) -> int:  # noqa: D102
        self.StartVector(1, len(x), alignment)
        self.head -= len(x)
        self.Bytes[self.head : self.head + len(x)] = x
        return self.EndVector()


def _width(flags: Any) -> int:
    return 4 if flags is None else int(flags.bytewidth)


def compacted(content: bytes) -> bytes:
    """Rewrite a file in fewer bytes.

    Equal parts are stored once. Buffers of activations, ranges that scales were computed from (`min`, `max`), and the
    record of the converter's options are removed. Tensor names that the converter generated become "". If it joined
    more than eight names, only the first and the last remain. The order of tensors and operators, other names from the
    model, signatures, other metadata, and the alignment of buffers don't change.

    Args:
        content: Any TFLite file. Data after the flatbuffer moves into it. A file above 2 GB has no room for that, and
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
            if index not in border:
                tensor.name = _short(tensor.name or b"")
            if tensor.quantization is not None:
                _strip(tensor)
    for each in model.metadata:
        each.buffer = buffers.place_of(each.buffer)
    if model.metadataBuffer is not None:
        model.metadataBuffer = [buffers.place_of(index) for index in model.metadataBuffer]
    model.buffers = buffers.kept
    return packed(model, len(content))


def _short(name: bytes) -> bytes:
    """The name of a tensor without what the converter added."""
    if _MADE_UP.fullmatch(name):
        return b""
    parts = name.split(_JOINT)
    return _JOINT.join((parts[0], parts[-1])) if len(parts) > _MOST_JOINED else name


class _Buffers:
    """The distinct buffers with content, after the empty buffer that replaces all others."""

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
