"""Key sets: the keys that sign, the locations of their private keys, and the root that a machine trusts.

A key set is a folder with `keys.json`, `root.json`, and perhaps private keys. The environment variable EDGEMILL_KEYS
is a list of such folders, separated as in PATH. A private key is in a file (`file:NAME.pem`), in a variable
(`env:VARIABLE`), or in a key management service (`awskms:...`, `gcpkms:...`, `azurekms:...`, `hsm:...`, as
securesystemslib writes them).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import RegistryError, SpecError
from components.core.files import write_atomically
from components.core.values import FrozenModel, serialized
from components.trust.role_file import SCHEME
from components.trust.signing import service_signer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from securesystemslib.signer import CryptoSigner, Key, Signer

VARIABLE = "EDGEMILL_KEYS"
KEYS_NAME, ROOT_NAME = "keys.json", "root.json"


class KeysFile(FrozenModel):
    """The file `keys.json`.

    Attributes:
        development: Whether some keys may still be where `edgemill registry init` created all of them, on one machine.
        registry: The registry that the keys sign.
        keys: Key ID -> where the private key is.
    """

    development: bool
    registry: str
    keys: dict[str, str]


@dataclass(frozen=True)
class KeySet:
    """A loaded key set."""

    folder: Path
    file: KeysFile
    root: bytes

    def signer(self, key: Key) -> Signer | None:
        """The signer of a key; None if this set doesn't have it, or if its file isn't there because it is offline.

        Raises:
            SpecError: The private key can't be read, is readable by others, or is a different key.
        """
        from securesystemslib.exceptions import KeyMismatchError
        from securesystemslib.signer import CryptoSigner, SSlibKey

        uri = self.file.keys.get(key.keyid)
        if uri is None:
            return None
        scheme, _, rest = uri.partition(":")
        if scheme == "file" and not (self.folder / rest).exists():
            return None
        if scheme not in {"file", "env"} or not isinstance(key, SSlibKey):
            return service_signer(uri, key, str(self.folder / KEYS_NAME))
        try:
            return CryptoSigner(_private_key(self._content(scheme, rest), uri), key)
        except KeyMismatchError as error:
            raise SpecError(
                "this private key belongs to a different public key",
                where=f"{self.folder / KEYS_NAME}: {uri}",
                bound=f"the key {key.keyid[:12]}…",
                remedy="correct the location of the key in keys.json",
            ) from error
        except (ValueError, OSError) as error:
            raise SpecError(
                f"this private key cannot be used: {error}",
                where=f"{self.folder / KEYS_NAME}: {uri}",
                bound="a private key as PEM text, without a password",
                remedy="correct the location of the key in keys.json, or its content",
            ) from error

    def add(self, signer: CryptoSigner, name: str) -> KeySet:
        """Write a private key to a file that only its owner can read, and add it to the set."""
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.private_bytes)
            os.fsync(file.fileno())
        return self.having(signer, name)

    def having(self, signer: CryptoSigner, name: str) -> KeySet:
        """Add a private key that is in a file of the folder to the set."""
        keys = {**self.file.keys, signer.public_key.keyid: f"file:{name}"}
        changed = replace(self, file=self.file.model_copy(update={"keys": keys}))
        changed.save()
        return changed

    def add_public(self, public_key: bytes, uri: str) -> tuple[KeySet, Key]:
        """Add a key whose private part is elsewhere, and check that it signs.

        Raises:
            SpecError: The public key can't be read, or the private one doesn't belong to it.
        """
        key = public_key_of(public_key)
        changed = replace(self, file=self.file.model_copy(update={"keys": {**self.file.keys, key.keyid: uri}}))
        try:
            signer = changed.signer(key)
            if signer is None:
                raise FileNotFoundError("its file does not exist")
            key.verify_signature(signer.sign(b"probe"), b"probe")
        except SpecError:
            raise
        except Exception as error:  # Key services have their own errors.
            raise SpecError(
                f"the key cannot sign: {error}",
                where=uri,
                bound="a private key that belongs to the public key",
                remedy="check the URI, the public key, and the permission to sign",
            ) from error
        changed.save()
        return changed, key

    def new_key(self, role: str, elsewhere: tuple[bytes, str] | None) -> tuple[KeySet, Key]:
        """Add a key for a role: a new key file, or the public key and the URI of a key in a key service."""
        from securesystemslib.signer import CryptoSigner

        if elsewhere is not None:
            return self.add_public(*elsewhere)
        signer = CryptoSigner.generate_ecdsa()
        return self.add(signer, f"{role}-{signer.public_key.keyid[:8]}.pem"), signer.public_key

    def check_writable(self) -> None:
        """Raise a RegistryError if no key can be added to this set, because its folder is read-only."""
        if _is_mounted_secret(self.folder) or not os.access(self.folder, os.W_OK):
            raise RegistryError(
                "no key can be added to this key set, because its folder is read-only",
                where=str(self.folder),
                bound="a key set with the keys of the device class's channels",
                remedy="on a machine that can write to the folder, run `edgemill registry delegate REGISTRY "
                "DEVICE_CLASS`; then copy the new keys here, in the key set or its Kubernetes secret",
            )

    @contextmanager
    def locked(self) -> Iterator[KeySet]:
        """Prevent other processes from adding keys. Yields the current key set. For errors, see `check_writable`."""
        self.check_writable()
        with (self.folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield read_key_set(self.folder)

    def save(self) -> None:
        """Write `keys.json` and `root.json`."""
        write_atomically(self.folder / KEYS_NAME, serialized(self.file))
        if self.root:
            write_atomically(self.folder / ROOT_NAME, self.root)

    def _content(self, scheme: str, rest: str) -> bytes:
        if scheme == "env":
            if rest not in os.environ:
                raise SpecError(
                    "the variable of a private key is not set",
                    where=str(self.folder / KEYS_NAME),
                    bound=rest,
                    remedy="set it to the PEM text of the key, or correct keys.json",
                )
            return os.environ[rest].encode()
        path = self.folder / rest
        mode = path.stat().st_mode & 0o777
        # Only a pod can read its secrets, and Kubeflow can't set the mode of their files, which is 644.
        if mode & (0o033 if _is_mounted_secret(path.parent) else 0o077):
            raise SpecError(
                "this private key is open to other users",
                where=str(path),
                bound="permissions 600",
                measured=f"{mode:o}",
                remedy="replace the key if others might have read it (edgemill registry rotate); "
                f"then chmod 600 {path}",
            )
        return path.read_bytes()


def _is_mounted_secret(folder: Path) -> bool:
    """Whether a folder is a Kubernetes secret: kubelet replaces all files of such a volume at once, by this link."""
    return (folder / "..data").is_symlink()


def public_key_of(pem: bytes) -> Key:
    """The key in a PEM text. Raises a SpecError if it isn't a P-256 key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = SSlibKey.from_crypto(load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SpecError(
            f"the public key cannot be read: {error}",
            bound="PEM text of a P-256 key",
            remedy="export the public key from the key service",
        ) from error
    if key.scheme != SCHEME:
        raise SpecError(
            "this public key is of a different kind than the registry's keys",
            bound="a P-256 key (ECDSA)",
            measured=key.scheme,
            remedy="create a P-256 key in the key service",
        )
    return key


