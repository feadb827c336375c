"""The size of a file in transit, compressed as a server or a registry would compress it."""

from __future__ import annotations

import zlib

from components.core.values import FrozenModel

GZIP_LEVEL = 9
ZSTD_LEVEL = 19
_GZIP_FRAME = 31  # zlib's 32 KiB window in a gzip frame.


class CompressedBytes(FrozenModel):
    """Sizes of one file after compression.

    Attributes:
        gzip: Bytes after gzip at level 9.
        zstd: Bytes after Zstandard at level 19.
    """

    gzip: int
    zstd: int


def compressed_bytes(content: bytes) -> CompressedBytes:
    """The size of a file after each compression method."""
    return CompressedBytes(gzip=len(gzip_of(content)), zstd=len(zstd_of(content)))


def gzip_of(content: bytes) -> bytes:
    """Gzip at level 9 without a timestamp or a name, so that equal content gives equal bytes.

    This function doesn't use the module `gzip`, whose frame differs between versions of Python.
    """
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FRAME)
    return compressor.compress(content) + compressor.flush()


def gunzip(compressed: bytes, most: int) -> bytes | None:
    """The content of one gzip frame. None if it is damaged, longer than `most` bytes, or followed by other data."""
    decompressor = zlib.decompressobj(_GZIP_FRAME)
    try:
        content = decompressor.decompress(compressed, most + 1)
    except zlib.error:
        return None
    # zlib reaches the end of the frame only after it has checked the checksum.
    whole = decompressor.eof and not decompressor.unused_data
    return content if whole and len(content) <= most else None


def zstd_of(content: bytes) -> bytes:
    """Zstandard at level 19 on one thread, so that equal content gives equal bytes."""
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)
