"""A file that the runtime's two sets of kernels compute differently is no candidate."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.convert.checks.kernels import COMPARED, compared, gross_differences, is_fault
from components.convert.job import ConversionRequest, run
from components.convert.tensorflow.converter import convert
from components.facts.artifact_paths import OUTCOME_FILE
from components.facts.conversion import ConversionFailure, Converted, outcome_of
from components.spec.scheme import DynamicWi8Afp32, Float32, StaticWi8Ai8, StaticWi8Ai16


def random_features(batch=COMPARED):
    return np.random.default_rng(1).normal(size=[batch, 12]).astype(np.float32)


def samples():
    for features in random_features(20):
        yield {"": features[np.newaxis]}


def weights(rows, columns):
    return tf.Variable(np.random.default_rng(2).normal(size=[rows, columns]).astype(np.float32))


@pytest.fixture
def saved(save):
    kernel, other = weights(12, 128), weights(128, 4)

    def saved(hidden):
        def serve(features):
            return {"scores": tf.matmul(hidden(tf.matmul(features, kernel)), other)}

        return save(serve, tf.TensorSpec([None, 12], tf.float32, name="features"), variables=[kernel, other])

    return saved


@pytest.mark.parametrize("scheme", [Float32(), DynamicWi8Afp32(), StaticWi8Ai8(), StaticWi8Ai16()])
@pytest.mark.parametrize("hidden", [tf.nn.relu, tf.nn.tanh, tf.math.log], ids=["relu", "tanh", "nan"])
def test_rounding_is_no_difference_and_neither_is_the_same_nan(saved, scheme, hidden):
    content = convert(saved(hidden), scheme, samples) if hidden is not tf.math.log or not scheme.is_static else None
    if content is not None:
        assert gross_differences(content, None) == []
        assert gross_differences(content, {"": random_features()}) == []
        assert gross_differences(content, {"features": random_features(1)}) == []
        assert gross_differences(content, {"other": np.zeros([1, 3])}) == []


def test_model_that_draws_random_numbers_is_refused_with_figures(saved, tmp_path: Path):
    # Zeros as seeds, whatever seed other tests have set: each interpreter draws its own numbers.
    drawn = saved(lambda hidden: hidden * tf.raw_ops.RandomStandardNormal(shape=tf.shape(hidden), dtype=tf.float32))
    request = ConversionRequest(name="float32", scheme=Float32(), saved_model=str(drawn))
    run(request, tmp_path)
    failure = outcome_of((tmp_path / OUTCOME_FILE).read_bytes())
    assert isinstance(failure, ConversionFailure)
    assert failure.cause == "broken_promise"
    assert "compute different values of the output 'scores': they differ by " in failure.message
    assert "One of them is wrong, or the model draws random numbers" in failure.message
    run(request.model_copy(update={"saved_model": str(saved(tf.nn.relu))}), tmp_path)
    assert isinstance(outcome_of((tmp_path / OUTCOME_FILE).read_bytes()), Converted)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_few_indexes_that_near_ties_change_are_no_fault(dtype):
    indexes = np.array([[0], [3], [9], [1], [7], [7], [2], [5]], dtype)
    for changed, fault in ((1, False), (2, False), (8, True)):
        found = indexes.copy()
        found[:changed] = 9 - found[:changed]
        assert is_fault(compared("class", indexes, found, None)) is fault


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_only_one_of_them_makes_infinite_or_nan_is_a_fault(value):
    scores = np.random.default_rng(3).normal(size=[8, 4]).astype(np.float32)
    lost = np.full_like(scores, value)
    assert is_fault(compared("scores", scores, lost, None))
    assert is_fault(compared("scores", lost, scores, None))
    assert not is_fault(compared("scores", lost, lost, None))
