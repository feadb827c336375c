"""Lets nodes that run a model reuse what another node recorded for the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.upstream.tfx.cache import Execution, SharedKey

# Type of a node that runs a model -> its input with the model. Of the model's artifact, these nodes read only the bytes
# that its digest covers, and the role.
_MODEL = {
    "components.predict.component.Predictor": "model",
    "components.device_check.measure.component.DeviceMeasurement": "candidate",
}
# Parameters that results don't depend on: words for messages, and the token of a transient outcome.
_NAMES = {"device", "recipe", "retry"}


def key_by_content(execution: Execution) -> SharedKey | None:
    """The cache key of a node that runs a candidate or a champion, by the digest of its bytes; None for other nodes.

    All other inputs and parameters count as in TFX's key. So the champion that was a candidate of an earlier run isn't
    run again, and neither is a file under another name, or for another device with the same tools.
    """
    name = _MODEL.get(execution.kind)
    # Predictions of the baseline have no others to compare with, and a digest of another kind.
    if name is None or ("baseline" not in execution.inputs and name == "model"):
        return None
    (model,) = execution.inputs[name]
    digest = model.get_string_custom_property("sha256")
    if not digest:
        return None
    champion = model.get_string_custom_property("role") == "champion"
    parts = {f"parameter {each}": str(value) for each, value in execution.parameters.items() if each not in _NAMES}
    parts["model"] = digest
    for each, artifacts in execution.inputs.items():
        if each != name:
            parts |= {f"input {each} {number}": artifact for number, artifact in enumerate(artifacts)}

    def accepts(outputs: Mapping[str, Sequence[Any]] | None) -> bool:
        if outputs is None:
            # What fails for a champion, such as post-processing, is a result, but an error for a candidate.
            return not champion
        return not any(one.get_int_custom_property("transient") for listed in outputs.values() for one in listed)

    return SharedKey(parts, accepts)
