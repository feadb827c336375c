"""The pipeline file: the typed root of everything a user declares.

This module has only types. Checks between fields are in `pipelines.file.cross_field_checks`, checks that need the file
system in `pipelines.checks.preflight`, and checks that need TensorFlow in `pipelines.checks.dry_run`.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from components.core.values import Count, FrozenModel
from components.facts.slices import OVERALL, features
from components.spec.baseline import Baseline, TrainedBaseline
from components.spec.calibrate import CalibrationSpec
from components.spec.card import CardSpec
from components.spec.convert import AccuracyBound, ConversionLimits
from components.spec.evaluate import EvaluationSpec
from components.spec.examples import ArraySource, AudioSource, Classes, GeneratorSource, ImageSource
from components.spec.explain import ExplainSpec
from components.spec.gate import GateSpec
from components.spec.ranges import AutoKeepFloat
from components.spec.recipe import Recipe, Step
from components.spec.registry import Registries
from components.spec.scheme import Float32
from components.spec.validate import DataExpectations

# Kubeflow's rule for pipeline names, checked here rather than at the first submission.
# TFX refuses longer names.
PIPELINE_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
# Names that `tfx.types.standard_artifact_utils.encode_split_names` accepts (it raises a ValueError for others), short
# enough for folder names on any file system.
SPLIT_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
OBJECT_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
# The reference for sizes and times if no recipe uses float32.
FLOAT_REFERENCE = Recipe(name="float_reference", scheme=Float32())


def _file_pattern(pattern: str) -> str:
    parts = PurePath(pattern).parts
    if not parts:
        raise ValueError("this pattern matches no file; `*` matches all")
    if PurePath(pattern).is_absolute() or "://" in pattern:
        raise ValueError("this pattern is absolute; patterns are relative to examples.path")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("`**` matches whole folders: write it between slashes, as in `**/*.tfrecord`")
    if any(len(part.encode(errors="replace")) > 255 for part in parts) or len(pattern) > 1000:
        raise ValueError("this pattern is longer than a file name can be")
    return pattern


FilePattern = Annotated[str, AfterValidator(_file_pattern)]


def _split_name(name: str) -> str:
    if not re.fullmatch(SPLIT_NAME_PATTERN, name):
        raise ValueError(
            f"TFX accepts no split called {name!r}: a name has at most 100 letters, digits, hyphens, and underscores, "
            "and begins with a letter or a digit"
        )
    return name


SplitName = Annotated[str, AfterValidator(_split_name)]


class DeclaredSplits(FrozenModel):
    """Splits that are stored in their own files.

    Attributes:
        patterns: Split name to shell pattern of its files, relative to `examples.path`.
    """

    kind: Literal["declared"]
    patterns: Annotated[dict[SplitName, FilePattern], Field(min_length=2)]

    @property
    def names(self) -> tuple[str, ...]:
        """The splits' names."""
        return tuple(self.patterns)


class HashedSplits(FrozenModel):
    """Splits made by hashing each example.

    Attributes:
        buckets: Split name to its number of hash buckets. Its share is that number divided by the sum.
        feature: Examples with the same value of this feature go to the same split (a subject, a device). By default,
            the complete example is hashed.
        pattern: Shell pattern of the files, relative to `examples.path`. The default is `*/*` for images and audio
            files in class folders, and `*.py` for the modules of generators.
    """

    kind: Literal["hashed"] = "hashed"
    buckets: Annotated[dict[SplitName, Count], Field(min_length=2)] = {"train": 4, "eval": 1}
    feature: str | None = None
    pattern: FilePattern = "*"

    @property
    def names(self) -> tuple[str, ...]:
        """The splits' names."""
        return tuple(self.buckets)


Splits = Annotated[DeclaredSplits | HashedSplits, Field(discriminator="kind")]


class _Examples(DataExpectations):
    """Fields of all kinds of examples.

    Attributes:
        path: Folder of the files.
        splits: How the examples are split.
        schema_file: A TensorFlow Metadata schema (text proto) that the data must match. By default, it is inferred.
    """

    path: str
    splits: Splits = HashedSplits()
    schema_file: str | None = None

    @property
    def patterns(self) -> dict[Any, str]:
        """Shell patterns of the files of each split. If splits are hashed, all files have the key None."""
        splits = self.splits
        if isinstance(splits, DeclaredSplits):
            return {**splits.patterns}
        return {None: splits.pattern if "pattern" in splits.model_fields_set else self.usual_pattern}

    @property
    def usual_pattern(self) -> str:
        """The pattern for hashed splits that don't declare one."""
        return "*"


class TFRecordExamples(_Examples):
    """TFRecord files of tf.Example, plain or gzipped."""

    kind: Literal["tfrecord"]


class CsvExamples(_Examples, Classes):
    """CSV files with a header line, in UTF-8.

    Names and cells can be quoted. Semicolons, tabs, or bars can separate the columns instead of commas, and numbers can
    then have decimal commas.
    """

    kind: Literal["csv"]


class ParquetExamples(_Examples, Classes):
    """Parquet files."""

    kind: Literal["parquet"]


class ImageExamples(ImageSource, _Examples):
    """Images in one folder for each class, or in a table of paths and labels."""


class AudioExamples(AudioSource, _Examples):
    """WAV files in one folder for each class, or in a table of paths and labels."""


class ArrayExamples(ArraySource, _Examples):
    """NumPy arrays. The first dimension of each array counts the examples."""


