"""The pipeline file: the typed root of everything a user declares.

Only types and the checks that need nothing but the file's own values live here. What needs the file system is in
`pipelines.preflight`, what needs TensorFlow in `pipelines.deep_check`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from components.baseline.spec import Baseline, PretrainedBaseline, TrainedBaseline
from components.calibrate.spec import CalibrationSpec
from components.convert.spec import ConversionLimits
from components.device import DeviceProfile
from components.errors import SpecError
from components.evaluate.spec import EvaluationSpec
from components.gate.spec import GateSpec
from components.push.spec import LocalRegistry
from components.quantize.scheme import Float32, needs_calibration, promises_integers_only
from components.recipe import Recipe
from components.slices import features
from components.validate.spec import DataExpectations
from components.values import Value

# Kubeflow's alphabet for pipeline names, refused here rather than on the day of the first submission.
PIPELINE_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,127}$"
OBJECT_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
# What sizes and times are compared with if no recipe is a float32 one.
FLOAT_REFERENCE = Recipe(name="float_reference", scheme=Float32())


def _file_pattern(pattern: str) -> str:
    parts = PurePath(pattern).parts
    if not parts:
        raise ValueError("this pattern matches no file; `*` matches all")
    if PurePath(pattern).is_absolute() or "://" in pattern:
        raise ValueError("this pattern is absolute; patterns are relative to examples.path")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("`**` stands for whole folders: write it between slashes, as in `**/*.tfrecord`")
    return pattern


FilePattern = Annotated[str, AfterValidator(_file_pattern)]


class DeclaredSplits(Value):
    """Splits that lie in files of their own.

    Attributes:
        patterns: Split name -> glob of its files, relative to `examples.path`.
    """

    kind: Literal["declared"]
    patterns: Annotated[dict[str, FilePattern], Field(min_length=2)]

    @property
    def names(self) -> tuple[str, ...]:
        """The splits' names."""
        return tuple(self.patterns)


class HashedSplits(Value):
    """Splits made by hashing each example.

    Attributes:
        buckets: Split name -> its number of hash buckets; the share is that number divided by their sum.
        feature: Examples with the same value of this feature go to the same split (a subject, a device); None
            hashes the whole example.
        pattern: Glob of the files, relative to `examples.path`.
    """

    kind: Literal["hashed"] = "hashed"
    buckets: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(min_length=2)] = {"train": 4, "eval": 1}
    feature: str | None = None
    pattern: FilePattern = "*"

    @property
    def names(self) -> tuple[str, ...]:
        """The splits' names."""
        return tuple(self.buckets)


Splits = Annotated[DeclaredSplits | HashedSplits, Field(discriminator="kind")]


class _Examples(DataExpectations):
    path: str
    splits: Splits = HashedSplits()
    schema_file: str | None = None


class TFRecordExamples(_Examples):
    """TFRecord files of tf.Example, plain or gzipped.

    Attributes:
        path: Folder of the files.
        splits: How they are split.
        label: Feature that holds the label.
        num_classes: Labels are integers from 0 to one less; None for labels that are no classes.
        schema_file: A TensorFlow Metadata schema (text proto) to hold the data against; None infers one.
    """

    kind: Literal["tfrecord"]


class CsvExamples(_Examples):
    """CSV files with a header line; otherwise as `TFRecordExamples`."""

    kind: Literal["csv"]


class ParquetExamples(_Examples):
    """Parquet files; otherwise as `TFRecordExamples`."""

    kind: Literal["parquet"]


Examples = Annotated[TFRecordExamples | CsvExamples | ParquetExamples, Field(discriminator="kind")]


