"""Signs with keys of key services, and converts their errors. Signs role files for microcontrollers."""

from __future__ import annotations

import base64
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from components.core.errors import RegistryError, SpecError
from components.trust.role_file import SCHEME, SIGNATURE_BYTES, RoleFile
from components.trust.rollout import ChannelState, ReleaseRef

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signature, Signer
    from tuf.api.metadata import Metadata

PIN_VARIABLE = "EDGEMILL_HSM_PIN"
_HALF = SIGNATURE_BYTES // 2
# Scheme of the URI -> the package to install for it.
_CLIENTS = {
    "awskms": "securesystemslib[awskms]",
    "gcpkms": "securesystemslib[gcpkms]",
    "azurekms": "securesystemslib[azurekms]",
    "hsm": "securesystemslib[hsm]",
    "hv": "securesystemslib[vault]",
}


def service_signer(uri: str, key: Key, where: str) -> Signer:
    """The signer of a key in a key service, or in a hardware security module.

    Raises:
        SpecError: The client of the service isn't installed, or can't be used.
    """
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import Signer

    scheme = uri.partition(":")[0]
    try:
        return Signer.from_priv_key_uri(uri, key, _pin)
    except SpecError:
        raise
    except (UnsupportedLibraryError, ImportError) as error:
        raise SpecError(
            f"the client of this key service is not installed: {error}",
            where=f"{where}: {uri}",
            remedy=f"pip install '{_CLIENTS[scheme]}'" if scheme in _CLIENTS else "install it",
        ) from error
    except Exception as error:  # Key services have their own errors.
        raise SpecError(
            f"this private key cannot be used: {error}",
            where=f"{where}: {uri}",
            bound="file:NAME, env:VARIABLE, or a URI of securesystemslib such as awskms:ID",
            remedy="correct the location of the key in keys.json, or provide what the key service's client needs",
        ) from error


def checked_signature(signer: Signer, content: bytes) -> Signature:
    """Sign, and verify the signature, because the name of a key in a service can later refer to a different key.

    Raises:
        RegistryError: The key can't sign, or it is a different key.
    """
    try:
        signature = signer.sign(content)
        signer.public_key.verify_signature(signature, content)
    except Exception as error:  # Key services have their own errors.
        raise RegistryError(
            f"a key cannot sign: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=f"the key {signer.public_key.keyid[:12]}…",
            bound="a signature that the public key of the role verifies",
            remedy="check the location of the key in keys.json, the permission to sign, and the service's credentials",
        ) from error
    return signature


def sign(metadata: Metadata[Any], signers: list[Signer]) -> bytes:
    """Replace the signatures of metadata, and return its file."""
    from tuf.api.serialization.json import JSONSerializer

    metadata.signatures.clear()
    for signer in signers:
        signature = checked_signature(signer, metadata.signed_bytes)
        metadata.signatures[signature.keyid] = signature
    return metadata.to_bytes(JSONSerializer(compact=True))


def role_files(state: ChannelState, expires: datetime, signer: Signer) -> dict[str, str]:
    """Version of a release -> its role file in Base64, for each release that the channel gives to some device.

    None for a key that isn't P-256, and for a state without a sequence, which an earlier version signed.
    """
    if not state.sequence or signer.public_key.scheme != SCHEME:
        return {}
    return {
        release.version: base64.b64encode(_signed(state, release, expires, signer)).decode() for release in state.given
    }


def point_of(key: Key) -> bytes:
    """The public key in the form for firmware: the 65 bytes of the uncompressed point.

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


def _pin(_: str) -> str:
    if PIN_VARIABLE not in os.environ:
        raise SpecError(
            "the PIN of the hardware security module is missing",
            where=PIN_VARIABLE,
            remedy="set this variable",
        )
    return os.environ[PIN_VARIABLE]
