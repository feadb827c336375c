"""Checks between individually valid fields of a pipeline file. They need only the values of the fields."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator

from components.core.errors import SpecError, one_of
from components.metrics.bound_checks import bound_errors, untestable
from components.metrics.metric_ranges import values_of
from components.spec.baseline import PretrainedBaseline, TrainedBaseline
from components.spec.registry import BaseRegistry, by_field
from components.spec.scheme import Scheme, static_kinds
from components.spec.steps.sparsity import SparsityTarget, sparsity_refusal
from pipelines.file.redaction import may_hold_secret
from pipelines.file.spec import FLOAT_REFERENCE, PipelineSpec, asks_for_fewest_float, tolerated_loss
from pipelines.file.wording import nearest


def cross_field_errors(spec: PipelineSpec) -> Iterator[SpecError]:
    """Yield every contradiction between individually valid fields."""
    yield from _duplicates(spec)
    yield from _splits(spec)
    yield from _steps(spec)
    yield from sparsity_errors(
        (f"recipes[{index}]", recipe.scheme, target)
        for index, recipe in enumerate(spec.recipes)
        if (target := recipe.sparsity_target) is not None
    )
    yield from _calibration(spec)
    yield from _metrics(spec)
    yield from _float_layers(spec)
    yield from _addresses(spec)


def _duplicates(spec: PipelineSpec) -> Iterator[SpecError]:
    for field, names in (
        ("recipes", [recipe.name for recipe in spec.recipes]),
        ("devices", list(spec.devices)),
        ("evaluate.metrics", [metric.name for metric in spec.evaluate.metrics]),
    ):
        for name in repeated(names):
            remedy = "remove one" if field == "devices" else "rename or remove one"
            yield SpecError(f"the name {name!r} occurs more than once", where=field, remedy=remedy)
    for index, recipe in enumerate(spec.recipes):
        if recipe.name == FLOAT_REFERENCE.name:
            yield SpecError(
                "this name belongs to the float32 file that sizes and times are compared with",
                where=f"recipes[{index}].name",
                measured=recipe.name,
                remedy="rename the recipe",
            )


def _splits(spec: PipelineSpec) -> Iterator[SpecError]:
    used = {"baseline.split": spec.baseline.split} if isinstance(spec.baseline, TrainedBaseline) else {}
    used["evaluate.split"] = spec.evaluate.split
    if spec.calibrate:
        used["calibrate.split"] = spec.calibrate.split
    for field, split in used.items():
        yield from _split_errors(spec, field, split)


def _split_errors(spec: PipelineSpec, field: str, split: str) -> Iterator[SpecError]:
    if split not in spec.examples.splits.names:
        yield SpecError(
            "there is no such split",
            where=field,
            bound=one_of(spec.examples.splits.names),
            measured=split,
            remedy="specify a split of examples.splits, or declare this one there",
        )
    if field != "evaluate.split" and split == spec.evaluate.split:
        yield SpecError(
            "this split is also the evaluation split, so every candidate's metrics would be too optimistic",
            where=field,
            bound=f"a split other than {spec.evaluate.split!r}",
            measured=split,
            remedy="choose another split",
        )


def _steps(spec: PipelineSpec) -> Iterator[SpecError]:
    """Check each recipe's steps against its scheme and the splits."""
    for index, recipe in enumerate(spec.recipes):
        where = f"recipes[{index}]"
        kinds: list[str] = [step.kind for step in recipe.steps]
        if "qat" in kinds and not recipe.scheme.is_static:
            yield SpecError(
                "quantization-aware training needs a scheme with integer activations",
                where=f"{where}.scheme",
                bound=static_kinds(),
                measured=recipe.scheme.kind,
                remedy="use one of these schemes, or remove the step `qat`",
            )
        if "qat" not in kinds and recipe.scheme.must_be_trained:
            yield SpecError(
                "4-bit weights must be trained",
                where=f"{where}.scheme",
                bound="a step `qat` in the recipe",
                measured=kinds or "no steps",
                remedy="add `steps: [{kind: qat, epochs: 2}]`, or use static_wi8_ai8",
            )
        if "qat" in kinds and recipe.scheme.backend == "aeq":
            yield SpecError(
                "the step `qat` trains ranges, but the scheme estimates them or keeps layers in float",
                where=f"{where}.scheme",
                bound="a scheme without `calibration_method` and `keep_float`",
                measured=recipe.scheme.kind,
                remedy="choose the quantizer in the step (`activations: {quantizer: histogram}`), exclude layers with "
                "`except` and `float_fallback`, or remove the step",
            )
        for number, step in enumerate(recipe.steps):
            if step.split is not None:
                yield from _split_errors(spec, f"{where}.steps[{number}].split", step.split)


def sparsity_errors(targets: Iterable[tuple[str, Scheme, SparsityTarget]]) -> Iterator[SpecError]:
    """Yield an error for each scheme that can't be combined with the sparsity target of its recipe.

    Args:
        targets: The recipe's location (`recipes[2]`), its scheme, and its sparsity target.
    """
    for where, scheme, target in targets:
        refused = sparsity_refusal(scheme, target, f"{where}.scheme")
        if refused is not None:
            yield refused


