"""What a release says about itself, whatever kind of registry holds it."""

from __future__ import annotations

from pathlib import Path

from components.core.values import FrozenModel
from components.facts.decision import Check, Requirement
from components.facts.evaluation import MetricValue
from components.spec.recipe import Recipe

MODEL_NAME = "model.tflite"
COMPRESSED_NAME = "model.tflite.gz"


class CompressedForm(FrozenModel):
    """A file beside the model with the same bytes, compressed.

    Attributes:
        file: Its name.
        sha256, bytes: Of the compressed file.
    """

    file: str = COMPRESSED_NAME
    sha256: str
    bytes: int


class ReleaseManifest(FrozenModel):
    """What a release says about itself. No times and no execution ids: a repeated push gives the same bytes.

    Attributes:
        name: What is released: the pipeline's name.
        device_class: The registry folder.
        device: The device profile that it was gated for.
        sha256, bytes: Of `model.tflite`.
        compressed: What devices fetch; None in releases from before there was one.
        recipe: What made it.
        metrics: On the whole evaluation split, with 95 % confidence intervals.
        change: Metric name -> release minus float baseline.
        checks: What the gate held it against.
        parents: Role -> SHA-256 of what it was made from (baseline, calibration, candidate, evaluation, ...).
    """

    name: str
    device_class: str
    device: str
    sha256: str
    bytes: int
    compressed: CompressedForm | None = None
    recipe: Recipe
    metrics: dict[str, MetricValue] = {}
    change: dict[str, MetricValue] = {}
    checks: tuple[Check | Requirement, ...] = ()
    parents: dict[str, str] = {}


class ChannelPointer(FrozenModel):
    """Which release a channel is at."""

    version: str
    sha256: str
    bytes: int


class Release(FrozenModel):
    """One verified release: the files in `path` have the digests that its manifest tells."""

    version: str
    path: str
    manifest: ReleaseManifest

    @property
    def model_path(self) -> Path:
        """The model's file."""
        return Path(self.path) / MODEL_NAME
