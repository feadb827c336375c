"""Where things lie inside artifacts, for the components that write them and those that read them."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from components.facts.conversion import ConversionOutcome
from components.facts.training import TrainingReport

# In a Model artifact: where stock TFX looks for a SavedModel, and for a file in TFLite format.
SERVING_FOLDER = "Format-Serving"
TFLITE_FILE = f"{SERVING_FOLDER}/tflite"
# Beside it, where it has one: the Keras model, for steps that train it further.
KERAS_FILE = "Format-Keras/model.keras"
# In the Model artifact of a step that trained recurrent layers which are lowered: sequences, and the float states.
TRAJECTORIES_FILE = "trajectories.npz"
# In that of one that trained LSTMs, which the converter fuses: sequences of the training split.
FUSED_SAMPLE_FILE = "sequences.npz"
# In the Model artifact of a training step: a TrainingReport, and logs for TensorBoard.
TRAINING_FILE = "training.json"
LOGS_FOLDER = "logs"
# In a candidate's Model artifact: a ConversionOutcome.
OUTCOME_FILE = "outcome.json"
# In the artifact of a device check: a DeviceReport.
DEVICE_REPORT_FILE = "device_report.json"
# The only split of a calibration sample's Examples artifact.
CALIBRATION_SPLIT = "calibration"

_OUTCOME: TypeAdapter[ConversionOutcome] = TypeAdapter(ConversionOutcome)


def outcome_of(content: bytes) -> ConversionOutcome:
    """What became of a candidate, by its `OUTCOME_FILE`; `Converted` means that `TFLITE_FILE` is there."""
    return _OUTCOME.validate_json(content)


def training_of(folder: Path) -> TrainingReport | None:
    """What a training step did, from its artifact's folder; None for a model that no step trained."""
    path = folder / TRAINING_FILE
    return TrainingReport.model_validate_json(path.read_bytes()) if path.is_file() else None