class GeneratorExamples(GeneratorSource, _Examples):
    """Examples that your own function yields.

    Attributes:
        path: Folder of the files that the function reads, which the lineage records. By default, the folder of this
            file.
    """

    path: str = "."


# Kinds whose examples Edgemill makes itself.
MadeExamples = ImageExamples | AudioExamples | ArrayExamples | GeneratorExamples
Examples = Annotated[TFRecordExamples | CsvExamples | ParquetExamples | MadeExamples, Field(discriminator="kind")]


class CodeInputs(FrozenModel):
    """Inputs of your code that Edgemill doesn't see: in native code, in `preprocess`, or from the environment.

    If one of these changes, the nodes that run your code run again, and so does everything after them.

    Attributes:
        files: Files or folders. Relative paths are relative to the pipeline file's folder.
        variables: Names of environment variables. Only a digest of their values is stored.
    """

    files: tuple[str, ...] = ()
    variables: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()


class PipelineSpec(FrozenModel):
    """One pipeline file.

    Attributes:
        name: Name of the pipeline and of its releases.
        task: Your code, `package.module:NAME`: how examples become model inputs, and how the baseline is built.
        examples: The data.
        preprocess: A TensorFlow Transform function, `package.module:function`. By default, the task decodes the
            examples.
        reads: Files and environment variables that your code depends on, if Edgemill can't see that it reads them.
        baseline: The float model: trained, or pretrained.
        calibrate: The representative dataset. Static schemes need it, unless a `qat` step trains the ranges.
        recipes: The recipes to try.
        impossible: What a run does with recipes that cannot work on this model. `stop` reports all of them before the
            first node, with their reasons, and runs nothing. `skip` runs the others, and lists the skipped recipes with
            their reasons in the table and the report. If no recipe can work, or a device can run none of the others,
            nothing runs in either case.
        convert: Limits of each conversion.
        evaluate: Metrics and slices.
        explain: How candidates are explained.
        devices: Device profiles: names of shipped profiles, or paths of your own YAML files.
        gate: Bounds, and which passing candidate to prefer.
        push: The registry, or a list of registries that all get each release.
        card: Facts about the model that only people know, for its card.
    """

    name: Annotated[str, Field(pattern=PIPELINE_NAME_PATTERN)]
    task: Annotated[str, Field(pattern=OBJECT_PATTERN)]
    examples: Examples
    preprocess: Annotated[str, Field(pattern=OBJECT_PATTERN)] | None = None
    reads: CodeInputs = CodeInputs()
    baseline: Baseline
    calibrate: CalibrationSpec | None = None
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)]
    impossible: Literal["stop", "skip"] = "stop"
    convert: ConversionLimits = ConversionLimits()
    evaluate: EvaluationSpec = EvaluationSpec()
    explain: ExplainSpec = ExplainSpec()
    devices: Annotated[tuple[str, ...], Field(min_length=1)]
    gate: GateSpec
    push: Registries
    card: CardSpec = CardSpec()

    def training_split(self, step: Step) -> str:
        """Return the split that a step trains on.

        This is the first one that exists: the step's own split, the baseline's, the calibration sample's, or the first
        split that isn't the evaluation split.
        """
        if step.split is not None:
            return step.split
        if isinstance(self.baseline, TrainedBaseline):
            return self.baseline.split
        if self.calibrate is not None:
            return self.calibrate.split
        return next(name for name in self.examples.splits.names if name != self.evaluate.split)

    def slices(self) -> tuple[tuple[str, ...], ...]:
        """Return the features to cross for slices: those of `evaluate`, and those that the gate's bounds need."""
        needed = [features(name) for bound in self.gate.metrics for name in bound.slices]
        crossed: dict[frozenset[str], tuple[str, ...]] = {}
        for names in (*self.evaluate.slices, *filter(None, needed)):
            crossed.setdefault(frozenset(names), names)  # The order of crossed features doesn't matter.
        return tuple(crossed.values())


def asks_for_fewest_float(recipe: Recipe) -> AutoKeepFloat | None:
    """Return the recipe's `keep_float` if it is `auto`."""
    keep_float = recipe.scheme.kept_float
    return keep_float if isinstance(keep_float, AutoKeepFloat) else None


def tolerated_loss(spec: PipelineSpec) -> float | None:
    """Return the gate's first bound on the first metric that is relative to the baseline, for the complete split."""
    metric = spec.evaluate.metrics[0]
    for bound in spec.gate.metrics:
        loss = bound.max_rise_from_baseline if metric.less_is_better else bound.max_drop_from_baseline
        if bound.name == metric.name and set(bound.slices) <= {OVERALL} and loss is not None:
            return loss
    return None


def accuracy_bound(spec: PipelineSpec, recipe: Recipe) -> AccuracyBound | None:
    """Return the bound that a conversion must meet on the calibration sample; None without `keep_float: auto`."""
    keep_float, metric = asks_for_fewest_float(recipe), spec.evaluate.metrics[0]
    max_drop = keep_float.max_drop if keep_float and keep_float.max_drop is not None else tolerated_loss(spec)
    if keep_float is None or max_drop is None or metric.less_is_better is None:
        return None
    return AccuracyBound(
        metric=metric.name,
        class_name=metric.class_name,
        config=metric.config,
        less_is_better=metric.less_is_better,
        max_drop=max_drop,
        label=spec.examples.label,
        output=metric.output,
        outputs=spec.evaluate.declared(metric.output),
    )