class PipelineSpec(Value):
    """One pipeline file.

    Attributes:
        name: The pipeline's name; releases carry it.
        task: The user's code, `package.module:NAME` (`components.task.Task`).
        examples: The data.
        preprocess: A TensorFlow Transform function, `package.module:function`; None lets the task decode.
        baseline: The float model: trained, or pretrained.
        calibrate: The representative dataset; only needed by static schemes.
        recipes: What to try.
        convert: Limits of each conversion.
        evaluate: Metrics and slices.
        devices: Device profiles: names of shipped ones, or paths of YAML files.
        gate: Bounds, and which passing candidate to prefer.
        push: The registry.
    """

    name: Annotated[str, Field(pattern=PIPELINE_NAME_PATTERN)]
    task: Annotated[str, Field(pattern=OBJECT_PATTERN)]
    examples: Examples
    preprocess: Annotated[str, Field(pattern=OBJECT_PATTERN)] | None = None
    baseline: Baseline
    calibrate: CalibrationSpec | None = None
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)]
    convert: ConversionLimits = ConversionLimits()
    evaluate: EvaluationSpec = EvaluationSpec()
    devices: Annotated[tuple[str, ...], Field(min_length=1)]
    gate: GateSpec
    push: LocalRegistry

    def contradictions(self) -> Iterator[SpecError]:
        """Everything that is wrong between fields that are right by themselves."""
        yield from self._duplicates()
        yield from self._splits()
        yield from self._calibration()
        yield from self._metrics()
        yield from self._addresses()

    def _duplicates(self) -> Iterator[SpecError]:
        for field, names in (
            ("recipes", [recipe.name for recipe in self.recipes]),
            ("devices", list(self.devices)),
            ("evaluate.metrics", [metric.name for metric in self.evaluate.metrics]),
        ):
            for name in _repeated(names):
                yield SpecError(f"the name {name!r} occurs more than once", where=field, remedy="rename or remove one")
        for index, recipe in enumerate(self.recipes):
            if recipe.name == FLOAT_REFERENCE.name:
                yield SpecError(
                    "this name belongs to the float32 file that sizes and times are compared with",
                    where=f"recipes[{index}].name",
                    measured=recipe.name,
                    remedy="rename the recipe",
                )

    def _splits(self) -> Iterator[SpecError]:
        used = {"baseline.split": self.baseline.split} if isinstance(self.baseline, TrainedBaseline) else {}
        used["evaluate.split"] = self.evaluate.split
        if self.calibrate:
            used["calibrate.split"] = self.calibrate.split
        for field, split in used.items():
            if split not in self.examples.splits.names:
                yield SpecError(
                    "there is no such split",
                    where=field,
                    bound=f"one of {', '.join(self.examples.splits.names)}",
                    measured=split,
                    remedy="name a split of examples.splits, or declare this one there",
                )
            if field != "evaluate.split" and split == self.evaluate.split:
                yield SpecError(
                    "this split is also the evaluation split, so the evaluation would flatter every candidate",
                    where=field,
                    bound=f"a split other than {self.evaluate.split!r}",
                    measured=split,
                    remedy="name another split",
                )

    def _calibration(self) -> Iterator[SpecError]:
        if self.calibrate is None:
            for index, recipe in enumerate(self.recipes):
                if needs_calibration(recipe.scheme):
                    yield SpecError(
                        "a static scheme needs ranges of activations, and there is no `calibrate` section",
                        where=f"recipes[{index}].scheme",
                        measured=recipe.scheme.kind,
                        remedy="add `calibrate: {split: train, samples: 500}`, or use dynamic_wi8_afp32",
                    )

    def _metrics(self) -> Iterator[SpecError]:
        known = [metric.name for metric in self.evaluate.metrics]
        for index, bound in enumerate(self.gate.metrics):
            if bound.name not in known:
                yield SpecError(
                    "the gate bounds a metric that is not evaluated",
                    where=f"gate.metrics[{index}].name",
                    bound=f"one of {', '.join(known)}",
                    measured=bound.name,
                    remedy="add it to evaluate.metrics",
                )

    def _addresses(self) -> Iterator[SpecError]:
        paths = {"examples.schema_file": self.examples.schema_file, "push.root": self.push.root}
        if isinstance(self.baseline, PretrainedBaseline):
            paths["baseline.path"] = self.baseline.path
        paths.update({f"devices[{index}]": device for index, device in enumerate(self.devices)})
        for field, path in paths.items():
            if path and "://" in path:
                yield SpecError(
                    "object stores cannot be used here",
                    where=field,
                    bound="a path of this machine; only examples.path may be an address",
                    measured=path,
                    remedy="copy it to a folder of this machine, or mount the store, and name that path",
                )

    def slices(self) -> tuple[tuple[str, ...], ...]:
        """Features to cross for slices: the evaluation's own, and those that the gate's bounds need."""
        needed = [features(name) for bound in self.gate.metrics for name in bound.slices]
        crossed: dict[frozenset[str], tuple[str, ...]] = {}
        for names in (*self.evaluate.slices, *filter(None, needed)):
            crossed.setdefault(frozenset(names), names)  # the order of crossed features changes nothing
        return tuple(crossed.values())


def device_contradictions(spec: PipelineSpec, devices: Iterable[DeviceProfile]) -> Iterator[SpecError]:
    """What is wrong between the recipes and the devices.

    Args:
        spec: The pipeline.
        devices: The profiles that `spec.devices` names, in the same order.
    """
    devices = list(devices)
    for name in _repeated([device.name for device in devices]):
        yield SpecError(f"two device profiles are called {name!r}", where="devices", remedy="rename one of them")
    for name in _repeated([device.device_class for device in devices]):
        yield SpecError(
            f"two device profiles share the device class {name!r}, so one release would replace the other",
            where="devices",
            remedy="give them classes of their own, or remove one of them",
        )
    for index, device in enumerate(devices):
        known = [recipe for recipe in spec.recipes if recipe.scheme.kind in device.schemes]
        if not known:
            yield SpecError(
                f"the device {device.name!r} can run none of the recipes",
                where=f"devices[{index}]",
                bound=f"a recipe with one of its schemes: {', '.join(device.schemes)}",
                measured=", ".join(sorted({recipe.scheme.kind for recipe in spec.recipes})),
                remedy="add such a recipe, or remove the device",
            )
        elif device.integer_only and not any(promises_integers_only(recipe.scheme) for recipe in known):
            yield SpecError(
                f"the device {device.name!r} takes integers only, and no recipe that it can run promises that",
                where=f"devices[{index}]",
                bound="a static scheme without float_io and float_fallback",
                measured=", ".join(f"{recipe.name}: {recipe.scheme.kind}" for recipe in known),
                remedy="remove those options from one of these recipes, or add such a recipe",
            )


def _repeated(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
