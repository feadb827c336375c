"""Gateways: devices that pass models on to microcontrollers, which check a role file with the key of their channel.

The gateway can't sign a role file itself. It compares what the registry signed for the microcontroller with the release
that The Update Framework verified, so that it doesn't pass on anything that the microcontroller would refuse.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature

from components.trust import role_file
from components.trust.role_file import RoleFile, RoleFileError
from components.trust.rollout import ChannelState, ReleaseRef

_HALF = role_file.SIGNATURE_BYTES // 2


def role_file_of(custom: Mapping[str, Any], state: ChannelState, release: ReleaseRef, keys: list[Key]) -> bytes | None:
    """Return the role file of a release that a device gets; None if the channel has none for it.

    Args:
        custom: Signed custom metadata of the channel's target.
        state: The state of the channel.
        release: A release of the state.
        keys: The keys of the channel's role.

    Raises:
        RoleFileError: The role file disagrees with the state, or wasn't signed with a key of the channel.
    """
    found = custom.get(role_file.CUSTOM)
    text = found.get(release.version) if isinstance(found, Mapping) else None
    if not isinstance(text, str):
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RoleFileError("it is not Base64 text") from error
    said, signature = role_file.read(content)
    expected = RoleFile(
        target=f"{state.device_class}/{state.name}/{state.channel}",
        version=state.sequence,
        expires=said.expires,
        model_bytes=release.bytes,
        model_sha256=release.sha256,
    )
    if said != expected:
        raise RoleFileError("it is not for the release that the channel assigns to this device")
    if not any(_signed_by(key, content[: -role_file.SIGNATURE_BYTES], signature) for key in keys):
        raise RoleFileError("no key of the channel signed it")
    return content


def _signed_by(key: Key, content: bytes, signature: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    try:
        key.verify_signature(Signature(key.keyid, encode_dss_signature(r, s).hex()), content)
    except UnverifiedSignatureError:
        return False
    return True
