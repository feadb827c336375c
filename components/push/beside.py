"""Files that a registry keeps next to its releases, and their location in each kind of registry.

    <root>/_gc/       releases that a collection is about to remove (`claims`)
    <root>/_audit/    who changed what (`audit`)

In an OCI registry, whose names can't begin with an underscore, these are the repositories `edgemill-gc` and
`edgemill-audit` below the root.
"""

from __future__ import annotations

from pathlib import Path

from components.core.errors import RegistryError
from components.object_store.bucket import Bucket, below, is_address, split
from components.object_store.clients import bucket_of
from components.object_store.folder import FolderBucket
from components.object_store.notes import BucketNotes, Notes
from components.push.registry import kind_at, known_forms, referenced
from components.spec.registry import OciRegistry

CLAIMS, AUDIT = "gc", "audit"
OWN_REPOSITORY = "edgemill-"


def normal_root(root: str) -> str:
    """A root without a final slash; for a folder, its absolute path.

    Raises:
        SpecError: It isn't an address of a registry.
    """
    return root.rstrip("/") if kind_at(root).address_prefix else str(Path(root).resolve())


def exists(root: str) -> bool:
    """Return whether a registry in a folder exists. Other kinds have no folders."""
    return bool(kind_at(root).address_prefix) or Path(root).is_dir()


def check_exists(root: str) -> None:
    """Raise a RegistryError if a registry in a folder doesn't exist. Other kinds have no folders."""
    if not exists(root):
        raise RegistryError(
            "there is no such registry",
            where=root,
            bound=known_forms(),
            remedy="specify the `root` of a registry in a pipeline file",
        )


def bucket_at(root: str) -> tuple[Bucket, str]:
    """Return the bucket of a folder or of an object store, and the prefix of its keys: empty, or with a slash."""
    if is_address(root):
        return bucket_of(root), below(split(root)[2])
    # Pushes write into the folders of a device class and a name.
    return FolderBucket(Path(root), kept=2), ""


def host_and_name(address: str) -> tuple[str, str]:
    """Split the address of an OCI registry into its host and the name of a repository."""
    host, _, name = address.removeprefix(OciRegistry.address_prefix).strip("/").partition("/")
    return host, name


def notes_at(root: str, kind: str) -> Notes:
    """Return the notes of one kind, `CLAIMS` or `AUDIT`, of a registry. Raises a RegistryError if its kind has none."""
    reference = kind_at(root).notes
    if not reference:
        raise RegistryError(
            "this kind of registry keeps no audit log", where=root, remedy="use the tools of the registry itself"
        )
    found: Notes = referenced(reference)(root, kind)
    return found


def file_notes(root: str, kind: str) -> Notes:
    """Return the notes of a registry whose releases are files."""
    bucket, prefix = bucket_at(root)
    return BucketNotes(bucket, f"{prefix}_{kind}/")


def oci_notes(root: str, kind: str) -> Notes:
    """Return the notes of an OCI registry."""
    from components.object_store.oci.notes import OciNotes
    from components.object_store.oci.repository import Repository

    host, name = host_and_name(root)
    return OciNotes(Repository(host, f"{name}/{OWN_REPOSITORY}{kind}"))
