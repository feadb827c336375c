"""TFX component that finds a device's champion: the registries of the pipeline file -> its last release as a Model."""

import logging
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tfx.types.standard_artifacts import Model

from components.core.files import write_atomically
from components.core.values import FrozenModel, serialized
from components.facts.artifact_paths import CHAMPION_FILE, TFLITE_FILE
from components.facts.manifest import describe, write_manifest
from components.push.champion import find_champion, token_of
from components.spec.devices.device import DeviceProfile
from components.spec.registry import Registry
from components.upstream.tfx.dsl import OutputArtifact, Parameter, component


class ChampionRequest(FrozenModel):
    """The `spec` parameter of a node that finds a champion.

    Attributes:
        registries: The registries that the device's releases go to.
        device: The device.
        name: Name of the pipeline.
        classes: Names of the classes in the order of the model's outputs; empty if labels have no names.
    """

    registries: Annotated[tuple[Registry, ...], Field(min_length=1)]
    device: DeviceProfile
    name: str
    classes: tuple[str, ...] = ()


@component
def ChampionFinder(
    champion: OutputArtifact[Model],
    spec: Parameter[str],
    code_version: Parameter[str],
    attempt: Parameter[str],  # noqa: ARG001
    seen: Parameter[str] = "",
    retry: Parameter[str] = "",  # noqa: ARG001
) -> None:
    """Copy the last release of a device. If there is none, or no registry can be read, there is no model, but no error.

    Args:
        champion: Contains `champion.json` (a Champion) and the model.
        spec: JSON of a ChampionRequest.
        code_version: Code version of this module.
        attempt: ID of the run if the cache must not be used because the registries couldn't be read when the run began.
            Otherwise empty.
        seen: The releases that the registries named when the run began, as in `components.push.champion.token_of`. So
            the cached champion is used only while all channels name the same release.
        retry: A new value bypasses the cache after an outcome that doesn't match any value of `seen`.
    """
    request = ChampionRequest.model_validate_json(spec)
    found, model = find_champion(request.registries, request.device, request.name, request.classes)
    logger = logging.getLogger(__name__)
    logger.info("%s: the champion is %s", found.device, found.version or found.state)
    for sighting in found.sightings:
        if sighting.state == "unknown":
            logger.warning("%s: %s: %s", found.device, sighting.registry, sighting.why)
    folder = Path(champion.uri)
    if model is not None:
        write_atomically(folder / TFLITE_FILE, model)
    write_atomically(folder / CHAMPION_FILE, serialized(found))
    manifest = write_manifest(
        folder,
        CHAMPION_FILE if model is None else TFLITE_FILE,
        role="champion",
        recipe=found.recipe,
        parents={},
        code_version=code_version,
    )
    token = token_of(found.sightings)
    describe(
        champion,
        manifest,
        device=found.device,
        state=found.state,
        version=found.version or "",
        address=found.path or "",
        # A channel changed during the run, or a registry was unreachable.
        transient=int(token is None or bool(seen and seen != token)),
    )
