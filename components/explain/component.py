"""TFX shell of explanations: a candidate + its float model + examples -> why the candidate differs."""

import functools
import tempfile
from pathlib import Path
from typing import Any

from tfx.types.standard_artifacts import Examples, Model, ModelEvaluation, TransformGraph

from components.convert.child.worker import lacked_memory, last_log_lines, run_in_child
from components.core.child import how_it_ended, stage_of
from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import FrozenModel, serialized
from components.data.examples import split_files
from components.explain.job import ExplanationRequest, run
from components.facts.artifact_paths import (
    CALIBRATION_SPLIT,
    EXPLANATION_FILE,
    NODE_DATA_FOLDER,
    OUTCOME_FILE,
    SERVING_FOLDER,
    TFLITE_FILE,
)
from components.facts.conversion import ConversionFailure, outcome_of
from components.facts.explanation import Explanation
from components.facts.manifest import describe, write_manifest
from components.facts.node_data import node_data
from components.facts.verified import Verified, verified
from components.spec.convert import ConversionLimits
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


class ExplainerSpec(FrozenModel):
    """The `spec` parameter of an explaining node.

    Attributes:
        recipe: Snapshot of the candidate's recipe.
        examples: Number of examples.
        split: The split whose first examples are used if there is no calibration sample.
        limits: Limits of the child process.
    """

    recipe: dict[str, Any]
    examples: int
    split: str
    limits: ConversionLimits = ConversionLimits()


@component
def Explainer(
    candidate: InputArtifact[Model],
    model: InputArtifact[Model],
    explanation: OutputArtifact[ModelEvaluation],
    spec: Parameter[str],
    task: Parameter[str],
    task_version: Parameter[str],  # noqa: ARG001
    code_version: Parameter[str],
    retry: Parameter[str] = "",  # noqa: ARG001
    float_reference: InputArtifact[Model] = None,
    calibration: InputArtifact[Examples] = None,
    examples: InputArtifact[Examples] = None,
    transform_graph: InputArtifact[TransformGraph] = None,
) -> None:
    """Explain a candidate. If that fails, the node succeeds, and the explanation has the reason instead.

    `model` is the model that the candidate was converted from. `float_reference` has it as a float32 TFLite file, if
    there is one. The examples are the calibration sample or, without one, the first examples of a split of `examples`.
    """
    params = ExplainerSpec.model_validate_json(spec)
    inputs = {"candidate": verified(candidate), "model": verified(model)}
    if float_reference is not None:
        inputs["float_reference"] = verified(float_reference)
    parents = {name: each.manifest.sha256 for name, each in inputs.items()}
    if calibration is not None:
        parents["calibration"] = verified(calibration).manifest.sha256
        files, source = split_files(calibration.uri, CALIBRATION_SPLIT), "calibration sample"
    else:
        files, source = split_files(examples.uri, params.split), f"first examples of the split {params.split!r}"
        parents["examples"] = content_digest(Path(examples.uri) / f"Split-{params.split}")
    if transform_graph is not None:
        parents["transform_graph"] = content_digest(Path(transform_graph.uri))
    with tempfile.TemporaryDirectory(prefix="edgemill-explain-") as name:
        folder = Path(name)
        request = ExplanationRequest(
            recipe=params.recipe,
            candidate=str(folder / "candidate.tflite"),
            reference=_copied(inputs.get("float_reference"), folder / "float.tflite"),
            serving=str(inputs["model"].folder / SERVING_FOLDER),
            examples=params.examples,
            files=tuple(files),
            source=source,
            task=task,
            transform_graph=transform_graph.uri if transform_graph is not None else None,
        )
        found, transient = _explanation(request, inputs["candidate"], params.limits, folder)
    for each in inputs.values():
        each.check()
    write_atomically(Path(explanation.uri) / EXPLANATION_FILE, serialized(found))
    for figure, content in node_data(found).items():
        write_atomically(Path(explanation.uri) / NODE_DATA_FOLDER / f"{figure}.json", content.encode())
    manifest = write_manifest(
        Path(explanation.uri), EXPLANATION_FILE, role="explanation", parents=parents, code_version=code_version
    )
    describe(
        explanation,
        manifest,
        candidate=found.recipe,
        faults=len(found.faults),
        cause=found.faults[0].cause if found.faults else "",
        transient=int(transient),
    )


def _copied(artifact: Verified | None, path: Path) -> str | None:
    """Write the verified bytes of a TFLite file to a path; None if there is no file."""
    if artifact is None or TFLITE_FILE not in artifact.manifest.files:
        return None
    path.write_bytes(artifact.read(TFLITE_FILE))
    return str(path)


def _explanation(
    request: ExplanationRequest, candidate: Verified, limits: ConversionLimits, folder: Path
) -> tuple[Explanation, bool]:
    """The explanation, and whether another attempt may give a different one."""
    outcome = outcome_of(candidate.read(OUTCOME_FILE))
    if isinstance(outcome, ConversionFailure):
        return request.unavailable(f"the conversion failed: {outcome.message}"), False
    _copied(candidate, Path(request.candidate))
    try:
        ended = run_in_child(functools.partial(run, request), folder, limits)
    except (EOFError, OSError) as error:
        return request.unavailable(f"the explaining process ended: {error or type(error).__name__}"), True
    if ended.stopped is not None:
        return request.unavailable(f"{ended.stopped.replace('_', ' ')} while {stage_of(folder)}"), True
    if not (folder / EXPLANATION_FILE).exists():
        log = last_log_lines(folder)
        lacking = lacked_memory(ended.code, log)
        how = "the machine ran out of memory" if lacking else f"the process died of {how_it_ended(ended.code)}"
        return request.unavailable(f"{how} while {stage_of(folder)}. {log}".strip()), lacking
    return Explanation.model_validate_json((folder / EXPLANATION_FILE).read_bytes()), False
