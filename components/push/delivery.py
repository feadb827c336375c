"""The push, independent of TFX: checks the blessing and delivers the model to the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationError

from components.core.errors import RegistryUnreachableError, UnblessedError
from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel
from components.facts.artifact_paths import TFLITE_FILE
from components.facts.conversion import Converted, TensorFact
from components.facts.decision import Decision
from components.facts.evaluation import CandidateReport
from components.facts.slices import overall
from components.facts.verified import Verified
from components.push.content import bundle_files, card_file, classes_file
from components.push.references import NO_LINEAGE
from components.push.release import ReleaseManifest, ReleaseTensor, first_line
from components.push.release_files import described
from components.push.several import publish
from components.spec.card import CardSpec
from components.spec.devices.device import DeviceProfile
from components.spec.registry import Registry

OUTCOME_NAME = "push.json"


class PushRequest(FrozenModel):
    """The `spec` parameter of a push node.

    Attributes:
        registries: The target registries.
        device: The target device. The gate's decision must be for the same device.
        name: Name of the release, which is the pipeline's name.
        classes: Names of the classes in the order of the model's outputs; empty if labels have no names.
        card: Facts about the model that only people know, for its card.
    """

    registries: Annotated[tuple[Registry, ...], Field(min_length=1)]
    device: DeviceProfile
    name: str
    classes: tuple[str, ...] = ()
    card: CardSpec = CardSpec()


class Copy(FrozenModel):
    """The release in one registry: its address, and the digest of its manifest."""

    path: str
    manifest_sha256: str


class PushOutcome(FrozenModel):
    """The delivery for one device, or the reason why nothing was delivered.

    Attributes:
        device: Name of the device profile.
        pushed: Whether every registry now has the chosen bytes.
        reason: The gate's reason for choosing this candidate or none.
        version: Version of the release.
        path: Address of the release in the first registry.
        bytes, sha256: Size and digest of the release's model file.
        compressed_bytes: Size of the compressed file that is served.
        manifest_sha256: Digest of the release's manifest.
        others: The release in the other registries.
        signed: Whether the channel of every registry is signed. False in outcomes that predate signatures.
        staged: Whether the release waits in the run, because a registry was unreachable. `edgemill push` finishes it.
        error: Which registry was unreachable, and which registries have the release; empty if all were reachable.
    """

    device: str
    pushed: bool
    reason: str
    version: str | None = None
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    compressed_bytes: int | None = None
    manifest_sha256: str | None = None
    others: tuple[Copy, ...] = ()
    signed: bool = False
    staged: bool = False
    error: str = ""

    @property
    def other_paths(self) -> tuple[str, ...]:
        """Addresses of the release in the other registries."""
        return tuple(one.path for one in self.others)


def deliver(
    request: PushRequest,
    chosen: Verified,
    decision: Decision,
    decision_sha256: str,
    lineage: Mapping[str, str] = NO_LINEAGE,
) -> PushOutcome:
    """Publish the model that the decision blesses, if any.

    Args:
        request: The registries, the device, and the release's name.
        chosen: The gate's `chosen` artifact.
        decision: The decision from `read_blessing`.
        decision_sha256: Digest of the decision's file, recorded in the release.
        lineage: IDs of the run and of its artifacts in ML Metadata, which signed registries record.

    Raises:
        TamperedError: The artifact has changed since it was written.
        UnblessedError: The decision is for a different device, or for bytes other than those in `chosen`.
        RegistryError: A registry refused the release. If a registry is only unreachable, the outcome is `staged`.
    """
    if decision.device != request.device.name:
        raise _unblessed(chosen.place, "it is for another device", request.device.name, decision.device)
    if decision.verdict != "pass":
        return PushOutcome(device=decision.device, pushed=False, reason=decision.why)
    model = chosen.read(TFLITE_FILE)
    try:
        facts = CandidateReport.model_validate_json(chosen.read("facts.json"))
    except ValidationError as error:
        raise _unblessed(chosen.place, f"the chosen model is incomplete: {first_line(error)}") from error
    digest = sha256_of_bytes(model)
    if digest != decision.chosen_sha256:
        raise _unblessed(chosen.place, "it is for other bytes", f"sha256 {decision.chosen_sha256}", digest)
    if (facts.name, facts.sha256) != (decision.chosen, digest):
        raise _unblessed(chosen.place, "the chosen model's facts are for another model", decision.chosen, facts.name)
    parents = {**chosen.manifest.parents, "decision": decision_sha256}
    try:
        files = {
            **classes_file(request.classes),
            **card_file(request.name, request.device, request.card, chosen, facts, decision, parents),
            **bundle_files(chosen, model, facts),
        }
    except ValidationError as error:
        raise _unblessed(chosen.place, f"the chosen model is incomplete: {first_line(error)}") from error
    manifest = _release_manifest(request, facts, decision, parents, len(model))
    manifest = manifest.model_copy(update={"files": described(files)})
    try:
        (release, *others), signed = publish(
            request.registries, request.device.device_class, request.name, model, manifest, files, lineage
        )
    except RegistryUnreachableError as error:
        return PushOutcome(
            device=decision.device,
            pushed=False,
            reason=decision.why,
            version=digest[:16],
            bytes=len(model),
            sha256=digest,
            staged=True,
            error=str(error),
        )
    return PushOutcome(
        device=decision.device,
        pushed=True,
        reason=decision.why,
        version=release.version,
        path=release.path,
        bytes=len(model),
        sha256=digest,
        compressed_bytes=release.manifest.compressed.bytes if release.manifest.compressed else None,
        manifest_sha256=release.manifest_sha256,
        others=tuple(Copy(path=one.path, manifest_sha256=one.manifest_sha256) for one in others),
        signed=signed,
    )


def read_blessing(blessing: Verified, *, blessed: int) -> Decision:
    """Read a blessing's decision, and check that its mark file, custom property, and decision agree.

    Args:
        blessing: The ModelBlessing artifact.
        blessed: The artifact's custom property; 0 if it isn't set.

    Raises:
        TamperedError: The artifact has changed since it was written.
        UnblessedError: The decision cannot be read, or the three contradict each other.
    """
    try:
        decision = Decision.model_validate_json(blessing.read("decision.json"))
    except ValidationError as error:
        raise _unblessed(blessing.place, f"its decision cannot be read: {first_line(error)}") from error
    passed = decision.verdict == "pass"
    marks = {name for name in ("BLESSED", "NOT_BLESSED") if name in blessing.manifest.files}
    if marks != {"BLESSED" if passed else "NOT_BLESSED"} or blessed != int(passed):
        found = f"files {sorted(marks)}, property blessed={blessed}"
        raise _unblessed(blessing.place, "it contradicts itself", f"the decision's verdict {decision.verdict!r}", found)
    return decision


def _release_manifest(
    request: PushRequest, facts: CandidateReport, decision: Decision, parents: dict[str, str], size: int
) -> ReleaseManifest:
    whole = overall(facts.slices)
    inspection = facts.outcome.inspection if isinstance(facts.outcome, Converted) else None
    return ReleaseManifest(
        name=request.name,
        device_class=request.device.device_class,
        device=request.device.name,
        sha256=str(facts.sha256),
        bytes=size,
        recipe=facts.recipe,
        inputs=tuple(map(_tensor, inspection.inputs)) if inspection else (),
        outputs=tuple(map(_tensor, inspection.outputs)) if inspection else (),
        runtime_floor=inspection.runtime_floor if inspection else None,
        metrics=whole.metrics if whole else {},
        change=whole.change if whole else {},
        checks=next(one.checks for one in decision.candidates if one.candidate == decision.chosen),
        parents=parents,
    )


def _tensor(fact: TensorFact) -> ReleaseTensor:
    return ReleaseTensor(
        name=fact.signature or fact.name,
        shape=fact.shape,
        dtype=fact.dtype,
        scale=fact.scale,
        zero_point=fact.zero_point,
    )


def _unblessed(where: object, what: str, bound: object = None, measured: object = None) -> UnblessedError:
    return UnblessedError(
        f"this blessing is not valid: {what}",
        where=str(where),
        bound=bound,
        measured=measured,
        remedy="run the gate again and push what it blesses; never edit a blessing by hand",
    )
