"""Recognizes the examples that a user's function yields."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError, EdgemillError, counted, some_of
from components.data.objects import load_object
from components.ingest.arrays import generated
from components.spec.examples import GeneratorSource
from edgemill.project.found import Data, Options, chosen_columns, refuse_labels, refuse_one_label
from edgemill.project.numbered import MOST_CLASSES, numbers_in
from pipelines.file.user_folders import make_importable

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# The files that the lineage records.
_MODULES = "*.py"


def is_function(name: str) -> bool:
    """Whether the name has the form `package.module:function`."""
    return _FUNCTION.fullmatch(name) is not None


def of_function(name: str, options: Options) -> Data:
    """Recognize the features that a function yields. Imports its module, and calls it once for each split.

    Raises:
        DataError: It fails, or its features can't be an input and a label.
        SpecError: It can't be imported or called.
    """
    make_importable(Path.cwd() / "pipeline.yaml")
    source = GeneratorSource(kind="generator", function=name)
    features: dict[str, _Feature] = {}
    count = 0
    try:
        function = load_object(name, "function")
        splits = _splits(function)
        for split in splits.get("patterns", (None,)):
            for row in generated(source, split):
                count += 1
                for feature, value in row.items():
                    features.setdefault(feature, _Feature()).add(value)
    except EdgemillError as error:
        raise type(error)(
            error.what, where=f"--data {name}", bound=error.bound, measured=error.measured, remedy=error.remedy
        ) from error
    labels, inputs = chosen_columns(list(features), options, "there is no feature")
    label = labels[0]
    several = len(labels) > 1 or (features[label].kind in {"int64", "float32"} and features[label].sizes != {1})
    _check({feature: features[feature] for feature in (*inputs, *labels)}, labels, f"--data {name}")
    if len(labels) == 1 and len(features[label].held) == 1:
        [values] = features[label].held
        refuse_one_label([", ".join(map(str, values))], label, f"--data {name}", count)
    return Data.model_validate(
        {"kind": "generator", "folder": Path(inspect.getfile(inspect.unwrap(function))).parent,
         "label": "" if several else label, "labels": {each: features[each].kind for each in labels} if several else {},
         "not_binary": _not_binary({each: features[each] for each in labels}) if len(labels) > 1 else "",
         "classes": tuple(sorted(features[label].texts)), "columns": {each: features[each].kind for each in inputs},
         "numbers": () if several or features[label].texts else numbers_in(sum(features[label].held, ())),
         "label_type": "float32" if features[label].kind == "float32" else "int64", "splits": splits,
         "scalars": all(features[each].sizes == {1} for each in inputs), "fields": {"function": name}, "count": count}
    )  # fmt: skip


def _splits(function: Callable[..., Any]) -> dict[str, Any]:
    """The field `splits`: hashed, unless the function takes the name of a split."""
    try:
        needed = [each for each in inspect.signature(function).parameters.values() if each.default is each.empty]
    except (TypeError, ValueError):
        needed = []
    if any(each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD} for each in needed):
        return {"kind": "declared", "patterns": {"train": _MODULES, "eval": _MODULES}}
    return {"kind": "hashed", "pattern": _MODULES}


class _Feature:
    """The known facts about the values of a feature."""

    def __init__(self) -> None:
        self.kind = ""
        self.sizes: set[int] = set()
        self.texts: set[str] = set()
        self.held: set[Any] = set()
        self.other: Any = None  # A number that is neither 0 nor 1.
        self.unusable = 0

    def add(self, value: Any) -> None:
        """Count a value in the form of `components.ingest.arrays.feature`."""
        values = value if isinstance(value, list) else [value]
        if isinstance(value, bytes):
            self.kind = "uint8"
            self.sizes.add(len(value))
            return
        self.sizes.add(len(values))
        if len(self.held) < (2 if len(values) > 1 else MOST_CLASSES + 1):
            self.held.add(tuple(values))
        for each in values:
            if each is None or (isinstance(each, float) and not math.isfinite(each)):
                self.unusable += 1
            elif isinstance(each, str):
                self.kind = "text"
                self.texts.add(each)
            else:
                self.kind = self.kind or ("float32" if isinstance(each, float) else "int64")
                self.other = each if each not in {0, 1} else self.other


def _not_binary(labels: Mapping[str, _Feature]) -> str:
    """A description of a label that isn't one 0 or 1; empty if there is none."""
    for name, each in labels.items():
        if each.sizes != {1}:
            return f"{name}: {counted(max(each.sizes), 'value')}"
        if each.other is not None:
            return f"{name}: {each.other:g}"
    return ""


def _check(features: Mapping[str, _Feature], labels: Sequence[str], where: str) -> None:
    if missing := {name: each.unusable for name, each in features.items() if each.unusable}:
        raise DataError(
            f"features have missing values or values that are not finite: {some_of(missing)}",
            where=where,
            measured=", ".join(f"{name}: {counted(count, 'value')}" for name, count in missing.items()),
            remedy="yield a number for each, or leave these examples out",
        )
    if text := [name for name, each in features.items() if each.kind == "text" and name not in labels]:
        raise DataError(
            f"features contain text: {some_of(text)}",
            where=where,
            bound="numbers or arrays for the input",
            measured=", ".join(f"{name}: {min(features[name].texts)!r}" for name in text[:3]),
            remedy="specify the features of the input with --columns, or yield numbers as in training",
        )
    if uneven := {name: each.sizes for name, each in features.items() if len(each.sizes) != 1}:
        raise DataError(
            f"the examples have different numbers of values: {some_of(uneven)}",
            where=where,
            bound="the same number of values in each example",
            measured=", ".join(f"{name}: {min(sizes):,} to {max(sizes):,}" for name, sizes in uneven.items()),
            remedy="truncate or pad them as in training",
        )
    if len(labels) > 1:
        words = (f"{name}: {min(features[name].texts)!r}" for name in labels if features[name].kind == "text")
        refuse_labels(next(words, ""), where)
    label = next((name for name in labels if features[name].kind == "uint8"), labels[0])
    if features[label].kind == "uint8" or (features[label].kind == "text" and features[label].sizes != {1}):
        raise DataError(
            f"the label {label!r} is neither one number or text nor a list of numbers",
            where=where,
            bound="one number or text for each example, or a list with 0 or 1 for each label",
            measured=f"{counted(max(features[label].sizes), 'value')} of the type {features[label].kind}",
            remedy="yield the number or the name of the class, or write a pipeline file and a task with `targets`: see "
            "docs/outputs.md",
        )
