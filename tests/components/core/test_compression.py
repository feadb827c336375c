import gzip

import numpy as np
import zstandard

from components.core.compression import compressed_bytes, gunzip, gzip_of, zstd_of

# 16 distinct values, as clustering leaves them: 4 bits each, so half the bytes at best.
CLUSTERED = np.random.default_rng(3).integers(0, 16, 40_000, dtype=np.uint8).tobytes()


def test_compressed_bytes_counts_both_forms_when_values_repeat():
    sizes = compressed_bytes(CLUSTERED)
    assert sizes.gzip == len(gzip_of(CLUSTERED))
    assert sizes.zstd == len(zstd_of(CLUSTERED))
    assert 20_000 < sizes.zstd < sizes.gzip < 24_000
    noise = np.random.default_rng(3).bytes(40_000)
    assert compressed_bytes(noise).gzip > 40_000


def test_compressed_forms_are_read_by_the_usual_tools_and_always_the_same():
    assert gzip.decompress(gzip_of(CLUSTERED)) == CLUSTERED
    assert zstandard.ZstdDecompressor().decompress(zstd_of(CLUSTERED)) == CLUSTERED
    assert gzip_of(CLUSTERED) == gzip_of(CLUSTERED)
    # No time, no name, and the system byte of zlib, whatever the version of Python.
    assert gzip_of(CLUSTERED)[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 3])


def test_gunzip_gives_nothing_when_the_frame_is_not_whole_or_longer_than_allowed():
    served = gzip_of(CLUSTERED)
    assert gunzip(served, 40_000) == CLUSTERED
    assert gunzip(served, 39_999) is None
    assert gunzip(served[:-1], 40_000) is None
    assert gunzip(served + served, 80_000) is None
    assert gunzip(served[:-5] + bytes([served[-5] ^ 1]) + served[-4:], 40_000) is None
    assert gunzip(b"no gzip", 40_000) is None
