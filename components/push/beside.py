"""What a registry keeps beside its releases: where it is in each kind of registry.

    <root>/_gc/       what a collection is about to remove (`claims`)
    <root>/_audit/    who changed what (`audit`)

In an OCI registry, whose names can't begin with an underscore, these are the repositories `edgemill-gc` and
`edgemill-audit` below the root.
"""

from __future__ import annotations

from pathlib import Path

from components.object_store.bucket import Bucket, below, is_address, split
from components.object_store.clients import bucket_of
from components.object_store.folder import FolderBucket
from components.object_store.notes import BucketNotes, Notes
from components.spec.registry import OciRegistry

CLAIMS, AUDIT = "gc", "audit"
OWN_REPOSITORY = "edgemill-"


def is_oci(root: str) -> bool:
    """Return whether an address is that of an OCI registry."""
    return root.startswith(OciRegistry.address_prefix)


def normal_root(root: str) -> str:
    """A root without a final slash; for a folder, its absolute path."""
    return root.rstrip("/") if is_oci(root) or is_address(root) else str(Path(root).resolve())


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
    """Return the notes of one kind, `CLAIMS` or `AUDIT`, of a registry."""
    if is_oci(root):
        from components.object_store.oci.notes import OciNotes
        from components.object_store.oci.repository import Repository

        host, name = host_and_name(root)
        return OciNotes(Repository(host, f"{name}/{OWN_REPOSITORY}{kind}"))
    bucket, prefix = bucket_at(root)
    return BucketNotes(bucket, f"{prefix}_{kind}/")
