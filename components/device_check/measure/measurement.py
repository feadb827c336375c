"""The artifact with the measurements of a device's tools on one candidate, and its outputs under each of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.core.errors import ModelError, SpecError, tampered
from components.core.files import write_atomically
from components.core.values import Count, FrozenModel, serialized
from components.data.examples import ExampleDecoder, first_examples
from components.data.supervision import postprocessed
from components.data.task import PostprocessingTask, load_task
from components.device_check.check import CHAMPION, check_candidate, check_tools
from components.device_check.tflm import RunOutputs
from components.facts.artifact_paths import TFLITE_FILE
from components.facts.device import CandidateOnDevice
from components.facts.verified import Verified
from components.model.tflite_runtime import TFLiteModel
from components.predict.digests import digests_of
from components.predict.models import steps_of
from components.predict.prediction import renamed
from components.predict.store import SUFFIX, PredictionWriter, StoredPredictions
from components.spec.devices.device_tools import DeviceEvaluator, RuntimesEvaluator, TflmEvaluator
from components.spec.prediction import MAX_BYTES, Bytes

logger = logging.getLogger(__name__)

FOLDER = "measurement"
_REPORT = f"{FOLDER}/report.json"


class MeasurementRequest(FrozenModel):
    """The `spec` parameter of a measurement.

    It includes neither the device's bounds nor the metrics, so that changing them doesn't repeat the measurement. Nor
    does it include names, so that results of the same tools on the same file can be reused.

    Attributes:
        evaluators: The device's tools.
        split: The split whose first examples are run.
        batch_size: Examples in a batch of `postprocess`.
        max_bytes: The maximum size of the outputs under one runtime, in bytes.
    """

    evaluators: tuple[DeviceEvaluator, ...]
    split: str
    batch_size: Count = 1000
    max_bytes: Bytes = MAX_BYTES

    @property
    def examples(self) -> int | None:
        """The maximum number of examples that a tool runs; 0 if none runs any, None for all."""
        return examples_of(self.evaluators)


class MeasurementReport(FrozenModel):
    """The measurements.

    Attributes:
        candidate: The findings, without metrics; None if the conversion failed.
        asked: Number of examples that the tools should run.
        runs: Suffix of a model's name (`RunOutputs.all`) -> number of examples that ran, and whose outputs are stored.
        stored_bytes: Size of the stored outputs.
    """

    candidate: CandidateOnDevice | None
    asked: int = 0
    runs: dict[str, int] = {}
    stored_bytes: int = 0


class Measurement:
    """The measurement of one candidate.

    Attributes:
        artifact: Its artifact.
        report: The measurements.
        stored: Suffix of a model's name -> the post-processed outputs of the first examples of the split, as if they
            were one file.
    """

    def __init__(self, artifact: Verified) -> None:
        self.artifact = artifact
        self.report = MeasurementReport.model_validate_json(artifact.read(_REPORT))
        self.stored = {
            suffix: StoredPredictions(
                [name for name in artifact.manifest.files if Path(name).parent == _place(number)],
                artifact.read,
                artifact.place,
            )
            for number, suffix in enumerate(self.report.runs)
        }

    def check_made_from(self, name: str, digest: str) -> None:
        """See `components.predict.artifact.Predictions.check_made_from`."""
        found = self.artifact.manifest.parents.get(name)
        if found != digest:
            raise tampered("measurement", self.artifact.place, f"{name} with sha256 {digest}", f"sha256 {found}")


def examples_of(evaluators: Sequence[DeviceEvaluator]) -> int | None:
    """The maximum number of examples that one of these tools runs; 0 if none runs any, None for all."""
    counts = [each.examples for each in evaluators if isinstance(each, TflmEvaluator | RuntimesEvaluator)]
    return None if "all" in counts else max((count for count in counts if count != "all"), default=0)


def measure(
    request: MeasurementRequest,
    candidate: Verified,
    output: Path,
    *,
    device: str,
    recipe: str,
    files: Sequence[str],
    names: Sequence[str],
    task: str,
    transform_graph: str | None = None,
) -> MeasurementReport:
    """Run a device's tools on a candidate, and write the content of the artifact.

    Args:
        request: What to measure.
        candidate: The candidate, or a champion, which may be a release of another model.
        output: Folder of the artifact.
        device, recipe: Names of the device profile and of the candidate's recipe, for messages.
        files: Gzipped TFRecord files of the split; not read if no tool runs examples.
        names: Names of the float model's outputs.
        task: Reference of the task that decodes examples and post-processes outputs.
        transform_graph: As for `ExampleDecoder`.

    Raises:
        SpecError: A tool is missing or has a different version than requested, `postprocess` fails, or outputs take
            more bytes than allowed.
        DataError: There are no examples, or they lack a feature.
        TamperedError: The candidate has changed since it was written.
    """
    check_tools(device, request.evaluators)
    examples: list[bytes] = []
    inputs = None
    if request.examples != 0:
        examples = first_examples(files, request.examples, "run on the device's runtime")
        inputs = ExampleDecoder(task, transform_graph).decode(examples)[0]
    found = check_candidate(device, request.evaluators, recipe, candidate, inputs)
    one, outputs = found if found is not None else (None, RunOutputs())
    try:
        runs = _store(outputs, candidate, output, examples, request, names=names, task=task)
    except (SpecError, ModelError) as error:
        # The champion may be a release of another model.
        if candidate.manifest.role != CHAMPION:
            raise
        logger.warning("%s: the champion's outputs cannot be stored: %s", device, error.what)
        shutil.rmtree(output / FOLDER)
        runs = {}
    report = MeasurementReport(
        candidate=one,
        asked=len(examples),
        runs=runs,
        stored_bytes=sum(path.stat().st_size for path in (output / FOLDER).rglob(f"*{SUFFIX}")),
    )
    write_atomically(output / _REPORT, serialized(report))
    return report


def _store(
    outputs: RunOutputs,
    candidate: Verified,
    output: Path,
    examples: Sequence[bytes],
    request: MeasurementRequest,
    *,
    names: Sequence[str],
    task: str,
) -> dict[str, int]:
    """Store the post-processed outputs under each runtime. Return the numbers of examples, as in the report."""
    loaded = load_task(task)
    # The results of `postprocess` have other values.
    plain = bool(outputs.all) and not isinstance(loaded, PostprocessingTask)
    steps = renamed(steps_of(TFLiteModel(candidate.read(TFLITE_FILE))), names) if plain else {}
    runs: dict[str, int] = {}
    for number, (suffix, ran) in enumerate(outputs.all.items()):
        runs[suffix] = count = len(next(iter(ran.values())))
        (output / _place(number)).mkdir(parents=True)
        digests = digests_of(examples[:count])
        with PredictionWriter(output / _place(number), 0, request.max_bytes) as writer:
            for at in range(0, count, request.batch_size):
                end = min(at + request.batch_size, count)
                batch = {name: values[at:end] for name, values in ran.items()}
                writer.add(digests[at:end], postprocessed(loaded, renamed(batch, names)), steps)
    return runs


def _place(number: int) -> Path:
    return Path(FOLDER, str(number))


def findings(measurements: Mapping[str, Measurement]) -> tuple[CandidateOnDevice, ...]:
    """The findings of all candidates that have a file, under the names of their recipes."""
    found = [(name, each.report.candidate) for name, each in measurements.items()]
    return tuple(one.model_copy(update={"name": name}) for name, one in found if one is not None)
