"""TFX shell of conversion: baseline Model (+ calibration Examples) -> candidate Model."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from components.convert.child.worker import run_conversion
from components.convert.job import ConversionRequest
from components.core.errors import SpecError
from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.core.values import FrozenModel, serialized
from components.facts.artifact_paths import OUTCOME_FILE, SERVING_FOLDER, TFLITE_FILE
from components.facts.conversion import ConversionFailure, ConversionOutcome, Converted
from components.facts.manifest import describe, write_manifest
from components.facts.training import training_of
from components.facts.verified import verified
from components.spec.convert import AccuracyBound, ConversionLimits
from components.spec.devices.pinned import Pins
from components.spec.scheme import Scheme
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component

_SCHEME: TypeAdapter[Scheme] = TypeAdapter(Scheme)


class ConverterSpec(FrozenModel):
    """The `spec` parameter of a converter node.

    Attributes:
        recipe: Snapshot of the recipe, for the manifest. It is not a `Recipe`, because conversion depends only on its
            name, scheme, and form: a new field of a training step must not cause a new conversion.
        limits: Limits of the child process.
        bound: Accuracy bound of `keep_float: auto`.
        pins: Quantization of inputs and outputs that devices fix.
    """

    recipe: dict[str, Any]
    limits: ConversionLimits = ConversionLimits()
    bound: AccuracyBound | None = None
    pins: Pins = Pins()

    @property
    def scheme(self) -> Scheme:
        """The numeric format to convert to."""
        return _SCHEME.validate_python(self.recipe["scheme"])

    @property
    def needs_calibration(self) -> bool:
        """Whether the converter measures ranges: the scheme is static, and no step trains ranges."""
        kinds = [step["kind"] for step in self.recipe.get("steps", ())]
        return self.scheme.is_static and "qat" not in kinds


@component
def TFLiteConverter(
    model: InputArtifact[Model],
    candidate: OutputArtifact[Model],
    spec: Parameter[str],
    task: Parameter[str],
    task_version: Parameter[str],  # noqa: ARG001
    code_version: Parameter[str],
    retry: Parameter[str] = "",  # noqa: ARG001
    calibration: InputArtifact[Examples] = None,
    transform_graph: InputArtifact[TransformGraph] = None,
) -> None:
    """Convert a baseline by a recipe. If the conversion fails, the node succeeds with `outcome.json` and no model.

    A new value of `retry` bypasses the cache after a transient failure.
    """
    params = ConverterSpec.model_validate_json(spec)
    name, scheme = str(params.recipe["name"]), params.scheme
    if params.needs_calibration and calibration is None:
        raise SpecError(
            f"the scheme {scheme.kind} needs a calibration sample, but the node has none",
            where=f"recipes.{name}.scheme",
            remedy="declare `calibrate` in the pipeline file, or use a scheme without calibration",
        )
    inputs = {"model": verified(model)}
    if calibration is not None:
        inputs["calibration"] = verified(calibration)
    parents = {name: each.manifest.sha256 for name, each in inputs.items()}
    if transform_graph is not None:
        parents["transform_graph"] = content_digest(Path(transform_graph.uri))
    trained = training_of(Path(model.uri))
    request = ConversionRequest(
        name=name,
        scheme=scheme,
        recurrent=params.recipe.get("recurrent"),
        bound=params.bound,
        saved_model=str(Path(model.uri, SERVING_FOLDER)),
        calibration=calibration.uri if calibration is not None else None,
        task=task,
        transform_graph=transform_graph.uri if transform_graph is not None else None,
        export=trained.export if trained is not None else "plain",
        trained=trained.ranges if trained is not None else (),
        sparse=trained.sparsity_target if trained is not None else None,
        pins=params.pins,
    )
    outcome, content = run_conversion(request, params.limits)
    for each in inputs.values():
        each.check()

    converted = outcome if isinstance(outcome, Converted) else None
    folder = Path(candidate.uri)
    if content is not None:
        write_atomically(folder / TFLITE_FILE, content)
    write_atomically(folder / OUTCOME_FILE, serialized(outcome))
    manifest = write_manifest(
        folder,
        OUTCOME_FILE if content is None else TFLITE_FILE,
        role="candidate",
        recipe=params.recipe,
        parents=parents,
        code_version=code_version,
        streaming=converted.streaming if converted else None,
    )
    describe(
        candidate,
        manifest,
        scheme=scheme.kind,
        status=outcome.status,
        cause="" if isinstance(outcome, Converted) else outcome.cause,
        transient=int(is_transient(outcome)),
        file_bytes=converted.inspection.file_bytes if converted else 0,
        integer_only=int(converted is not None and converted.inspection.integer_only),
    )


def is_transient(outcome: ConversionOutcome) -> bool:
    """Whether another run with the same inputs may end differently, so that the cache must not serve the outcome."""
    if isinstance(outcome, ConversionFailure):
        return outcome.transient
    return outcome.sparsity is not None and outcome.sparsity.transient
