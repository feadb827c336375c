"""The manifest of a release, the same for every kind of registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel, serialized
from components.facts.decision import Check, Requirement
from components.facts.evaluation import MetricValue
from components.spec.recipe import Recipe

MODEL_NAME = "model.tflite"
COMPRESSED_NAME = "model.tflite.gz"
MANIFEST_NAME = "manifest.json"
# A release of the model alone.
NO_FILES: Mapping[str, bytes] = MappingProxyType({})


def content_path(sha256: str, name: str) -> str:
    """Return the path in a release of a file with a digest."""
    return f"content/{sha256[:16]}/{name}"


def manifest_path(sha256: str) -> str:
    """Return the path in a release of a manifest that isn't the current one, which is `manifest.json`."""
    return content_path(sha256, MANIFEST_NAME)


class CompressedForm(FrozenModel):
    """The compressed model, in a file next to the model.

    Attributes:
        file: Name of the compressed file.
        sha256, bytes: Digest and size of the compressed file.
    """

    file: str = COMPRESSED_NAME
    sha256: str
    bytes: int


class ReleaseFile(FrozenModel):
    """A file of a release other than the model, such as its card. It is never replaced: its path contains its digest.

    Attributes:
        sha256, bytes: Digest and size of the file.
    """

    sha256: str
    bytes: int

    def path(self, name: str) -> str:
        """Return the path of the file in the release."""
        return content_path(self.sha256, name)


class ReleaseTensor(FrozenModel):
    """One input or output of the model. Use its name: the converter determines the order in the file.

    Attributes:
        name: Name in the file's signature; the tensor's name if the file has none.
        shape: Shape with a batch size of 1.
        dtype: Type in the file (`INT8`, `FLOAT32`).
        scale, zero_point: A real value is scale x (integer - zero_point). None if it is not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class _Recorded(FrozenModel):
    """A value as an earlier version wrote it. All of its fields are kept."""

    model_config = ConfigDict(extra="allow")


class RecordedScheme(_Recorded):
    """The scheme of a `RecordedRecipe`."""

    kind: str


class RecordedRecipe(_Recorded):
    """A recipe whose fields have changed since then. This version can't run it, but still delivers its release."""

    name: str
    scheme: RecordedScheme


class ReleaseManifest(FrozenModel):
    """The manifest of a release. It has no times or execution IDs, so that a repeated push gives the same bytes.

    Attributes:
        name: Name of the release, which is the pipeline's name.
        device_class: Device class, which is the folder in the registry.
        device: The device profile that the gate decided for.
        sha256, bytes: Digest and size of `model.tflite`.
        compressed: The compressed form that devices fetch; None in releases that predate it.
        artifact: Version of the OCI manifest that the release contains (`artifact`); 0 in releases that predate it.
        files: Name -> the other files: the model card, the names of the classes, and the bundle for microcontrollers.
        recipe: The recipe of the model. A release outlives the fields of recipes, so unknown fields are kept unchanged.
        inputs, outputs: Inputs and outputs of the model; empty in releases that predate them.
        runtime_floor: The oldest version of TensorFlow Lite that has the operators of the file, according to the file;
            None if it doesn't say.
        metrics: Metrics on the complete evaluation split, with 95 % confidence intervals.
        change: Metric name -> release minus float baseline.
        checks: The gate's checks.
        parents: Role -> SHA-256 of the inputs (baseline, calibration, candidate, evaluation, ...).
    """

    name: str
    device_class: str
    device: str
    sha256: str
    bytes: int
    compressed: CompressedForm | None = None
    artifact: Literal[0, 1] = 0
    files: dict[str, ReleaseFile] = {}
    recipe: Annotated[Recipe | RecordedRecipe, Field(union_mode="left_to_right")]
    inputs: tuple[ReleaseTensor, ...] = ()
    outputs: tuple[ReleaseTensor, ...] = ()
    runtime_floor: str | None = None
    metrics: dict[str, MetricValue] = {}
    change: dict[str, MetricValue] = {}
    checks: tuple[Check | Requirement, ...] = ()
    parents: dict[str, str] = {}


class ChannelPointer(FrozenModel):
    """The release that a channel points to."""

    version: str
    sha256: str
    bytes: int


def same_pointer(one: bytes, other: bytes) -> bool:
    """Return whether two pointers name the same release. Damaged ones don't."""
    try:
        return ChannelPointer.model_validate_json(one) == ChannelPointer.model_validate_json(other)
    except ValidationError:
        return False


class Release(FrozenModel):
    """A verified release: the files in `path` match the digests in its manifest."""

    version: str
    path: str
    manifest: ReleaseManifest

    @property
    def model_path(self) -> Path:
        """Path of the model file."""
        return Path(self.path) / MODEL_NAME

    @property
    def manifest_sha256(self) -> str:
        """Digest of the manifest's file."""
        return sha256_of_bytes(serialized(self.manifest))


def first_line(error: Exception) -> str:
    """The first line of another library's error, the first error of pydantic, or the file that can't be read."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        return f"{field}: {problem['msg']}" if field else problem["msg"]
    return str(error).splitlines()[0]
