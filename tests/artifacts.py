"""What tests read from artifacts and files."""

from pathlib import Path

from components.core.files import read_regular
from components.facts.manifest import MANIFEST_NAME, Manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest in an artifact's folder."""
    return Manifest.model_validate_json(read_regular(folder / MANIFEST_NAME))


def saturated_share(content: bytes, sample) -> float | None:
    """The greatest share of values at an end of their range, of a file's outputs and of what they are computed from."""
    from components.evaluate.saturation import Saturation, shares
    from components.model.tflite_runtime import TFLiteModel

    model = TFLiteModel(content)
    saturation = Saturation(content, model)
    return max(shares(saturation.outputs(model.predict(sample)) | saturation.inside(sample)).values(), default=None)
