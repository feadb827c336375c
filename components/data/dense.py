"""Features that have the same number of values in each example, as labels, slices, and metrics require."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from components.core.errors import SpecError, one_of


def named_label(label: str) -> dict[str, str]:
    """The label, if there is one, with the field that names it, for `check_dense`."""
    return {label: "examples.label"} if label else {}


def check_dense(features: Mapping[str, str], feature_spec: Mapping[str, Any]) -> None:
    """Check that features have the same number of values in each example, as metrics and slices require.

    Args:
        features: Feature name -> the field that names it.
        feature_spec: Features as `tf.io.parse_example` accepts them.

    Raises:
        SpecError: A feature is missing or is not a FixedLenFeature.
    """
    import tensorflow as tf

    for feature, where in features.items():
        if not isinstance(feature_spec.get(feature), tf.io.FixedLenFeature):
            near = [] if feature in feature_spec else difflib.get_close_matches(feature, sorted(feature_spec), 1)
            raise SpecError(
                f"the task has no dense feature {feature!r}{f'; did you mean {near[0]!r}?' if near else ''}",
                where=where,
                bound=f"{one_of(sorted(feature_spec))}, as a FixedLenFeature",
                measured=type(feature_spec[feature]).__name__ if feature in feature_spec else "no such feature",
                remedy="specify a feature of the task, or declare it in the task's feature_spec()",
            )
