"""The files of a release, from other files of it and from those of runs. Each one is known by its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from components.core.compression import gunzip, gzip_of
from components.core.files import sha256_of, sha256_of_bytes
from components.push.artifact import artifact_files
from components.push.release import COMPRESSED_NAME, MODEL_NAME, Release, ReleaseManifest
from components.push.upkeep.holdings import Holdings


def from_pieces(
    holdings: Holdings, folders: Sequence[Path], place: str, version: str, digest: str | None
) -> Iterator[tuple[str, bytes]]:
    """Yield the damaged files of a release whose manifest is intact, from its other files and from runs."""
    content = holdings.manifest(place, version, digest) or b""
    manifest = _parsed(content, version)
    if manifest is None:
        return
    current = holdings.contents(place, version, [MODEL_NAME, COMPRESSED_NAME])
    model, compressed = current.get(MODEL_NAME, b""), current.get(COMPRESSED_NAME, b"")
    made: list[Callable[[], bytes | None]] = [
        lambda: model,
        lambda: gunzip(compressed, manifest.bytes),
        lambda: _searched(folders, manifest.sha256, manifest.bytes),
    ]
    good = _first(made, manifest.sha256)
    if good is not None and good != model:
        yield MODEL_NAME, good
    if (form := manifest.compressed) is not None and sha256_of_bytes(compressed) != form.sha256:
        again = _first(
            [lambda: good and gzip_of(good), lambda: _searched(folders, form.sha256, form.bytes)], form.sha256
        )
        if again is not None:
            yield COMPRESSED_NAME, again
    wanted = {one.path(name): one for name, one in manifest.files.items()}
    there = holdings.contents(place, version, wanted)
    for path, one in wanted.items():
        if sha256_of_bytes(there.get(path, b"")) != one.sha256:
            searched = _searched(folders, one.sha256, one.bytes)
            if searched is not None:
                yield path, searched
    beside = holdings.oci_manifests(place, version)
    release = Release(version=version, path=place, manifest=manifest)
    made_again = artifact_files(release, content)
    # One of another manifest shows that the manifest was changed, unless it is signed.
    if beside is not None and (digest or set(beside) <= made_again.keys()):
        there = holdings.contents(place, version, made_again)
        yield from ((path, made) for path, made in made_again.items() if there.get(path) != made)


def _parsed(content: bytes, version: str) -> ReleaseManifest | None:
    try:
        manifest = ReleaseManifest.model_validate_json(content)
    except ValidationError:
        return None
    return manifest if manifest.sha256.startswith(version) else None


def _searched(folders: Sequence[Path], sha256: str, size: int) -> bytes | None:
    """Find a file by its size and digest in the folders of runs."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size == size and sha256_of(path) == sha256:
                return path.read_bytes()
    return None


def _first(makers: Sequence[Callable[[], bytes | None]], sha256: str) -> bytes | None:
    return next((made for make in makers if (made := make()) is not None and sha256_of_bytes(made) == sha256), None)
