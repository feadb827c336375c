import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from components.facts.conversion import ConversionFailure
from components.facts.evaluation import CandidateReport
from components.gate.checks import saturation_checks
from components.model.tflite_runtime import TFLiteModel
from components.spec.evaluate import EvaluationSpec
from components.spec.gate import GateSpec, MetricBound
from components.spec.recipe import Recipe
from pipelines.report.wording import in_words
from tests.artifacts import saturated_share
from tests.predicted import predict_and_evaluate, reports


def integers(model, calibration, io=tf.int8):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.float32([value])] for value in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = io
    return converter.convert()


def share(calibration, values, activation=None, io=tf.int8, then=()):
    layers = [tf.keras.Input([1]), tf.keras.layers.Dense(1, activation, kernel_initializer="ones"), *then]
    content = integers(tf.keras.Sequential(layers), np.reshape(calibration, (-1, 1)), io)
    return saturated_share(content, {"": np.float32(values)[:, None]})


def of_terms():
    """A sum of two inputs, each by its own layer; and values of which a fifth exceeds what one term can hold."""
    taken = tf.keras.Input([2], name="x")
    terms = [
        tf.keras.layers.Dense(1, kernel_initializer=tf.constant_initializer(kernel), use_bias=False)(taken)
        for kernel in ([1.0, 0.0], [0.0, 1.0])
    ]
    model = tf.keras.Model(taken, tf.keras.layers.Flatten(name="y")(tf.keras.layers.Add()(terms)))
    content = integers(model, [(1, 1), (-1, -1), (0.5, 0.2)], tf.float32)
    values = np.float32([[1.5, -0.5] if each % 5 == 0 else [0.6, -0.3 + each / 1000] for each in range(400)])
    return model, content, values


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


def test_share_is_that_of_what_a_sum_is_made_of_where_its_own_range_holds_all():
    model, content, values = of_terms()
    assert np.abs(model.predict(values, verbose=0)).max() <= 1.0
    (sums,) = TFLiteModel(content).predict({"x": values}).values()
    assert sums.max() < 1.0
    assert saturated_share(content, {"x": values}) == pytest.approx(0.2)


TASK = """
import tensorflow as tf

class Pairs:
    def feature_spec(self):
        return {"x": tf.io.FixedLenFeature([%d], tf.float32), "label": tf.io.FixedLenFeature([], tf.float32)}

    def decode(self, features):
        return {"x": features["x"]}

TASK = Pairs()
"""


def evaluated(folder, monkeypatch, model, content, files):
    """The share that an evaluation of a model and its file finds on files of values."""
    width = files[0].shape[1]
    (folder / f"saturated_task_{width}.py").write_text(TASK % width)
    monkeypatch.syspath_prepend(str(folder))
    model.export(str(folder / "model"))
    (folder / "int8.tflite").write_bytes(content)
    for name, values in enumerate(files):
        with tf.io.TFRecordWriter(str(folder / f"{name}.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for value in values:
                features = {
                    "x": tf.train.Feature(float_list=tf.train.FloatList(value=value)),
                    "label": tf.train.Feature(float_list=tf.train.FloatList(value=value[:1])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    predict_and_evaluate(
        files=[str(folder / f"{name}.gz") for name in range(len(files))],
        baseline=folder / "model",
        candidates={"int8": folder / "int8.tflite"},
        spec=EvaluationSpec.model_validate({"metrics": ["mean_squared_error"], "batch_size": 64}),
        label="label",
        task=f"saturated_task_{width}:TASK",
        output=folder / "output",
        make_pipeline=beam.Pipeline,
    )
    return reports(folder / "output")["int8"].saturated


def test_evaluation_counts_every_example_of_every_file(tmp_path, monkeypatch):
    model = tf.keras.Sequential([tf.keras.Input([1], name="x"), tf.keras.layers.Dense(1, kernel_initializer="ones")])
    content = integers(model, np.linspace(-1, 1, 20).reshape(-1, 1))
    files = [np.zeros((700, 1)), np.repeat([[0.0], [2.0]], [250, 50], axis=0)]
    assert list(evaluated(tmp_path, monkeypatch, model, content, files).values()) == [0.05]


def test_evaluation_looks_inside_on_a_fifth_of_the_examples(tmp_path, monkeypatch):
    model, content, values = of_terms()
    values[:, 1] += np.linspace(0, 0.05, len(values), dtype=np.float32)
    (share,) = evaluated(tmp_path, monkeypatch, model, content, np.split(values, 2)).values()
    # Some 80 of 400 examples, of which a fifth saturates; six standard errors of such a share.
    assert 0.01 < share < 0.47
    assert share != pytest.approx(0.2, abs=1e-9)


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
    assert [in_words(check).measured for check in checks] == ([f"{saturated:.6g}"] if verdict else [])
