"""Checks of the values that a task's methods return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.core.errors import EdgemillError, SpecError, summary_line
from components.core.user_code import exits_reported, in_time, raised_at
from components.data.task import Task


def features_of(task: Task) -> dict[str, Any]:
    """The result of the task's `feature_spec`.

    Raises:
        SpecError: It fails, or doesn't return a mapping of names to features that `tf.io.parse_example` accepts.
    """
    import tensorflow as tf

    try:
        with exits_reported("task"), in_time("the task's feature_spec", "task"):
            features = task.feature_spec()
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"the task's feature_spec fails: {type(error).__name__}: {summary_line(error)}",
            where="task",
            bound="a method that takes no arguments",
            measured=raised_at(error),
            remedy="call feature_spec() by itself, and correct it",
        ) from error
    kinds = (tf.io.FixedLenFeature, tf.io.VarLenFeature, tf.io.SparseFeature, tf.io.RaggedFeature,
             tf.io.FixedLenSequenceFeature)  # fmt: skip
    wrong = (
        [f"{name!r}: {type(kind).__name__}" for name, kind in features.items()
         if not (isinstance(name, str) and isinstance(kind, kinds))]
        if isinstance(features, Mapping)
        else [type(features).__name__]
    )  # fmt: skip
    if wrong or not features:
        raise SpecError(
            "the task's feature_spec must return a mapping of features",
            where="task",
            bound="feature name -> tf.io.FixedLenFeature, or another that tf.io.parse_example accepts",
            measured=", ".join(wrong) or "an empty mapping",
            remedy="return one entry for each feature, the label included",
        )
    return dict(features)


def check_decoded(decoded: Any) -> None:
    """Check that `decode` returned a tensor, or tensors by name.

    Raises:
        SpecError: It returned something else, or strings.
    """
    named = decoded if isinstance(decoded, Mapping) else {"": decoded}
    wrong = [kind for name, value in named.items() if (kind := _wrong(name, value))]
    if wrong or not named:
        raise SpecError(
            "the task's decode does not return what a model takes",
            where="task",
            bound="one tensor of numbers, or a dict of input name -> tensor of numbers",
            measured=", ".join(wrong) or "an empty dict",
            remedy="return the model's input alone, without the label",
        )


def _wrong(name: Any, value: Any) -> str:
    if not isinstance(name, str):
        return f"a name of type {type(name).__name__}"
    of = f" for {name!r}" if name else ""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return f"{type(value).__name__}{of}"
    return f"a tensor of strings{of}" if dtype == "string" or getattr(dtype, "kind", "") in {"S", "U", "O"} else ""
