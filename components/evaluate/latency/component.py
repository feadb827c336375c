"""TFX component of host latency: one candidate + the float TFLite file -> the ratio of their times."""

import logging
from pathlib import Path

from tfx.types.standard_artifacts import Examples, Model, ModelEvaluation, TransformGraph

from components.core.files import write_atomically
from components.core.values import serialized
from components.data.examples import first_inputs, split_files
from components.evaluate.latency.artifact import LATENCY_FILE, LatencyReport
from components.facts.artifact_paths import OUTCOME_FILE, TFLITE_FILE
from components.facts.conversion import Converted, outcome_of
from components.facts.evaluation import Latency
from components.facts.verified import verified, write_result
from components.upstream.tfx.dsl import InputArtifact, OutputArtifact, Parameter, component

logger = logging.getLogger(__name__)


@component
def LatencyMeasurement(
    candidate: InputArtifact[Model],
    float_reference: InputArtifact[Model],
    examples: InputArtifact[Examples],
    latency: OutputArtifact[ModelEvaluation],
    split: Parameter[str],
    task: Parameter[str],
    task_version: Parameter[str],  # noqa: ARG001
    code_version: Parameter[str],
    retry: Parameter[str],  # noqa: ARG001
    transform_graph: InputArtifact[TransformGraph] = None,
) -> None:
    """Time a candidate on the first example of `split`, interleaved with the float file and its twin.

    A new value of `retry` bypasses the cache, to repeat an execution whose outcome was transient.
    """
    # TensorFlow takes seconds to import. A cached run skips that.
    from components.evaluate.latency.measure import measure_latency
    from components.predict.prediction import rejection

    model, reference = verified(candidate), verified(float_reference)
    outcome = outcome_of(model.read(OUTCOME_FILE))
    found: Latency | None = None
    if TFLITE_FILE not in reference.manifest.files:
        logger.warning("There is no float TFLite file, so nothing is timed")
    elif isinstance(outcome, Converted):
        graph = None if transform_graph is None else transform_graph.uri
        example = first_inputs(split_files(examples.uri, split), 1, task, graph, "time")
        content = model.read(TFLITE_FILE)
        if rejection(content, example) is None:
            found = measure_latency(reference.read(TFLITE_FILE), {"": content}, example)[""]
    for each in (model, reference):
        each.check()
    write_atomically(Path(latency.uri) / LATENCY_FILE, serialized(LatencyReport(latency=found)))
    write_result(
        latency,
        LATENCY_FILE,
        role="latency",
        model=model,
        parents={
            "candidate": model,
            "float_reference": reference,
            "examples": Path(examples.uri) / f"Split-{split}",
        },
        code_version=code_version,
        transient=int(found is not None and found.transient),
    )
