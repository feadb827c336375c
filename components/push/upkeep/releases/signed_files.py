"""The files of a release that are signed. Channels can have signed different manifests of the same model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from components.core.files import sha256_of_bytes
from components.push.artifact import artifact_files, artifact_path
from components.push.audit import read_log
from components.push.references import manifest_digest
from components.push.release import MANIFEST_NAME, MODEL_NAME, Release, ReleaseManifest, manifest_path
from components.push.upkeep.holdings import Copy, Holdings, not_signed
from components.trust.rollout import ReleaseRef


def by_manifest(refs: Iterable[ReleaseRef]) -> dict[str | None, list[ReleaseRef]]:
    """Group what channels have signed about a release by the manifest; None if it isn't signed."""
    found: dict[str | None, list[ReleaseRef]] = {}
    for ref in refs:
        found.setdefault(manifest_digest(ref) or None, []).append(ref)
    return found or {None: []}


def read_signed(holdings: Holdings, place: str, version: str, refs: Sequence[ReleaseRef]) -> tuple[Copy, ...]:
    """Read and verify a release, with every manifest that is signed; if none is, with the current one.

    Raises:
        RegistryError: A file is missing, damaged, or not one that was signed.
    """
    copies = []
    for manifest, group in by_manifest(refs).items():
        copies.append(copy := holdings.read(place, version, manifest))
        check_signed(copy, group)
    return tuple(copies)


def check_current(holdings: Holdings, place: str, version: str, refs: Sequence[ReleaseRef]) -> None:
    """Check the current manifest of a release that is signed: it is signed, too, or a push has signed it before.

    The latter, which the audit log shows, is left by a push that was killed after it signed another manifest.

    Args:
        holdings, place, version: The release.
        refs: What is signed about it.

    Raises:
        RegistryError: Neither is the case, or the release is damaged.
    """
    signed = by_manifest(refs).keys() - {None}
    if not signed:
        return
    current = holdings.manifest(place, version)
    digest = "" if current is None else sha256_of_bytes(current)
    if digest in signed:
        return
    here = f"{place}/{version}"
    entries = read_log(holdings.root).entries.values()
    if digest not in {one.details.get("manifest") for one in entries if (one.what, one.where) == ("push", here)}:
        where = f"{holdings.root}/{here}/{MANIFEST_NAME}"
        raise not_signed(where, filter(None, signed), digest or "no such file")
    holdings.read(place, version)


def check_signed(copy: Copy, refs: Sequence[ReleaseRef]) -> None:
    """Compare a release with the signed statements about one of its manifests.

    Raises:
        RegistryError: A file differs from the signed one.
    """
    if not refs:
        return
    digests = {name: sha256_of_bytes(content) for name, content in copy.files.items()}
    if copy.artifact is not None:
        digests[artifact_path(copy.artifact[1])] = sha256_of_bytes(copy.artifact[1])
    expected: dict[str, set[str]] = {}
    for ref in refs:
        named = {one["name"]: one["digest"]["sha256"] for one in ref.statement.get("subject", ())}
        for name, digest in {**named, MODEL_NAME: ref.sha256, ref.file: ref.file_sha256}.items():
            expected.setdefault(name, set()).add(digest)
    for name, signed in expected.items():
        if digests.get(name) not in signed:
            raise not_signed(f"{copy.release.path}/{name}", signed, digests.get(name, "no such file"))


def manifests_of(signed: dict[str, list[ReleaseRef]]) -> dict[str, frozenset[str]]:
    """The digests of the manifests that are signed for each release, `<device class>/<name>/<version>`."""
    return {here: frozenset(filter(None, by_manifest(refs))) for here, refs in signed.items()}


def files_beside(written: bytes, place: str, version: str) -> set[str]:
    """The paths of all files of a release with a manifest, except those that every release of the model has.

    Raises:
        ValidationError: It isn't a manifest.
    """
    manifest = ReleaseManifest.model_validate_json(written)
    files = artifact_files(Release(version=version, path=place, manifest=manifest), written)
    return {manifest_path(sha256_of_bytes(written)), *files, *(one.path(name) for name, one in manifest.files.items())}
