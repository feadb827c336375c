"""Writes the objects of a release under conditions, and checks that no collection has removed them since."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping

from components.core.compression import gunzip
from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.object_store.bucket import Bucket, below, split
from components.object_store.clients import bucket_of
from components.push import claims
from components.push.artifact import ARTIFACT_FORM, artifact_files, other_artifact
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, Release, ReleaseManifest, manifest_path
from components.push.release_files import compressed_form, corrupt_file, corrupt_form, corrupt_model, root_and_place

# Each failed attempt means that another push succeeded.
MOST_ATTEMPTS = 50
_LONGEST_PAUSE_SECONDS = 0.2

_LOG = logging.getLogger(__name__)


def written(folder: str, model: bytes, manifest: ReleaseManifest, files: Mapping[str, bytes]) -> Release:
    """Create the missing objects of a release, and verify the others."""
    bucket, key = bucket_of(folder), split(folder)[2]
    found = create(bucket, f"{key}/{MODEL_NAME}", model, folder)
    if found != model:
        raise corrupt_model(folder, manifest.sha256, sha256_of_bytes(found))
    content, form = compressed_form(model)
    found = create(bucket, f"{key}/{COMPRESSED_NAME}", content, folder)
    if found != content:
        # Another version of zlib compresses to different bytes, which are just as good.
        if gunzip(found, len(model)) != model:
            raise corrupt_form(f"{folder}/{COMPRESSED_NAME}", form, found, same=False)
        form = form.model_copy(update={"sha256": sha256_of_bytes(found), "bytes": len(found)})
    manifest = manifest.model_copy(update={"compressed": form, "artifact": ARTIFACT_FORM})
    release = Release(version=manifest.sha256[:16], path=folder, manifest=manifest)
    for place, beside in artifact_files(release).items():
        if (found := create(bucket, f"{key}/{place}", beside, folder)) != beside:
            raise other_artifact(f"{folder}/{place}", f"sha256 {sha256_of_bytes(beside)}", sha256_of_bytes(found))
    for one, beside in files.items():
        place = manifest.files[one].path(one)
        if (found := create(bucket, f"{key}/{place}", beside, folder)) != beside:
            raise corrupt_file(f"{folder}/{place}", manifest.files[one], sha256_of_bytes(found))
    content = serialized(manifest)
    same = create(bucket, f"{key}/{MANIFEST_NAME}", content, folder) == content
    # Even if it is the same, because a collection keeps recently written objects.
    place = MANIFEST_NAME if same else manifest_path(sha256_of_bytes(content))
    replace(bucket, f"{key}/{place}", content, folder, again=True)
    return release


def make_current(release: Release) -> bool:
    """Replace the current manifest with that of a release if it differs, and keep it at its digest.

    Returns:
        Whether it differed.
    """
    bucket, key, content = bucket_of(release.path), split(release.path)[2], serialized(release.manifest)
    for _ in range(MOST_ATTEMPTS):
        found = bucket.read_version(f"{key}/{MANIFEST_NAME}")
        if found is None:
            raise claims.collected(release.path)
        if found.content == content:
            return False
        replace(bucket, f"{key}/{manifest_path(sha256_of_bytes(found.content))}", found.content, release.path)
        _LOG.warning("%s/%s differs from the content of this push, and is replaced", release.path, MANIFEST_NAME)
        if bucket.write_if(f"{key}/{MANIFEST_NAME}", content, found.version):
            return True
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
    raise _crowded(release.path)


def is_complete(release: Release, also: Iterable[str] = ()) -> bool:
    """Whether all objects of a release exist. They aren't read. `also` are further names below it."""
    expected = {MODEL_NAME, COMPRESSED_NAME, MANIFEST_NAME, *also}
    expected |= {one.path(name) for name, one in release.manifest.files.items()}
    return expected <= set(names(release.path))


def check_kept(release: Release, also: Iterable[str] = ()) -> None:
    """Raise a CollectedError if a collection removed a release before a channel named it."""
    root, place = root_and_place(release.path)
    claims.settle(root, {place})
    if not is_complete(release, also):
        raise claims.collected(release.path)


def create(bucket: Bucket, key: str, content: bytes, place: str) -> bytes:
    """Create an object, and return its content, which is different if the object existed."""
    for _ in range(MOST_ATTEMPTS):
        if bucket.write_if(key, content, None):
            return content
        if (found := bucket.read_version(key)) is not None:
            return found.content
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
    raise _crowded(place)


def replace(bucket: Bucket, key: str, content: bytes, place: str, *, again: bool = False) -> bytes | None:
    """Replace an object if it differs, or if `again` is set. Return its previous content; None if there was none.

    If another push writes first, this push reads what it wrote before replacing it.
    """
    for attempt in range(MOST_ATTEMPTS):
        found = bucket.read_version(key)
        # After a refused write, this push or another one has just written the same content.
        if found is not None and found.content == content and (attempt or not again):
            return content
        if bucket.write_if(key, content, None if found is None else found.version):
            return None if found is None else found.content
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
    raise _crowded(place)


def _crowded(place: str) -> RegistryError:
    return RegistryError(
        "other pushes keep changing this",
        where=place,
        bound=f"no other push during one of {MOST_ATTEMPTS} attempts",
        remedy="run again when fewer pipelines push to this channel",
    )


def names(folder: str) -> Iterator[str]:
    """Yield the names of all objects below an address, relative to it, sorted."""
    prefix = below(split(folder)[2])
    return (one.key.removeprefix(prefix) for one in bucket_of(folder).objects(prefix))
