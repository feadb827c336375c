"""What tests read from artifacts and files."""

from pathlib import Path
from typing import Any

from components.core.files import read_regular
from components.facts.manifest import MANIFEST_NAME, Manifest
from components.spec.baseline import PretrainedBaseline


def read_manifest(folder: Path) -> Manifest:
    """The manifest in an artifact's folder."""
    return Manifest.model_validate_json(read_regular(folder / MANIFEST_NAME))


def saturated_share(content: bytes, sample) -> float | None:
    """The greatest share of values at an end of their range, of a file's outputs and of what they are computed from."""
    from components.model.tflite_runtime import TFLiteModel
    from components.predict.saturation import Saturation, shares

    model = TFLiteModel(content)
    saturation = Saturation(content, model)
    return max(shares(saturation.outputs(model.predict(sample)) | saturation.inside(sample)).values(), default=None)


def pretrained(path: Path, **settings: Any) -> PretrainedBaseline:
    """A pretrained baseline with these settings."""
    return PretrainedBaseline(kind="pretrained", path=str(path), **settings)
