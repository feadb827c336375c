"""The keys of a registry that is being signed for the first time, and its first root."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from components.core.errors import SpecError
from components.trust import clock
from components.trust.keys import KEYS_NAME, ROOT_NAME, KeySet, KeysFile, key_in
from components.trust.names import EXPIRY_DAYS
from components.trust.signing import sign

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
_FILES = {
    "root": tuple(f"root-{number}.pem" for number in range(1, ROOT_KEYS + 1)),
    "targets": ("targets.pem",),
    "snapshot": ("snapshot.pem",),
    "timestamp": ("timestamp.pem",),
}


def check_folder(root: str, folder: Path, delegated: Iterable[str] = ()) -> None:
    """Check that a folder has no keys other than those of an incomplete first signing of this registry.

    Args:
        root: The registry.
        folder: The folder.
        delegated: The delegated roles that are signed with it.

    Raises:
        SpecError: It has other keys.
    """
    names = {one.name for one in folder.iterdir() if not one.name.startswith(".")} if folder.exists() else set()
    if not names:
        return
    initial = {file for files in _FILES.values() for file in files} | {f"{role}.pem" for role in delegated}
    try:
        found = KeysFile.model_validate_json((folder / KEYS_NAME).read_bytes())
        places = {f"file:{file}" for file in initial}
        resumable = found.development and found.registry == root and set(found.keys.values()) <= places
    except (OSError, ValueError):
        resumable = False
    if not resumable or not names <= initial | {KEYS_NAME, ROOT_NAME}:
        raise SpecError(
            "the folder for the keys is not empty",
            where=str(folder),
            bound="an empty or new folder, or the folder of an interrupted `init` of this registry",
            measured=", ".join(sorted(names)),
            remedy="choose another folder with --keys",
        )


def initial_keys(root: str, folder: Path, days: dict[str, int]) -> KeySet:
    """Create the keys of a registry and its first root, or reuse the ones that a killed signing created."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = KeySet(folder, KeysFile(development=True, registry=root, keys={}), b"")
        keys.save()
        now = clock.now()
        signed = Root(consistent_snapshot=True, expires=now + timedelta(days=days["root"]))
        signed.unrecognized_fields[EXPIRY_DAYS] = days
        roots: list[Signer] = []
        for role, file in ((role, file) for role, files in _FILES.items() for file in files):
            signer = key_in(folder / file)
            if signer is None:
                (folder / file).unlink(missing_ok=True)
                signer = CryptoSigner.generate_ecdsa()
                keys = keys.add(signer, file)
            else:
                keys = keys.having(signer, file)
            roots += [signer] if role == "root" else []
            signed.add_key(signer.public_key, role)
        signed.roles["root"].threshold = ROOT_THRESHOLD
        anchor = _anchor_in(folder, signed) or sign(Metadata(signed), roots)
        keys = KeySet(folder, keys.file, anchor)
        keys.save()
    return keys


def _anchor_in(folder: Path, signed: Root) -> bytes | None:
    """The root that a killed signing saved, if it names the same keys and lifetimes."""
    try:
        content = (folder / ROOT_NAME).read_bytes()
        found = Metadata.from_bytes(content).signed
    except (FileNotFoundError, DeserializationError, StorageError):
        return None
    found.expires = signed.expires
    return content if found == signed else None
