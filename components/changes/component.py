"""TFX shell of changes: predictions of the baseline and of a candidate + examples -> what changed."""

from pathlib import Path

from tfx.types.standard_artifacts import Examples, InferenceResult, ModelEvaluation, TransformGraph

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import FrozenModel, serialized
from components.data.examples import split_files
from components.facts.artifact_paths import CHANGES_FILE
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


class ChangeSpec(FrozenModel):
    """The `spec` parameter of a node that finds changes.

    Attributes:
        recipe: Name of the candidate's recipe.
        split: The split of the predictions.
        label: The feature that is the target if the task declares none; empty for none.
        classes: Names of the classes, if they have names.
        most: Number of examples to show.
    """

    recipe: str
    split: str
    label: str
    classes: tuple[str, ...] = ()
    most: int


@component
def ChangeFinder(
    examples: InputArtifact[Examples],
    baseline: InputArtifact[InferenceResult],
    predictions: InputArtifact[InferenceResult],
    changes: OutputArtifact[ModelEvaluation],
    spec: Parameter[str],
    task: Parameter[str],
    task_version: Parameter[str],  # noqa: ARG001
    code_version: Parameter[str],
    transform_graph: InputArtifact[TransformGraph] = None,
) -> None:
    """Find what changed. For a candidate without predictions, record the reason instead.

    `baseline` and `predictions` are the predictions of the float baseline and of the candidate on one split of
    `examples`.
    """
    # Arrow and TensorFlow take seconds to import. A cached run skips that.
    from components.changes.changes import find_changes
    from components.predict.artifact import Predictions

    params = ChangeSpec.model_validate_json(spec)
    before, after = Predictions(verified(baseline)), Predictions(verified(predictions))
    digest = content_digest(Path(examples.uri) / f"Split-{params.split}")
    for each in (before, after):
        each.check_made_from("examples", digest)
    found = find_changes(
        params.recipe,
        before,
        after,
        split_files(examples.uri, params.split),
        task=task,
        transform_graph=transform_graph.uri if transform_graph is not None else None,
        label=params.label,
        classes=params.classes,
        most=params.most,
    )
    write_atomically(Path(changes.uri) / CHANGES_FILE, serialized(found))
    manifest = write_manifest(
        Path(changes.uri),
        CHANGES_FILE,
        role="changes",
        parents={
            "baseline": before.artifact.manifest.sha256,
            "predictions": after.artifact.manifest.sha256,
            "examples": digest,
        },
        code_version=code_version,
    )
    describe(changes, manifest, candidate=found.recipe, lost=found.lost or 0, gained=found.gained or 0)
