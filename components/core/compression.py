"""How many bytes a file is on the wire: compressed as a server or a registry would."""

from __future__ import annotations

import zlib

from components.core.values import FrozenModel

GZIP_LEVEL = 9
ZSTD_LEVEL = 19
_GZIP_FRAME = 31  # zlib's window of 32 KiB, in gzip's frame


class CompressedBytes(FrozenModel):
    """Sizes of one file's compressed forms.

    Attributes:
        gzip: Bytes under gzip at level 9.
        zstd: Bytes under Zstandard at level 19.
    """

    gzip: int
    zstd: int


def compressed_bytes(content: bytes) -> CompressedBytes:
    """Compress a file with each of the given methods, and count."""
    return CompressedBytes(gzip=len(gzip_of(content)), zstd=len(zstd_of(content)))


def gzip_of(content: bytes) -> bytes:
    """Gzip at level 9, without a time or a name: the same content is the same bytes.

    Not the module `gzip`, whose frame differs between versions of Python.
    """
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FRAME)
    return compressor.compress(content) + compressor.flush()


def gunzip(compressed: bytes, most: int) -> bytes | None:
    """The content of one gzip frame; None if it is damaged, longer than `most` bytes, or something follows it."""
    decompressor = zlib.decompressobj(_GZIP_FRAME)
    try:
        content = decompressor.decompress(compressed, most + 1)
    except zlib.error:
        return None
    # The frame ends only after its checksum was compared.
    whole = decompressor.eof and not decompressor.unused_data
    return content if whole and len(content) <= most else None


def zstd_of(content: bytes) -> bytes:
    """Zstandard at level 19, on one thread: the same content is the same bytes."""
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)
