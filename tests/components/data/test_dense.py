from __future__ import annotations

import pytest
import tensorflow as tf

from components.core.errors import SpecError
from components.data.dense import check_dense

SPEC = {"night": tf.io.FixedLenFeature([], tf.int64), "words": tf.io.VarLenFeature(tf.string)}


def test_missing_feature_is_reported_with_the_closest_one() -> None:
    check_dense({"night": "evaluate.slices"}, SPEC)
    with pytest.raises(
        SpecError, match=r"^evaluate.slices: the task has no dense feature 'nihgt'; did you mean 'night'"
    ):
        check_dense({"nihgt": "evaluate.slices"}, SPEC)


@pytest.mark.parametrize("name", ["words", "camera"])
def test_nothing_is_suggested_for_a_ragged_feature_or_without_a_similar_name(name: str) -> None:
    with pytest.raises(SpecError, match=rf"the task has no dense feature '{name}' \(expected"):
        check_dense({name: "evaluate.slices"}, SPEC)
