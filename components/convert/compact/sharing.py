"""A flatbuffer writer that stores equal tables, vectors, and strings once."""

from __future__ import annotations

from typing import Any

import flatbuffers


class SharingBuilder(flatbuffers.Builder):
    """A builder for generated `Pack` methods that stores equal objects once. Any flatbuffer reader can read its files.

    A table is buffered until it is complete. If it equals an earlier table, its offset is that of the earlier one: the
    format allows several references to one object. Fields are laid out from wide to narrow, so that none needs padding.
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
        if self._vector is None:  # a string
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