def check_new(public_key: bytes, keyids: list[str], role: str) -> None:
    """Raise a SpecError if a key can't replace a key of a role, because it is already one of them."""
    key = public_key_of(public_key)
    if key.keyid in keyids:
        raise SpecError(
            "this key already signs the role, so it can't replace one of its keys",
            where=role,
            measured=f"the key {key.keyid[:12]}…",
            remedy="create a new key; to move a key that the role has, change its location in keys.json",
        )


def key_with(beginning: str, keyids: list[str], role: str) -> str:
    """The only key of a role whose ID begins with a prefix. Raises a SpecError if there isn't exactly one."""
    found = [one for one in keyids if one.startswith(beginning)]
    if len(found) != 1:
        raise SpecError(
            "this is not the beginning of the ID of one key of the role",
            where=role,
            bound=", ".join(f"{one[:12]}…" for one in keyids),
            measured=beginning,
            remedy="copy it from `edgemill registry public-key --json`",
        )
    return found[0]


def key_in(path: Path) -> CryptoSigner | None:
    """The key in a file; None if it doesn't exist, or wasn't written completely, because the process was killed."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (FileNotFoundError, ValueError):
        return None


def key_sets() -> tuple[KeySet, ...]:
    """The key sets that the environment variable names.

    Raises:
        SpecError: One of them can't be read.
    """
    return tuple(read_key_set(Path(folder)) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder)


def read_key_set(folder: Path) -> KeySet:
    """Read a key set. Raises a SpecError if that's not possible."""
    try:
        file = KeysFile.model_validate_json((folder / KEYS_NAME).read_bytes())
        return KeySet(folder, file, (folder / ROOT_NAME).read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise SpecError(
            f"this is not a key set: {reason}",
            where=str(getattr(error, "filename", None) or folder),
            bound=f"a folder with {KEYS_NAME} and {ROOT_NAME}, as `edgemill registry init` creates it",
            remedy=f"correct {VARIABLE}",
        ) from error


def missing_keys(where: str, role: str, bound: int, found: int) -> RegistryError:
    """The error for a role whose threshold the available keys don't meet."""
    return RegistryError(
        f"there are not enough keys to sign as {role}",
        where=where,
        bound=f"{bound} of the role's keys",
        measured=found,
        remedy=f"specify a key set with them in {VARIABLE}, or mount the medium with the keys if they are offline",
    )


def _private_key(pem: bytes, uri: str) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None)
    except TypeError as error:
        raise ValueError(f"{uri} is encrypted") from error
