"""What values the first records hold: labels that no metric takes, numbers that are none. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import DataError, SpecError


def check_label_type(feature_spec: Mapping[str, Any], label: str) -> None:
    """See that the label is a number.

    Args:
        feature_spec: As `tf.io.parse_example` takes it; it has the label.
        label: The feature that holds the label.

    Raises:
        SpecError: It is text.
    """
    import tensorflow as tf

    if feature_spec[label].dtype == tf.string:
        raise SpecError(
            "the label is text, and losses and metrics compare numbers",
            where="examples.label",
            bound="a feature of integers or floats",
            measured=f"{label!r} is {feature_spec[label].dtype.name}",
            remedy="write the examples with class numbers from 0, or turn the text into numbers with `preprocess`",
        )


def check_values(features: Mapping[str, Any], label: str, num_classes: int | None, file: Path) -> None:
    """Hold a file's first records against what the pipeline file says of them.

    Args:
        features: The parsed features [N, ...] that the task declares.
        label: The one that holds the label.
        num_classes: Labels are integers from 0 to one less; None for labels that are no classes.
        file: Where the records are from.

    Raises:
        DataError: A label is out of range, or a number is NaN or infinite.
    """
    import numpy as np
    import tensorflow as tf

    for name, values in features.items():
        # Sparse and ragged features hold their values flat.
        held = getattr(values, "flat_values", getattr(values, "values", values))
        if held.dtype.is_floating:
            found = held.numpy()[~np.isfinite(held.numpy())]
            if found.size:
                raise DataError(
                    f"the feature {name!r} has values that are no numbers in the file's first records",
                    where=str(file),
                    bound="finite numbers",
                    measured=f"{found.flat[0]}, {found.size} of {held.numpy().size} values",
                    remedy="correct or leave out these examples",
                )
    if num_classes is None:
        return
    labels = tf.cast(features[label], tf.float64).numpy().ravel()
    wrong = labels[(labels < 0) | (labels >= num_classes) | (labels != np.floor(labels))]
    if wrong.size:
        raise DataError(
            f"the label {label!r} is not the number of a class in the file's first records",
            where=str(file),
            bound=f"integers from 0 to {num_classes - 1} (examples.num_classes: {num_classes})",
            measured=", ".join(f"{each:g}" for each in sorted(set(wrong))),
            remedy="number the classes from 0, or correct num_classes",
        )
