import numpy as np
import pytest
import tensorflow as tf

from components.gate.checks import saturation_checks
from components.gate.spec import GateSpec, MetricBound
from components.recipe import Recipe
from components.report import CandidateReport, ConversionFailure
from components.saturation import saturated_share


def share(calibration, values, activation=None, io=tf.int8, then=()):
    layers = [tf.keras.Input([1]), tf.keras.layers.Dense(1, activation, kernel_initializer="ones"), *then]
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Sequential(layers))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.float32([[value]])] for value in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = io
    return saturated_share(converter.convert(), {"": np.float32(values)[:, None]})


@pytest.mark.parametrize("io", [tf.int8, tf.float32])
def test_saturated_share_is_that_of_values_beyond_the_calibrated_range(io):
    values = np.r_[np.linspace(-0.9, 0.9, 96), [1.5, 2, -1.5, -2]]
    assert share(np.linspace(-1, 1, 20), values, io=io) == pytest.approx(0.04)
    assert share(np.linspace(-1, 1, 20), values, io=io, then=[tf.keras.layers.Reshape([1, 1])]) == pytest.approx(0.04)
    assert share(np.linspace(-3, 3, 20), values, io=io) == 0.0
    # A ReLU's zeros are no loss, and nor is the top of one that ends at 6.
    assert share(np.linspace(-3, 3, 20), values, "relu", io=io) == 0.0
    assert share(np.linspace(-9, 9, 20), 9 * values, "relu6", io=io) == 0.0
    assert share(np.linspace(-1, 1, 20), values, "relu6", io=io) == pytest.approx(0.02)
    for fixed in ("sigmoid", "tanh"):
        assert share(np.linspace(-1, 1, 20), 9 * values, fixed, io=io) is None


def test_range_of_a_power_of_two_is_a_range_like_any_other():
    """An int8 scale of 2^-7 is that of a tanh, and here that of a linear output."""
    values = np.r_[np.linspace(-0.9, 0.9, 98), [1.5, 2]]
    assert share([-1.0, 1 - 2**-7], values) == pytest.approx(0.02)


def test_file_without_integers_has_no_saturated_share():
    model = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(1)])
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    assert saturated_share(content, {"": np.float32([[1.0]])}) is None


@pytest.mark.parametrize(("saturated", "verdict"), [(0.0099, "pass"), (0.0101, "fail"), (None, None)])
def test_gate_bounds_the_share(saturated, verdict):
    policy = GateSpec(metrics=(MetricBound(name="accuracy", at_least=0.5),), max_saturated_outputs=0.01)
    failure = ConversionFailure(scheme="x", cause="refused", message="m", remedy="r")
    recipe = Recipe.model_validate({"name": "int8", "scheme": "static_wi8_ai8"})
    candidate = CandidateReport(recipe=recipe, outcome=failure, saturated=saturated)
    checks = list(saturation_checks(candidate, policy))
    assert [check.verdict for check in checks] == ([verdict] if verdict else [])
    assert [check.measured for check in checks] == ([f"{saturated:.6g}"] if verdict else [])
