"""Role files, which a microcontroller checks by itself, without The Update Framework.

All integers are unsigned and little-endian:

    0   4   "EMR1"
    4   4   version, which grows with each change of the channel
    8   4   expiry in seconds since 1970; 0 for never
    12  4   bytes of the model
    16  32  SHA-256 digest of the model
    48  2   length n of the target
    50  n   the target, `<device class>/<name>/<channel>`, in ASCII
    50+n 64 signature by ECDSA with P-256 and SHA-256 over all bytes before it: r and s, big-endian

Imported on devices, so it needs only the standard library.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"EMR1"
SIGNATURE_BYTES = 64
# The key of the role files of a target's releases in its custom metadata: version -> Base64.
CUSTOM = "edgemill-microcontrollers"
# Only these keys can sign role files.
SCHEME = "ecdsa-sha2-nistp256"
_HEADER = struct.Struct("<4sIII32sH")
_LARGEST = 2**32 - 1
_LONGEST_TARGET = 2**16 - 1


class RoleFileError(ValueError):
    """A role file that can't be read or created."""


@dataclass(frozen=True)
class RoleFile:
    """The content of a role file.

    Attributes:
        target: The channel, `<device class>/<name>/<channel>`.
        version: A microcontroller never installs a lower version than its own.
        expires: Seconds since 1970; 0 for never.
        model_bytes, model_sha256: Size and hexadecimal digest of the model.
    """

    target: str
    version: int
    expires: int
    model_bytes: int
    model_sha256: str

    def signed_bytes(self) -> bytes:
        """The bytes that are signed. Raises a RoleFileError if a value doesn't fit."""
        target = self.target.encode("ascii")
        if len(target) > _LONGEST_TARGET or max(self.version, self.expires, self.model_bytes) > _LARGEST:
            raise RoleFileError(f"version, expiry, or size is above {_LARGEST}, or the target is too long")
        digest = bytes.fromhex(self.model_sha256)
        return _HEADER.pack(MAGIC, self.version, self.expires, self.model_bytes, digest, len(target)) + target


def read(content: bytes) -> tuple[RoleFile, bytes]:
    """Return the content of a role file, and its signature, which isn't verified.

    Raises:
        RoleFileError: It isn't a role file.
    """
    if len(content) < _HEADER.size + SIGNATURE_BYTES or not content.startswith(MAGIC):
        raise RoleFileError(f"it is not a role file of the format {MAGIC.decode()}")
    _, version, expires, size, digest, length = _HEADER.unpack_from(content)
    end = _HEADER.size + length
    if len(content) != end + SIGNATURE_BYTES:
        raise RoleFileError(f"it has {len(content)} bytes instead of {end + SIGNATURE_BYTES}")
    try:
        target = content[_HEADER.size : end].decode("ascii")
    except UnicodeDecodeError as error:
        raise RoleFileError("its target is not ASCII text") from error
    return RoleFile(target, version, expires, size, digest.hex()), content[end:]
