"""A push to several registries: the release is put into all of them before the first channel changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from components.core.errors import RegistryError, RegistryUnreachableError
from components.push.claims import CollectedError
from components.push.references import NO_LINEAGE
from components.push.registry import Registry, open_registry
from components.push.release import NO_FILES, Release, ReleaseManifest
from components.push.signed import commit as commit_signed
from components.spec.registry import BaseRegistry

_Result = TypeVar("_Result")
# How often to put a release again that a collection removed before its channel named it.
_MOST_COLLECTED = 3


def publish(
    specs: Sequence[BaseRegistry],
    device_class: str,
    name: str,
    model: bytes,
    manifest: ReleaseManifest,
    files: Mapping[str, bytes] = NO_FILES,
    lineage: Mapping[str, str] = NO_LINEAGE,
) -> tuple[tuple[Release, ...], bool]:
    """Publish a model in each registry, and point its channel to the release.

    If one registry fails, the push still tries the others, so that one message lists the state of each.
    `lineage` is as for `components.push.signed.commit`.

    Returns:
        The release in each registry, and whether all of them are signed.

    Raises:
        RegistryError: A registry refused. If it doesn't have the release, no channel has changed. If its channel didn't
            change, the others have. The message lists both.
        SpecError: A registry doesn't support the name.
    """
    registries = [open_registry(spec) for spec in specs]

    def put(registry: Registry, _: int) -> Release:
        return registry.put(device_class, name, model, manifest, files)

    releases = _all(
        specs, registries, put, "the release is not in every registry, so no channel was changed", "has the release"
    )

    def commit(registry: Registry, index: int) -> bool:
        for _ in range(_MOST_COLLECTED):
            with suppress(CollectedError):
                return commit_signed(specs[index], registry, releases[index], lineage)
            # The channel can already be signed, so its release must not be missing.
            releases[index] = put(registry, index)
        return commit_signed(specs[index], registry, releases[index], lineage)

    signed = _all(specs, registries, commit, "the channel was not changed in every registry", "changed")
    return tuple(releases), all(signed)


def _all(
    specs: Sequence[BaseRegistry],
    registries: Sequence[Registry],
    do: Callable[[Registry, int], _Result],
    what: str,
    done: str,
) -> list[_Result]:
    results: list[_Result] = []
    outcomes: list[str] = []
    failed: list[RegistryError] = []
    for index, (spec, registry) in enumerate(zip(specs, registries, strict=True)):
        try:
            results.append(do(registry, index))
            outcomes.append(f"{spec.place} ({spec.channel}) {done}")
        except RegistryError as error:
            failed.append(error)
            outcomes.append(f"{spec.place} ({spec.channel}) failed: {error}")
    if len(specs) == 1 and failed:
        raise failed[0]
    if failed:
        unreachable = all(isinstance(error, RegistryUnreachableError) for error in failed)
        raise (RegistryUnreachableError if unreachable else RegistryError)(
            what,
            bound=f"{len(specs)} of {len(specs)} registries",
            measured="; ".join(outcomes),
            remedy="fix the error in each message, and run again: the other registries stay as they are",
        )
    return results
