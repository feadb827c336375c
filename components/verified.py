"""What every reader of an artifact goes through: its bytes are those that were written, or the run ends here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.errors import TamperedError
from components.files import sha256_of_bytes
from components.manifest import MANIFEST_NAME, Manifest, digests_of, serialized


class Verified:
    """An artifact whose files are those of its manifest, and whose manifest is the one that was recorded.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def read(self, name: str) -> bytes:
        """The content of one of its files, read once: what is compared is what is returned.

        Raises:
            TamperedError: It is not what the manifest says, or not there.
        """
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise _tampered(self.manifest, self.folder, name, self._expected(name), _reason(error)) from error
        if (found := sha256_of_bytes(content)) != self.manifest.files.get(name):
            raise _tampered(self.manifest, self.folder, name, self._expected(name), f"sha256 {found}")
        return content

    def check(self) -> None:
        """Hash all files, and compare; for readers that hand a folder to a library, also after it has read.

        Raises:
            TamperedError: A file was changed, removed or added.
        """
        try:
            found = digests_of(self.folder)
        except OSError as error:
            raise _tampered(self.manifest, self.folder, "", "readable files", _reason(error)) from error
        for name in sorted({*found, *self.manifest.files}):
            if found.get(name) != self.manifest.files.get(name):
                digest = f"sha256 {found[name]}" if name in found else "no such file"
                raise _tampered(self.manifest, self.folder, name, self._expected(name), digest)

    def _expected(self, name: str) -> str:
        return f"sha256 {self.manifest.files[name]}" if name in self.manifest.files else "no such file"


def verified(artifact: Any) -> Verified:
    """The one way to an artifact of ours: all its files compared with its manifest, and that with ML Metadata.

    Args:
        artifact: A TFX artifact; or its folder, where the reader has no more than that. An artifact without the
            recorded digest (an imported one) is held to its manifest only.

    Raises:
        TamperedError: They differ, or the manifest cannot be read. Names artifact, file, both digests.
    """
    folder = artifact if isinstance(artifact, Path) else Path(artifact.uri)
    path = folder / MANIFEST_NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TamperedError(
            "the manifest of this artifact cannot be read",
            where=str(path),
            bound="the manifest that was written with the artifact",
            measured=_reason(error),
            remedy=_FIX,
        ) from error
    one = Verified(folder, manifest)
    if not isinstance(artifact, Path):
        for name, value in (("manifest_sha256", sha256_of_bytes(serialized(manifest))), ("sha256", manifest.sha256)):
            recorded = artifact.get_string_custom_property(name)
            if recorded and recorded != value:
                bound, measured = f"{name} {recorded} (ML Metadata)", f"{name} {value}"
                raise _tampered(manifest, folder, MANIFEST_NAME, bound, measured)
    one.check()
    return one


_FIX = "find out what changed the artifact, delete its folder, and run again: what is missing is produced again"


def _tampered(manifest: Manifest, folder: Path, name: str, bound: str, measured: str) -> TamperedError:
    recipe = f" {manifest.recipe.name!r}" if manifest.recipe else ""
    return TamperedError(
        f"this artifact ({manifest.role}{recipe}) is not the one that was written",
        where=str(folder / name),
        bound=bound,
        measured=measured,
        remedy=_FIX,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).splitlines()[0]