def _calibration(spec: PipelineSpec) -> Iterator[SpecError]:
    if spec.calibrate is None:
        for index, recipe in enumerate(spec.recipes):
            if recipe.needs_calibration:
                yield SpecError(
                    "a static scheme needs activation ranges, but there is no `calibrate` section",
                    where=f"recipes[{index}].scheme",
                    measured=recipe.scheme.kind,
                    remedy="add `calibrate: {split: train, samples: 500}`, or use dynamic_wi8_afp32",
                )


def _metrics(spec: PipelineSpec) -> Iterator[SpecError]:
    known = [metric.name for metric in spec.evaluate.metrics]
    for index, bound in enumerate(spec.gate.metrics):
        if bound.name not in known:
            suggestion = nearest(bound.name, known)
            yield SpecError(
                f"the gate bounds a metric that is not evaluated{suggestion}",
                where=f"gate.metrics[{index}].name",
                bound=one_of(known),
                measured=bound.name,
                remedy="correct the name" if suggestion else "add it to evaluate.metrics, or specify an evaluated one",
            )
    yield from bound_errors(spec.gate, spec.evaluate.metrics)
    # The code of the user's own metrics can declare attributes that the file doesn't.
    yield from untestable(spec.gate, [metric for metric in spec.evaluate.metrics if not metric.references])


def _float_layers(spec: PipelineSpec) -> Iterator[SpecError]:
    metric = spec.evaluate.metrics[0]
    for index, recipe in enumerate(spec.recipes):
        keep_float = asks_for_fewest_float(recipe)
        if keep_float is None:
            continue
        where = f"recipes[{index}].scheme.keep_float"
        if metric.function:
            yield SpecError(
                f"it measures the first metric on the calibration sample, but {metric.name!r} is a function",
                where=where,
                bound="a Keras metric class, such as SparseCategoricalAccuracy",
                measured=metric.function,
                remedy="list another metric first, or list the layers that stay in float",
            )
            continue
        least, most = values_of(metric) or (-math.inf, math.inf)
        if keep_float.max_drop is not None and keep_float.max_drop >= most - least:
            yield SpecError(
                "this bound always holds, so no layer would stay in float",
                where=f"{where}.max_drop",
                bound=f"less than {most - least:g}: {metric.name!r} ranges from {least:g} to {most:g}",
                measured=f"{keep_float.max_drop:g}",
                remedy="set a smaller drop, such as 0.01",
            )
        if metric.less_is_better is None:
            yield SpecError(
                f"it is unknown whether the first metric {metric.name!r} is better when higher or lower",
                where=where,
                bound="a Keras metric class with a known direction, such as SparseCategoricalAccuracy",
                measured=metric.class_name,
                remedy="list another metric first, or list the layers that stay in float",
            )
        elif keep_float.max_drop is None and tolerated_loss(spec) is None:
            field = "max_rise_from_baseline" if metric.less_is_better else "max_drop_from_baseline"
            yield SpecError(
                f"it has no accuracy bound: the gate has no overall {field} for the first metric {metric.name!r}",
                where=where,
                bound=f"max_drop, or a gate bound without slices that has {field}",
                remedy=f"write `keep_float: {{kind: auto, max_drop: 0.01}}`, or add {field} to the gate",
            )


def _addresses(spec: PipelineSpec) -> Iterator[SpecError]:
    paths = {"examples.schema_file": spec.examples.schema_file}
    registries = by_field(spec.push)
    folders = {f"{field}.{name}": path for field, one in registries.items() for name, path in one.paths.items()}
    if isinstance(spec.baseline, PretrainedBaseline):
        paths["baseline.path"] = spec.baseline.path
    paths.update({f"reads.files[{index}]": file for index, file in enumerate(spec.reads.files)})
    paths.update({f"devices[{index}]": device for index, device in enumerate(spec.devices)})
    for field, path in paths.items():
        if path and "://" in path:
            yield SpecError(
                "object stores cannot be used here",
                where=field,
                bound="a local path; only examples.path can be an object store address",
                measured=path,
                remedy="copy it to a local folder, or mount the object store, and use that path",
            )
    for field, one in registries.items():
        same = [other for other, registry in registries.items() if _identity(registry) == _identity(one)]
        if same[0] != field:
            yield SpecError(
                "this registry is listed twice",
                where=field,
                measured=f"also {same[0]}",
                remedy="remove one of them, or give it another channel",
            )
    for field, path in folders.items():
        if "://" in path:
            yield SpecError(
                "this kind of registry is a folder",
                where=field,
                bound="a local path, or another kind with an address: `kind: s3` or `kind: gcs`",
                measured=None if may_hold_secret(path) else path,
                remedy="add the kind, or use a path",
            )


def _identity(registry: BaseRegistry) -> tuple[str, str, str]:
    """What makes two registries the same: kind, place, and channel. `r` and `r/` are one place."""
    place = registry.place
    return registry.kind, place.rstrip("/") if "://" in place else os.path.normpath(place), registry.channel


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
