"""TFX component of the push: the chosen Model and its blessing -> PushedModel. Nothing is pushed without a blessing."""

import logging

from tfx.types.standard_artifacts import Model, ModelBlessing, PushedModel

from components.facts.verified import verified
from components.push.delivery import PushRequest, deliver, read_blessing
from components.push.outcome import lineage_of, record
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


@component
def Pusher(
    chosen: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    pushed: OutputArtifact[PushedModel],
    spec: Parameter[str],
    attempt: Parameter[str],
    code_version: Parameter[str],
) -> None:
    """Publish the chosen model if it is blessed.

    Args:
        chosen: The model that the gate chose.
        blessing: The gate's blessing. Without one, the node succeeds with `pushed` = 0.
        pushed: Contains `push.json` (a PushOutcome). Its custom properties include the device, version, release path,
            and model digest.
        spec: JSON of a PushRequest.
        attempt: ID of the run. It is different for every run, so that TFX never serves a push from its cache, which
            doesn't know the registry's state. Pushing the same bytes again doesn't change the registry.
        code_version: `components.core.version.code_version("components.push.component")`.

    Raises:
        TamperedError: An artifact has changed since it was written.
        UnblessedError: The blessing is incomplete, contradicts itself, or is for different bytes or a different device.
        RegistryError: A registry refused the release. If a registry is only unreachable, the node succeeds with
            `staged` = 1.
    """
    request = PushRequest.model_validate_json(spec)
    choice, mark = verified(chosen), verified(blessing)
    decision = read_blessing(mark, blessed=blessing.get_int_custom_property("blessed"))
    outcome = deliver(request, choice, decision, mark.manifest.sha256, lineage_of(attempt, chosen, blessing))
    done = "pushed" if outcome.pushed else "nothing pushed"
    logging.getLogger(__name__).info("%s: %s (%s)", outcome.device, done, outcome.reason)
    if outcome.staged:
        logging.getLogger(__name__).warning("%s: the release is staged: %s", outcome.device, outcome.error)
    parents = {"chosen": choice.manifest.sha256, "decision": mark.manifest.sha256}
    record(pushed, outcome, parents, code_version)
