"""What every reader of an artifact goes through: its bytes are those that were written, or the run ends here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.core.errors import TamperedError
from components.core.files import read_regular, sha256_of_bytes
from components.core.remembered_digests import content_digest
from components.facts.manifest import MANIFEST_NAME, Manifest, digests_of


class Verified:
    """An artifact whose manifest is the one that was recorded.

    Attributes:
        place: Folder or address where it lies.
        manifest: What it says of itself.
    """

    def __init__(self, place: str, manifest: Manifest) -> None:
        self.place, self.manifest = place, manifest

    @property
    def folder(self) -> Path:
        """Where it lies on this machine."""
        return Path(self.place)

    def read(self, name: str) -> bytes:
        """The content of one of its files, read once: what is compared is what is returned.

        Raises:
            TamperedError: It is not what the manifest says, or not there.
        """
        try:
            return self.compared(name, read_regular(self.folder / name))
        except OSError as error:
            raise self._tampered(name, _reason(error)) from error

    def compared(self, name: str, content: bytes | None) -> bytes:
        """The content that was read of one of its files, None for a file that is not there.

        Raises:
            TamperedError: As for `read`.
        """
        found = "" if content is None else sha256_of_bytes(content)
        if content is None or found != self.manifest.files.get(name):
            raise self._tampered(name, f"sha256 {found}" if found else _NO_FILE)
        return content

    def check(self) -> None:
        """Hash all files, and compare; for readers that hand a folder to a library, also after it has read.

        What this process has hashed is read again only where the file system says that it may differ: all converters
        of a run read the same baseline.

        Raises:
            TamperedError: A file was changed, removed or added.
            DataError: A file cannot be read.
        """
        found = digests_of(self.folder, content_digest)
        for name in sorted({*found, *self.manifest.files}):
            if found.get(name) != self.manifest.files.get(name):
                raise self._tampered(name, f"sha256 {found[name]}" if name in found else _NO_FILE)

    def _tampered(self, name: str, measured: str) -> TamperedError:
        bound = f"sha256 {self.manifest.files[name]}" if name in self.manifest.files else _NO_FILE
        return _tampered(self.manifest, f"{self.place}/{name}", bound, measured)


def verified(artifact: Any) -> Verified:
    """The one way to an artifact of ours: all its files compared with its manifest, and that with ML Metadata.

    Args:
        artifact: A TFX artifact; or its folder, where the reader has no more than that. An artifact without the
            recorded digest (an imported one) is held to its manifest only.

    Raises:
        TamperedError: They differ, or the manifest cannot be read. Names artifact, file, both digests.
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


def with_manifest(place: str, content: bytes, recorded: Mapping[str, str | None]) -> Verified:
    """An artifact by the content of its manifest, which is compared with what was recorded; no file of it is read.

    Args:
        place: Folder or address where it lies.
        content: Of its `manifest.json`.
        recorded: `RECORDED` -> what ML Metadata holds of it, empty where it holds nothing.

    Raises:
        TamperedError: They differ, or it is no manifest.
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


# What `components.facts.manifest.describe` writes to ML Metadata.
RECORDED = ("manifest_sha256", "sha256")

_FIX = "find out what changed the artifact, delete its folder, and run again: what is missing is produced again"
_NO_FILE = "no such file"


def _tampered(manifest: Manifest, where: str, bound: str, measured: str) -> TamperedError:
    recipe = f" {manifest.recipe_name!r}" if manifest.recipe else ""
    return TamperedError(
        f"this artifact ({manifest.role}{recipe}) is not the one that was written",
        where=where.rstrip("/"),
        bound=bound,
        measured=measured,
        remedy=_FIX,
    )


def _unreadable(place: str, measured: str) -> TamperedError:
    return TamperedError(
        "the manifest of this artifact cannot be read",
        where=f"{place}/{MANIFEST_NAME}",
        bound="the manifest that was written with the artifact",
        measured=measured,
        remedy=_FIX,
    )


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
