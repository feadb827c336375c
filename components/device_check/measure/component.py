"""TFX component of a measurement: one candidate -> what a device's tools measure on it."""

from pathlib import Path

from tfx.types.standard_artifacts import Examples, InferenceResult, Model, TransformGraph

from components.data.examples import split_files
from components.device_check.measure.measurement import FOLDER, MeasurementRequest, measure
from components.facts.verified import verified, write_result
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component


@component
def DeviceMeasurement(
    candidate: InputArtifact[Model],
    measurement: OutputArtifact[InferenceResult],
    spec: Parameter[str],
    task: Parameter[str],
    task_version: Parameter[str],  # noqa: ARG001
    code_version: Parameter[str],
    device: Parameter[str],
    recipe: Parameter[str],
    retry: Parameter[str],  # noqa: ARG001
    baseline: InputArtifact[InferenceResult] = None,
    examples: InputArtifact[Examples] = None,
    transform_graph: InputArtifact[TransformGraph] = None,
) -> None:
    """Measure a candidate. A file that a tool rejects is a result.

    `spec` is the JSON of a `MeasurementRequest`. Tools that run the file read `examples` and `baseline`, the
    predictions of the float baseline. `device` and `recipe` are names for messages, so no result depends on them. A new
    value of `retry` bypasses the cache, to repeat an execution whose outcome was transient.
    """
    # Arrow and TensorFlow take seconds to import. A cached run skips that.
    from components.predict.artifact import Predictions

    request, model = MeasurementRequest.model_validate_json(spec), verified(candidate)
    floats = None if baseline is None else Predictions(verified(baseline))
    report = measure(
        request,
        model,
        Path(measurement.uri),
        device=device,
        recipe=recipe,
        files=[] if examples is None else split_files(examples.uri, request.split),
        names=() if floats is None else floats.report.output_names,
        task=task,
        transform_graph=None if transform_graph is None else transform_graph.uri,
    )
    failures = report.candidate.failures if report.candidate is not None else ()
    noisy = report.candidate is not None and report.candidate.noisy
    write_result(
        measurement,
        FOLDER,
        role="measurement",
        model=model,
        parents={
            "candidate": model,
            "baseline": None if floats is None else floats.artifact,
            "examples": None if examples is None else Path(examples.uri) / f"Split-{request.split}",
        },
        code_version=code_version,
        failures=len(failures),
        transient=int(noisy or any(failure.transient for failure in failures)),
        stored_bytes=report.stored_bytes,
    )
