"""Reading a pipeline file: YAML to a typed, cross-checked value, with every error told at once and in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from components.device import DeviceProfile
from components.errors import EdgemillError, SpecError
from components.values import Value
from pipelines.spec import PipelineSpec, device_contradictions
from pipelines.wording import in_words, nearest

SHIPPED_DEVICES = Path(__file__).parent / "devices"


class PipelineFileError(SpecError):
    """Several errors in one pipeline file."""

    def __init__(self, file: Path, errors: Sequence[EdgemillError]) -> None:
        self.file, self.errors = file, tuple(errors)
        count = "one error" if len(errors) == 1 else f"{len(errors)} errors"
        super().__init__(f"{count} in the pipeline file", where=str(file), remedy="; ".join(e.remedy for e in errors))

    def __str__(self) -> str:
        return "\n".join([f"{self.where}: {self.what}", *(f"  - {error}" for error in self.errors)])

    def __reduce__(self) -> tuple[object, ...]:
        return PipelineFileError, (self.file, self.errors)


class LoadedPipeline(Value):
    """A pipeline file that contradicts itself nowhere, with paths made absolute.

    Attributes:
        file: Where it was read from, absolute.
        spec: What it says.
        devices: The profiles that it names, in its order.
    """

    file: Path
    spec: PipelineSpec
    devices: tuple[DeviceProfile, ...]


def load_pipeline(path: Path) -> LoadedPipeline:
    """Read a pipeline file. Relative paths in it are relative to its folder.

    Raises:
        PipelineFileError: With all that can be told from the file and the device profiles alone.
    """
    spec = _parse(path, PipelineSpec)
    errors: list[EdgemillError] = []
    devices: list[DeviceProfile] = []
    for index, name in enumerate(spec.devices):
        try:
            devices.append(_device(name, path.parent, f"devices[{index}]"))
        except PipelineFileError as several:
            errors.extend(several.errors)
        except SpecError as error:
            errors.append(error)
    errors.extend(spec.contradictions())
    if len(devices) == len(spec.devices):
        errors.extend(device_contradictions(spec, devices))
    if errors:
        raise PipelineFileError(path, errors)
    return LoadedPipeline(file=path.resolve(), spec=_with_absolute_paths(spec, path.parent), devices=tuple(devices))


def pipeline_schema() -> dict[str, Any]:
    """The JSON schema of the pipeline file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(PipelineSpec).json_schema(),
    }


def _device(name: str, folder: Path, field: str) -> DeviceProfile:
    shipped = {file.stem: file for file in sorted(SHIPPED_DEVICES.glob("*.yaml"))}
    path = shipped.get(name) or (folder / name)
    if path.suffix not in {".yaml", ".yml"}:
        raise SpecError(
            f"there is no device profile {name!r}{nearest(name, shipped)}",
            where=field,
            bound=f"one of {', '.join(shipped)}, or the path of a YAML file",
            remedy="correct the name, or write a profile and name its file",
        )
    return _parse(path, DeviceProfile)


def _parse(path: Path, kind: type[Any]) -> Any:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineFileError(
            path, [SpecError(f"cannot be read: {error.strerror}", remedy="check the path and its permissions")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise PipelineFileError(
            path, [SpecError(f"is not YAML: {said}", remedy="correct the place it names")]
        ) from error
    if not isinstance(content, dict):
        raise PipelineFileError(
            path,
            [SpecError("is no mapping of fields", measured=type(content).__name__, remedy="see `edgemill schema`")],
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise PipelineFileError(path, [in_words(detail, kind) for detail in error.errors()]) from error


def _with_absolute_paths(spec: PipelineSpec, folder: Path) -> PipelineSpec:
    def absolute(path: str) -> str:
        return path if "://" in path else str((folder / path).resolve())

    examples = {"path": absolute(spec.examples.path)}
    if spec.examples.schema_file:
        examples["schema_file"] = absolute(spec.examples.schema_file)
    baseline = spec.baseline
    if baseline.kind == "pretrained":
        baseline = baseline.model_copy(update={"path": absolute(baseline.path)})
    return spec.model_copy(
        update={
            "examples": spec.examples.model_copy(update=examples),
            "baseline": baseline,
            "push": spec.push.model_copy(update={"root": absolute(spec.push.root)}),
        }
    )
