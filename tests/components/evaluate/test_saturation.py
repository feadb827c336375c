import numpy as np
import pytest
import tensorflow as tf

from components.evaluate.assess import saturated_share
from components.gate.checks import saturation_checks
from components.gate.spec import GateSpec, MetricBound
from components.recipe import Recipe
from components.report import CandidateReport, ConversionFailure


def converted(calibration, activation=None):
    model = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(1, activation, kernel_initializer="ones")])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.float32([[value]])] for value in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def share(calibration, values, activation=None):
    return saturated_share(converted(calibration, activation), {"": np.float32(values)[:, None]})


def test_saturated_share_is_that_of_values_beyond_the_calibrated_range():
    values = np.r_[np.linspace(-0.9, 0.9, 96), [1.5, 2, -1.5, -2]]
    assert share(np.linspace(-1, 1, 20), values) == pytest.approx(0.04)
    assert share(np.linspace(-3, 3, 20), values) == 0.0
    # A ReLU's zeros are no loss.
    assert share(np.linspace(-3, 3, 20), values, "relu") == 0.0
    assert share(np.linspace(-1, 1, 20), values, "sigmoid") is None


@pytest.mark.parametrize(("saturated", "verdict"), [(0.01, "pass"), (0.031, "fail"), (None, None)])
def test_gate_bounds_the_share(saturated, verdict):
    policy = GateSpec(metrics=(MetricBound(name="accuracy", at_least=0.5),), max_saturated_outputs=0.01)
    failure = ConversionFailure(scheme="x", cause="refused", message="m", remedy="r")
    recipe = Recipe.model_validate({"name": "int8", "scheme": "static_wi8_ai8"})
    candidate = CandidateReport(recipe=recipe, outcome=failure, saturated=saturated)
    assert [check.verdict for check in saturation_checks(candidate, policy)] == ([verdict] if verdict else [])
