"""Signatures, also of key services, which fail in ways of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from components.core.errors import RegistryError, SpecError

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signature, Signer

PIN_VARIABLE = "EDGEMILL_HSM_PIN"
# Scheme of the URI -> what to install for it.
_CLIENTS = {
    "awskms": "securesystemslib[awskms]",
    "gcpkms": "securesystemslib[gcpkms]",
    "azurekms": "securesystemslib[azurekms]",
    "hsm": "securesystemslib[hsm]",
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
    except Exception as error:  # Key services have errors of their own.
        raise SpecError(
            f"this private key cannot be used: {error}",
            where=f"{where}: {uri}",
            bound="file:NAME, env:VARIABLE, or a URI of securesystemslib such as awskms:ID",
            remedy="correct the place of the key in keys.json, or what the client of the key service needs",
        ) from error


def checked_signature(signer: Signer, content: bytes) -> Signature:
    """Sign, and verify the signature, because the name of a key in a service can come to mean another key.

    Raises:
        RegistryError: The key can't sign, or it is another one.
    """
    try:
        signature = signer.sign(content)
        signer.public_key.verify_signature(signature, content)
    except Exception as error:  # Key services have errors of their own.
        raise RegistryError(
            f"a key cannot sign: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=f"the key {signer.public_key.keyid[:12]}…",
            bound="a signature that the public key of the role verifies",
            remedy="check the place of the key in keys.json, the permission to sign, and the service's credentials",
        ) from error
    return signature


def _pin(_: str) -> str:
    if PIN_VARIABLE not in os.environ:
        raise SpecError(
            "the PIN of the hardware security module is missing",
            where=PIN_VARIABLE,
            remedy="set this variable",
        )
    return os.environ[PIN_VARIABLE]
