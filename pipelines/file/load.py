"""Reads a pipeline file into a typed, cross-checked value, and reports every error at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import ValidationError

from components.core.errors import EdgemillError, SpecError
from components.core.files import described
from components.core.values import FrozenModel
from components.spec.devices.advice import with_advice
from components.spec.devices.device import DeviceProfile
from components.spec.devices.device_tools import AdbEvaluator, DeviceEvaluator, RuntimesEvaluator
from components.spec.registry import BaseRegistry, Registry
from pipelines.file.bounded_yaml import BoundedLoader, read_small_text, refuse_unusable
from pipelines.file.cross_field_checks import cross_field_errors
from pipelines.file.device_checks import device_errors
from pipelines.file.spec import PipelineSpec
from pipelines.file.wording import all_in_words, nearest

V = TypeVar("V", bound=FrozenModel)

SHIPPED_DEVICES = Path(__file__).parents[1] / "devices"


class InvalidFileError(SpecError):
    """Several errors in one file. Subclasses set the kind of file."""

    kind: ClassVar[str]

    def __init__(self, file: Path, errors: Sequence[EdgemillError]) -> None:
        self.file, self.errors = file, tuple(errors)
        count = "one error" if len(errors) == 1 else f"{len(errors)} errors"
        super().__init__(f"{count} in the {self.kind}", where=str(file), remedy="; ".join(e.remedy for e in errors))

    def __str__(self) -> str:
        return "\n".join([f"{self.where}: {self.what}", *(f"  - {error}" for error in self.errors)])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.file, self.errors)


class PipelineFileError(InvalidFileError):
    """Several errors in one pipeline file."""

    kind = "pipeline file"


class SkippedRecipe(FrozenModel):
    """A recipe that doesn't run because it cannot work on the model.

    Attributes:
        name: The recipe's name.
        scheme: Kind of its scheme.
        place: Its index among the recipes of the pipeline file.
        reasons: Why it cannot work, each with how to fix it.
    """

    name: str
    scheme: str
    place: int
    reasons: tuple[str, ...]


class LoadedPipeline(FrozenModel):
    """A pipeline file without contradictions, with absolute paths.

    Attributes:
        file: Absolute path of the pipeline file.
        spec: Its content, without skipped recipes.
        devices: The device profiles that it names, in its order.
        skipped: Recipes that checks have removed from `spec`, in the order of the file.
        lacking: Name of a device -> operators of the model that it lacks, if a deep check has looked for them.
    """

    file: Path
    spec: PipelineSpec
    devices: tuple[DeviceProfile, ...]
    skipped: tuple[SkippedRecipe, ...] = ()
    lacking: dict[str, tuple[str, ...]] = {}


def load_pipeline(path: Path) -> LoadedPipeline:
    """Read a pipeline file. Relative paths in it are relative to its folder.

    Raises:
        PipelineFileError: Every error that can be found from the file and the device profiles alone.
    """
    loaded, errors = read_pipeline(path)
    if errors or loaded is None:
        raise PipelineFileError(path, errors)
    return loaded


def read_pipeline(path: Path) -> tuple[LoadedPipeline | None, list[EdgemillError]]:
    """Like `load_pipeline`, but return the errors, for callers that add their own checks.

    Returns:
        The pipeline, without devices that can't be read, or None if the file itself is invalid; and the errors. A
        pipeline with errors must not run.
    """
    spec, errors = read_yaml_as(path, PipelineSpec)
    if spec is None:
        return None, errors
    devices: list[DeviceProfile] = []
    for index, name in enumerate(spec.devices):
        if "://" in name:
            continue  # Reported by cross_field_errors().
        device, wrong = _device(name, path.parent, f"devices[{index}]")
        devices.extend([device] if device else [])
        errors.extend(wrong)
    errors.extend(with_advice(error, None, devices) for error in cross_field_errors(spec))
    if len(devices) == len(spec.devices):
        errors.extend(device_errors(spec, devices))
    loaded = LoadedPipeline(
        file=Path(os.path.realpath(path)), spec=_with_absolute_paths(spec, path.parent), devices=tuple(devices)
    )
    return loaded, errors


def shipped_devices() -> dict[str, Path]:
    """Name of a shipped device profile -> its file."""
    return {file.stem: file for file in sorted(SHIPPED_DEVICES.glob("*.yaml"))}


def read_devices(names: Iterable[str], folder: Path, field: str) -> list[DeviceProfile]:
    """Read device profiles: names of shipped profiles, or paths of YAML files relative to a folder.

    Raises:
        EdgemillError: A profile can't be read. `field` is the location in the message.
    """
    found = [_device(name, folder, field) for name in names]
    for _, errors in found:
        if errors:
            raise errors[0]
    return [device for device, _ in found if device is not None]


def _device(name: str, folder: Path, field: str) -> tuple[DeviceProfile | None, list[EdgemillError]]:
    shipped = shipped_devices()
    path = shipped.get(name) or (folder / name)
    if path.suffix not in {".yaml", ".yml"}:
        found = described(path)
        unknown = SpecError(
            f"there is no device profile {name!r}{nearest(name, shipped)}",
            where=field,
            bound=f"one of {', '.join(shipped)}, or the path of a file whose name ends in .yaml",
            measured=None if found == "nothing" else f"{path}, {found}",
            remedy="correct the name, or write a profile and give the path of its file",
        )
        return None, [unknown]
    device, errors = read_yaml_as(path, DeviceProfile)
    device = device and _with_absolute_binaries(device, path.parent)
    return device, [error.placed(f"{field} ({path})") for error in errors]


def _with_absolute_binaries(device: DeviceProfile, folder: Path) -> DeviceProfile:
    """Paths of binaries in evaluators are relative to the profile."""

    def absolute(each: DeviceEvaluator) -> DeviceEvaluator:
        if isinstance(each, AdbEvaluator):
            return each.model_copy(update={"benchmark": os.path.realpath(folder / each.benchmark)})
        if isinstance(each, RuntimesEvaluator):
            # Links are kept, because a Python in a virtual environment would otherwise resolve to the one outside.
            others = {name: str(folder.absolute() / python) for name, python in each.others.items()}
            return each.model_copy(update={"others": others})
        return each

    return device.model_copy(update={"evaluators": tuple(map(absolute, device.evaluators))})


def read_yaml_as(path: Path, kind: type[V]) -> tuple[V | None, list[EdgemillError]]:
    """Read a YAML file into a typed value, or None if the file is invalid, and return it with all errors."""
    try:
        content, repeated = _read_yaml(path)
    except SpecError as error:
        return None, [error]
    except OSError as error:
        return None, [SpecError(f"cannot be read: {error.strerror}", remedy="check the path and its permissions")]
    except UnicodeDecodeError as error:
        return None, [_not_utf8(error)]
    # Raised for an invalid date, a path with a NUL byte, and an invalid tag.
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        message = " ".join(str(error).split())
        return None, [SpecError(f"is not YAML: {message}", remedy="correct the file at that position")]
    # The content has only the last of repeated keys, so other errors could follow from these.
    if repeated:
        return None, list(repeated)
    if not isinstance(content, dict):
        what, found = "The file must be a mapping of `key: value` pairs", type(content).__name__
        return None, [SpecError(what, measured=found, remedy="see `edgemill schema`")]
    try:
        value = kind.model_validate(content)
        return value, list(_booleans(content, value, ""))
    except ValidationError as error:
        return None, list(all_in_words(error.errors(), kind))


def _not_utf8(error: UnicodeDecodeError) -> SpecError:
    utf16 = error.object.startswith((b"\xff\xfe", b"\xfe\xff"))
    found = "UTF-16" if utf16 else f"the byte 0x{error.object[error.start]:02x} at position {error.start:,}"
    return SpecError(
        "is not UTF-8 text",
        bound="a YAML file in UTF-8",
        measured=found,
        remedy="save the file as UTF-8 in your editor",
    )


def _booleans(written: Any, value: Any, where: str) -> Iterator[SpecError]:
    """Yield an error for each boolean (`true`, `false`, or YAML 1.1's `yes` and `on`) that was read as a number."""
    match written, value:
        case bool(), int() | float() if not isinstance(value, bool):
            yield SpecError(
                "must be a number, not a boolean",
                where=where,
                measured=str(written).lower(),
                remedy="correct the value; YAML also reads yes, no, on, and off as booleans",
            )
        case dict(), FrozenModel():
            for name, field in type(value).model_fields.items():
                key = field.alias or name
                if key in written:
                    yield from _booleans(written[key], getattr(value, name), f"{where}.{key}" if where else key)
        case dict(), dict():
            for key in written.keys() & value.keys():
                yield from _booleans(written[key], value[key], f"{where}.{key}")
        case list(), list() | tuple() if len(written) == len(value):
            for index, (each, made) in enumerate(zip(written, value, strict=True)):
                yield from _booleans(each, made, f"{where}[{index}]")


def _read_yaml(path: Path) -> tuple[Any, list[SpecError]]:
    loader = BoundedLoader(read_small_text(path))
    try:
        root = loader.get_single_node()
        if root is None:
            return None, []
        refuse_unusable(root)
        # Before construction, which silently keeps only the last value of each key.
        repeated = list(_repeated_keys(root, set()))
        return loader.construct_document(root), repeated
    finally:
        loader.dispose()


def _repeated_keys(node: yaml.Node, seen: set[int]) -> Iterator[SpecError]:
    if id(node) in seen:  # An alias.
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    yield SpecError(
                        f"the key {key.value!r} occurs twice",
                        where=f"line {line}",
                        bound="each key once",
                        measured=f"also in line {lines[name]}",
                        remedy="remove or rename one of them",
                    )
                lines.setdefault(name, line)
            yield from _repeated_keys(value, seen)


def _with_absolute_paths(spec: PipelineSpec, folder: Path) -> PipelineSpec:
    def absolute(path: str) -> str:
        # Addresses are valid only for examples.path; cross_field_errors() refuses the others.
        return path if "://" in path else os.path.realpath(folder / path)

    def located(registry: Registry) -> Registry:
        return registry.model_copy(update={field: absolute(path) for field, path in registry.paths.items()})

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
            "reads": spec.reads.model_copy(update={"files": tuple(map(absolute, spec.reads.files))}),
            "push": located(spec.push) if isinstance(spec.push, BaseRegistry) else tuple(map(located, spec.push)),
        }
    )
