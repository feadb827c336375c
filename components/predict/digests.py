"""Identifies examples by their bytes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
# Examples are divided into this many parts by their bytes.
BUCKETS = 20


def digests_of(examples: Iterable[bytes]) -> npt.NDArray[np.void]:
    """The BLAKE2b digests of N serialized tf.Examples, each of `DIGEST_BYTES` bytes, [N]."""
    blake2b = hashlib.blake2b
    joined = b"".join([blake2b(example, digest_size=DIGEST_BYTES).digest() for example in examples])
    return np.frombuffer(joined, np.dtype((np.void, DIGEST_BYTES)))


def buckets_of(examples: Iterable[bytes]) -> npt.NDArray[np.int64]:
    """The part of each of N serialized tf.Examples, a number below `BUCKETS`, [N]."""
    return np.array([zlib.crc32(example) % BUCKETS for example in examples], np.int64)


def unit_numbers(digests: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """A 32-bit number for each of N examples, from their digests, [N]."""
    return digests.view("<u4").reshape(len(digests), -1)[:, 0].astype(np.int64)


def hexadecimal(digests: npt.NDArray[Any]) -> list[str]:
    """The digests as text."""
    return [digest.tobytes().hex() for digest in digests]
