"""Finds the champion of a device: the release that the channels of its registries name.

A rollback changes what a channel names, so a release that was pulled back is no longer the champion. In a signed
registry, the signed channel counts, and not the plain pointer that follows it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from components.core.errors import EdgemillError, RegistryError, some_of
from components.core.files import sha256_of_bytes
from components.facts.champion import Champion, Sighting
from components.push.content import CLASSES_NAME, classes_file
from components.push.registry import open_registry
from components.push.release import MODEL_NAME, Release
from components.push.release_files import place_of
from components.push.signed import open_signed, signed_root
from components.push.upkeep.holdings import Copy
from components.push.upkeep.opening import holdings_at
from components.spec.devices.device import DeviceProfile
from components.spec.registry import AnyRegistry, BaseRegistry


def find_champion(
    registries: Sequence[AnyRegistry], device: DeviceProfile, name: str, classes: Sequence[str] = ()
) -> tuple[Champion, bytes | None]:
    """Ask all registries, and return the champion with the content of its file, or None.

    If registries name different releases, the first registry that can be read counts. Errors of registries aren't
    raised.

    Args:
        registries: The registries of the pipeline file.
        device: The device.
        name: Name of the pipeline.
        classes: Names of the classes in the order of the model's outputs; empty if labels have no names.
    """
    asked = [_ask(one, device.device_class, name) for one in registries]
    sightings = tuple(sighting for sighting, _ in asked)
    copy = next((copy for _, copy in asked if copy is not None), None)
    if copy is None:
        unknown = any(one.state == "unknown" for one in sightings)
        return Champion(device=device.name, state="unknown" if unknown else "none", sightings=sightings), None
    manifest, version = copy.release.manifest, copy.release.version
    champion = Champion(
        device=device.name,
        state="found",
        sha256=manifest.sha256,
        bytes=manifest.bytes,
        version=version,
        path=copy.release.path,
        recipe=manifest.recipe.model_dump(mode="json"),
        incomparable=_other_classes(copy, classes),
        notes=tuple(_notes(copy, device, sightings)),
        sightings=sightings,
    )
    return champion, copy.files[MODEL_NAME]


def token_of(sightings: Sequence[Sighting]) -> str | None:
    """A token of the releases that the registries name, which changes with them; None if a registry can't be read."""
    if any(one.state == "unknown" for one in sightings):
        return None
    return json.dumps([[one.registry, one.content] for one in sightings])


def named_now(registries: Sequence[AnyRegistry], device_class: str, name: str) -> str | None:
    """The token of the releases that the registries currently name, as in `token_of`."""
    return token_of([_ask(one, device_class, name)[0] for one in registries])


def _ask(spec: AnyRegistry, device_class: str, name: str) -> tuple[Sighting, Copy | None]:
    registry = f"{spec.place} ({spec.channel})"
    try:
        version = _named(spec, device_class, name)
        if version is None:
            return Sighting(registry=registry, state="none"), None
        place = place_of(device_class, name)
        copy = holdings_at(spec.root, (place,)).read(place, version)
    except EdgemillError as error:
        return Sighting(registry=registry, state="unknown", why=str(error)), None
    return Sighting(registry=registry, state="found", version=version, content=_content_of(copy.release)), copy


def _content_of(release: Release) -> str:
    manifest = release.manifest
    classes = manifest.files.get(CLASSES_NAME)
    matters = [manifest.sha256, manifest.recipe.model_dump_json(), manifest.device, classes.sha256 if classes else ""]
    return sha256_of_bytes(json.dumps(matters).encode())


def _named(spec: BaseRegistry, device_class: str, name: str) -> str | None:
    """The version that a channel names; None if the channel has no release."""
    root = signed_root(spec)
    signed = open_signed(root) if root else None
    if signed is None:
        release = open_registry(spec).current(device_class, name)
        return None if release is None else release.version
    state = signed.channel(device_class, name, spec.channel)
    # If no roll-out has reached all devices yet, the one that began first counts.
    released = state.complete or (state.stages[-1].release if state.stages else None)
    return None if released is None else released.version


def _other_classes(copy: Copy, classes: Sequence[str]) -> str:
    """Describe how the classes of a release differ; empty if they don't, or if either side has no names."""
    form, own = copy.release.manifest.files.get(CLASSES_NAME), classes_file(classes).get(CLASSES_NAME)
    theirs = None if form is None else copy.files.get(form.path(CLASSES_NAME))
    if theirs is None or own is None or theirs == own:
        return ""
    before, now = (content.decode(errors="replace").splitlines() for content in (theirs, own))
    return f"its classes are {some_of(before)}; those of this pipeline are {some_of(now)}"


def _notes(copy: Copy, device: DeviceProfile, sightings: Sequence[Sighting]) -> list[str]:
    manifest, notes = copy.release.manifest, []
    if manifest.recipe.scheme.kind not in device.schemes:
        notes.append(f"its scheme {manifest.recipe.scheme.kind} is no longer in the device profile")
    if manifest.device != device.name:
        notes.append(f"it was released for the profile {manifest.device!r} of the same device class")
    for one in sightings:
        if one.state == "unknown":
            notes.append(f"the registry {one.registry} does not answer: {one.why}")
        elif one.version != copy.release.version:
            notes.append(f"the registry {one.registry} names {one.version or 'no release'}")
    return notes


def unreadable(champion: Champion) -> RegistryError | None:
    """The error for a champion that is unknown; None for any other."""
    if champion.state != "unknown":
        return None
    return RegistryError(
        "the champion is unknown, so it is unknown whether a candidate is worse",
        where="gate.champion",
        bound=f"the last release of {champion.device}, which `champion: require` asks for",
        measured="; ".join(one.why for one in champion.sightings if one.state == "unknown"),
        remedy="fix the registry, or set `champion: report` to release without the comparison",
    )
