"""Verification for all readers of artifacts: if the bytes changed after they were written, the run ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.core.errors import TamperedError, tampered
from components.core.files import read_regular, sha256_of_bytes
from components.core.remembered_digests import content_digest
from components.facts.manifest import MANIFEST_NAME, Manifest, Role, describe, digests_of, write_manifest


class Verified:
    """An artifact whose manifest matches the recorded one.

    Attributes:
        place: Folder or address of the artifact.
        manifest: Its manifest.
    """

    def __init__(self, place: str, manifest: Manifest) -> None:
        self.place, self.manifest = place, manifest

    @property
    def folder(self) -> Path:
        """Folder of the artifact on this machine."""
        return Path(self.place)

    def read(self, name: str) -> bytes:
        """Read one of its files, and compare it. The file is read once, so the compared bytes are those returned.

        Raises:
            TamperedError: The file is missing or doesn't match the manifest.
        """
        try:
            return self.compared(name, read_regular(self.folder / name))
        except OSError as error:
            raise self._tampered(name, _reason(error)) from error

    def compared(self, name: str, content: bytes | None) -> bytes:
        """Compare the content of one of its files, and return it. None means a missing file.

        Raises:
            TamperedError: As in `read`.
        """
        found = "" if content is None else sha256_of_bytes(content)
        if content is None or found != self.manifest.files.get(name):
            raise self._tampered(name, f"sha256 {found}" if found else _NO_FILE)
        return content

    def check(self) -> None:
        """Hash and compare all files. Readers that pass the folder to a library call this before and after it reads.

        A file that this process has hashed is read again only if its status shows that it may differ, because all
        converters of a run read the same baseline.

        Raises:
            TamperedError: A file was changed, removed, or added.
            DataError: A file can't be read.
        """
        found = digests_of(self.folder, content_digest)
        for name in sorted({*found, *self.manifest.files}):
            if found.get(name) != self.manifest.files.get(name):
                raise self._tampered(name, f"sha256 {found[name]}" if name in found else _NO_FILE)

    def _tampered(self, name: str, measured: str) -> TamperedError:
        bound = f"sha256 {self.manifest.files[name]}" if name in self.manifest.files else _NO_FILE
        return _tampered(self.manifest, f"{self.place}/{name}", bound, measured)


def verified(artifact: Any) -> Verified:
    """Open an artifact: compare all its files with its manifest, and the manifest with ML Metadata.

    Args:
        artifact: A TFX artifact, or its folder if the reader has nothing else. An artifact without a recorded digest,
            such as an imported one, is compared with its manifest only.

    Raises:
        TamperedError: They differ, or the manifest can't be read. The message has the artifact, file, and digests.
    """
    folder = artifact if isinstance(artifact, Path) else Path(artifact.uri)
    try:
        content = read_regular(folder / MANIFEST_NAME)
    except OSError as error:
        raise _unreadable(str(folder), _reason(error)) from error
    names = () if isinstance(artifact, Path) else RECORDED
    one = with_manifest(str(folder), content, {name: artifact.get_string_custom_property(name) for name in names})
    one.check()
    return one


def write_result(
    artifact: Any,
    content: str,
    *,
    role: Role,
    model: Verified,
    parents: Mapping[str, Verified | Path | None],
    code_version: str,
    **facts: str | int | float,
) -> None:
    """Write the manifest of what a node made from one model, and describe the TFX artifact by it. Call it last.

    Args:
        artifact: The TFX artifact.
        content: Path of its main content, relative to its folder.
        role: Its role in the pipeline.
        model: The model, whose recipe is also the result's.
        parents: Input name -> a verified artifact, or a folder of examples. None stands for an absent optional input.
        code_version: Version of the code that made it.
        facts: Further custom properties of the artifact.
    """
    digests = {
        name: one.manifest.sha256 if isinstance(one, Verified) else content_digest(one)
        for name, one in parents.items()
        if one is not None
    }
    manifest = write_manifest(
        Path(artifact.uri),
        content,
        role=role,
        recipe=model.manifest.recipe,
        parents=digests,
        code_version=code_version,
    )
    describe(artifact, manifest, **facts)


def with_manifest(place: str, content: bytes, recorded: Mapping[str, str | None]) -> Verified:
    """Open an artifact by the content of its manifest, and compare that with the record. Reads none of its files.

    Args:
        place: Folder or address of the artifact.
        content: Content of its `manifest.json`.
        recorded: Name from `RECORDED` -> value in ML Metadata; empty if there is none.

    Raises:
        TamperedError: They differ, or the content is not a manifest.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise _unreadable(place, str(error).splitlines()[0]) from error
    found = {"manifest_sha256": sha256_of_bytes(content), "sha256": manifest.sha256}
    for name, value in found.items():
        if recorded.get(name) not in {None, "", value}:
            bound, measured = f"{name} {recorded[name]} (ML Metadata)", f"{name} {value}"
            raise _tampered(manifest, f"{place}/{MANIFEST_NAME}", bound, measured)
    return Verified(place, manifest)


# Properties that `components.facts.manifest.describe` writes to ML Metadata.
RECORDED = ("manifest_sha256", "sha256")

_NO_FILE = "no such file"


def _tampered(manifest: Manifest, where: str, bound: str, measured: str) -> TamperedError:
    recipe = f" {manifest.recipe_name!r}" if manifest.recipe else ""
    return tampered(f"{manifest.role}{recipe}", where.rstrip("/"), bound, measured)


def _unreadable(place: str, measured: str) -> TamperedError:
    return TamperedError(
        "the manifest of this artifact cannot be read",
        where=f"{place}/{MANIFEST_NAME}",
        bound="the manifest that was written with the artifact",
        measured=measured,
        remedy="find out what changed the artifact, delete its folder, and run again to recreate it",
    )


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
