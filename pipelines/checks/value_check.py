"""Checks the values of the first records: unusable labels, NaN, and infinity. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError, SpecError


def check_label_type(feature_spec: Mapping[str, Any], label: str) -> None:
    """Check that the label is a number.

    Args:
        feature_spec: As for `tf.io.parse_example`; it contains the label.
        label: Name of the label feature.

    Raises:
        SpecError: The label is text.
    """
    import tensorflow as tf

    if feature_spec[label].dtype == tf.string:
        raise SpecError(
            "the label is text, but losses and metrics need numbers",
            where="examples.label",
            bound="a feature of integers or floats",
            measured=f"{label!r} is {feature_spec[label].dtype.name}",
            remedy="write the examples with class numbers from 0, or convert the text to numbers with `preprocess`",
        )


def check_values(features: Mapping[str, Any], label: str, num_classes: int | None, file: Path) -> None:
    """Check a file's first records against the pipeline file.

    Args:
        features: The parsed features [N, ...] that the task declares.
        label: Name of the label feature.
        num_classes: Labels must be integers from 0 to `num_classes - 1`. None if labels aren't classes.
        file: The file of the records.

    Raises:
        DataError: A label is out of range, or a number is NaN or infinite.
    """
    import numpy as np
    import tensorflow as tf

    for name, values in features.items():
        # Sparse and ragged features store flat values.
        held = getattr(values, "flat_values", getattr(values, "values", values))
        if held.dtype.is_floating:
            found = held.numpy()[~np.isfinite(held.numpy())]
            if found.size:
                raise DataError(
                    f"the feature {name!r} has values that are not finite in the file's first records",
                    where=str(file),
                    bound="finite numbers",
                    measured=f"{found.flat[0]}, {found.size} of {held.numpy().size} values",
                    remedy="correct or remove these examples",
                )
    if num_classes is None:
        return
    labels = tf.cast(features[label], tf.float64).numpy().ravel()
    wrong = labels[(labels < 0) | (labels >= num_classes) | (labels != np.floor(labels))]
    if wrong.size:
        raise DataError(
            f"the label {label!r} is not a class number in the file's first records",
            where=str(file),
            bound=f"integers from 0 to {num_classes - 1} (examples.num_classes: {num_classes})",
            measured=", ".join(f"{each:g}" for each in sorted(set(wrong))),
            remedy="number the classes from 0, or correct num_classes",
        )


def check_partition(records: Sequence[bytes], feature: str, file: Path) -> None:
    """Check that ExampleGen can split a file's first records by a feature.

    Raises:
        DataError: A record lacks the feature, or holds it as floats.
    """
    import tensorflow as tf

    for record in records:
        held = tf.train.Example.FromString(record).features.feature
        kind = held[feature].WhichOneof("kind") if feature in held else None
        if kind not in {"bytes_list", "int64_list"}:
            raise DataError(
                f"the splits are hashed by the feature {feature!r}, which one of the file's first records "
                + ("holds as floats" if kind else "lacks"),
                where=str(file),
                bound=f"integers or text in {feature!r} (examples.splits.feature)",
                measured=", ".join(sorted(held)) or "no features",
                remedy="name a feature that every example has, or remove `feature` to hash whole examples",
            )


def check_finite(inputs: Any, file: Path) -> None:
    """Check that the task's decode returns finite values for a file's first records.

    Raises:
        DataError: A value is NaN or infinite.
    """
    import numpy as np

    for name, values in (inputs if isinstance(inputs, Mapping) else {"": inputs}).items():
        held = np.asarray(values)
        if np.issubdtype(held.dtype, np.floating) and not np.isfinite(held).all():
            found = held[~np.isfinite(held)]
            raise DataError(
                "the task's decode returns values that are not finite for the file's first records",
                where=f"{file}, input {name}" if name else str(file),
                bound="finite numbers",
                measured=f"{found.flat[0]}, {found.size} of {held.size} values",
                remedy="run decode on one example and correct it (a logarithm of 0, a division by 0)",
            )
