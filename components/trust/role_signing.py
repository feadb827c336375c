"""Signing of role files for microcontrollers, with the key of the channel."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING

from components.trust.role_file import SCHEME, SIGNATURE_BYTES, RoleFile
from components.trust.rollout import ChannelState, ReleaseRef
from components.trust.signing import checked_signature

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signer

_HALF = SIGNATURE_BYTES // 2


def role_files(state: ChannelState, expires: datetime, signer: Signer) -> dict[str, str]:
    """Version of a release -> its role file in Base64, for each release that the channel gives to some device.

    None for a key of another kind than P-256, and for a state without a sequence: one that an earlier version signed.
    """
    if not state.sequence or signer.public_key.scheme != SCHEME:
        return {}
    return {
        stage.release.version: base64.b64encode(_signed(state, stage.release, expires, signer)).decode()
        for stage in state.stages
    }


def point_of(key: Key) -> bytes:
    """The public key as firmware holds it: the 65 bytes of the uncompressed point.

    Raises:
        ValueError: It isn't a P-256 key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    if key.scheme != SCHEME:
        raise ValueError(key.scheme)
    found = load_pem_public_key(key.keyval["public"].encode())
    return found.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _signed(state: ChannelState, release: ReleaseRef, expires: datetime, signer: Signer) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    said = RoleFile(
        target=f"{state.device_class}/{state.name}/{state.channel}",
        version=state.sequence,
        expires=int(expires.timestamp()),
        model_bytes=release.bytes,
        model_sha256=release.sha256,
    )
    content = said.signed_bytes()
    r, s = decode_dss_signature(bytes.fromhex(checked_signature(signer, content).signature))
    return content + r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
