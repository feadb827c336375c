"""Training under quantization as a whole, from a kept Keras model to what is exported."""

import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.core.errors import ModelError
from components.data.examples import ExampleDecoder
from components.facts.artifact_paths import SERVING_FOLDER
from components.facts.training import TrainedRange
from components.fake_quantize.qat import check_ranges, quantized
from components.fine_tune.step import StepInputs
from components.model.keras_model import export, output_names, save_keras
from components.model.tflite_runtime import TFLiteModel
from components.quantize.training import train_quantized
from components.spec.scheme import StaticWi8Ai8, StaticWi8Ai16
from components.spec.steps.qat import QatStep
from tests.artifacts import saturated_share

COUNT = 48
TASK = """
import tensorflow as tf

class Task:
    def feature_spec(self):
        return {"x": tf.io.FixedLenFeature([16], tf.float32), "y": tf.io.FixedLenFeature([1], tf.float32)}

    def decode(self, features):
        return tf.reshape(features["x"], [-1, 4, 4, 1])

    def compile(self, model):
        model.compile(tf.keras.optimizers.SGD(), "mse")

TASK = Task()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qat_training")
    (folder / "qat_training_task.py").write_text(TASK)
    random = np.random.default_rng(31)
    x = random.normal(size=(COUNT, 16)).astype(np.float32)
    with tf.io.TFRecordWriter(str(folder / "part.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row in x:
            features = {
                name: tf.train.Feature(float_list=tf.train.FloatList(value=values))
                for name, values in (("x", row), ("y", [row.mean() * 3]))
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    tf.keras.utils.set_random_seed(32)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((4, 4, 1), name="x"),
            layers.Conv2D(3, 3, name="kept", trainable=False),
            layers.BatchNormalization(momentum=0.5, name="norm"),
            layers.ReLU(name="relu"),
            layers.Flatten(name="flat"),
            layers.Dense(1, name="head"),
        ]
    )
    model.get_layer("norm").moving_mean.assign([0.1, 0.2, 0.3])
    save_keras(model, folder / "model")
    sys.path.insert(0, str(folder))
    yield folder, model
    sys.path.remove(str(folder))


def train(made, folder, **said):
    """The report, and the exported variables by name."""
    source, _ = made
    step = QatStep.model_validate({"kind": "qat", "batch_size": 16, "learning_rate": 0.05, **said})
    inputs = StepInputs(
        source / "model",
        folder,
        name="a",
        task="qat_training_task:TASK",
        label="y",
        decoder=ExampleDecoder("qat_training_task:TASK"),
        files=[str(source / "part.gz")],
        checkpoints=folder / "checkpoints",
    )
    report = train_quantized(inputs, step, StaticWi8Ai8())
    variables = tf.saved_model.load(str(folder / "Format-Serving")).held
    return report, {variable.name: variable.numpy() for variable in variables}


def one(variables, part):
    (found,) = [value for name, value in variables.items() if part in name]
    return found


def test_normalization_keeps_its_statistics_from_the_epoch_that_is_named(made, tmp_path):
    found = {}
    for name, said in (
        ("first", {"epochs": 1}),
        ("frozen", {"epochs": 3, "freeze_batch_norm": 1}),
        ("never", {"epochs": 3}),
        ("at_once", {"epochs": 2, "freeze_batch_norm": 0}),
    ):
        _, found[name] = train(made, tmp_path / name, **said)
    means = {name: one(variables, "moving_mean") for name, variables in found.items()}
    np.testing.assert_allclose(means["frozen"], means["first"], rtol=1e-5)
    np.testing.assert_allclose(means["at_once"], [0.1, 0.2, 0.3], rtol=1e-6)
    assert np.abs(means["never"] - means["first"]).max() > 1e-3
    # All else is still trained.
    assert not np.allclose(one(found["frozen"], "head/kernel"), one(found["first"], "head/kernel"))
    assert not np.allclose(one(found["at_once"], "head/kernel"), made[1].get_layer("head").kernel.numpy())


def test_layer_that_does_not_train_is_quantized_as_it_is(made, tmp_path):
    report, variables = train(made, tmp_path, epochs=2)
    assert np.array_equal(one(variables, "kept/kernel"), made[1].get_layer("kept").kernel.numpy())
    assert {layer.layer: layer.weights for layer in report.layers}["kept"] == "int8 per channel"
    assert (report.recipe, report.kind, len(report.epochs), report.best_epoch) == ("a", "qat", 2, 2)
    assert [tensor.tensor for tensor in report.ranges] == ["input x", "relu", "head"]


def batches_seen(checkpoint):
    """The batches that each quantizer saw until an epoch was saved."""
    held = tf.train.load_checkpoint(checkpoint)
    names = [name for name in held.get_variable_to_shape_map() if re.search(r"_batches/.*VALUE$", name)]
    return {int(held.get_tensor(name)) for name in names}


@pytest.mark.parametrize(("stopping", "batches"), [(None, 3), ({"hold_out": 0.5, "patience": 9}, 2)])
def test_activations_are_delayed_by_epochs_as_they_are(made, tmp_path, stopping, batches):
    """With a delay of an epoch, the first one's losses are those of quantized weights and float activations."""
    losses = {}
    for name, delay, activations in (("late", 1, {}), ("coarse", 1, COARSE), ("at_once", 0, COARSE)):
        said = {"epochs": 2, "delay_activations": delay, "activations": activations, "early_stopping": stopping}
        report, variables = train(made, tmp_path / name, **said)
        # What only training reads isn't exported.
        assert not [key for key in variables if "_batches" in key or "_average" in key]
        losses[name] = [epoch.figures["loss"] for epoch in report.epochs]
        assert one(variables, "head/kernel").shape == (12, 1)
        assert batches_seen(tmp_path / name / "checkpoints" / "epoch-2") == {2 * batches}
    # While it is only watched, how coarse the range is does not matter; then it does.
    assert losses["coarse"][0] == pytest.approx(losses["late"][0], rel=1e-6)
    assert losses["coarse"][1] != pytest.approx(losses["late"][1], rel=1e-3)
    assert losses["at_once"][0] != pytest.approx(losses["late"][0], rel=1e-3)


COARSE = {"quantizer": {"kind": "histogram", "percentile": 60, "bins": 64}}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_range_that_is_not_finite_is_reported(value):
    good = TrainedRange(tensor="relu", low=0.0, high=1.0, scale=1 / 255, zero_point=-128)
    check_ranges([good])
    bad = good.model_copy(update={"tensor": "head", "high": value})
    with pytest.raises(ModelError, match="layer head: the range of an activation is not finite after training"):
        check_ranges([good, bad])


WEIGHTS = np.float32([[8.0]] + [[1.0]] * 7)


@pytest.mark.parametrize("scheme", [StaticWi8Ai8(), StaticWi8Ai16()])
@pytest.mark.parametrize("quantizer", ["moving_average", "last_value", "histogram"])
def test_outputs_keep_their_extremes(tmp_path, scheme, quantizer):
    """A moving average of extremes would clip the 4 % far above all others: half of the batches are without them."""
    random = np.random.default_rng(5)
    x = random.uniform(-1, 1, size=(2048, 8)).astype(np.float32)
    x[:, 0] = random.random(2048) < 0.04
    y = x @ WEIGHTS + random.normal(scale=0.4, size=(2048, 1)).astype(np.float32)
    tf.keras.utils.set_random_seed(6)
    layers = [tf.keras.Input([8], name="x"), tf.keras.layers.Dense(1, name="head"), tf.keras.layers.Flatten(name="y")]
    model = tf.keras.Sequential(layers)
    model.get_layer("head").set_weights([WEIGHTS, np.float32([0.0])])
    said = {"kind": "qat", "epochs": 2, "activations": {"quantizer": {"kind": quantizer}}}
    trained = quantized(model, QatStep.model_validate(said), scheme, steps_per_epoch=128)
    trained.compile(tf.keras.optimizers.SGD(1e-6), "mse")
    trained.fit(x, y, batch_size=16, epochs=2, verbose=0)
    export(trained, tmp_path, output_names(model))
    content = convert(tmp_path / SERVING_FOLDER, scheme, None)
    (outputs,) = TFLiteModel(content).predict({"x": x}).values()
    # The greatest value itself is at the end.
    assert saturated_share(content, {"x": x}) <= 2 / 2048
    # The float model's is that of the noise, 0.16.
    assert np.mean((outputs - y) ** 2) < 1.02 * np.mean((x @ WEIGHTS - y) ** 2)


def test_lambda_that_depends_on_values_is_refused_by_its_name_or_left_float():
    layers = tf.keras.layers
    doubled = layers.Lambda(lambda x: tf.map_fn(lambda row: row * 2.0, x), name="doubled")
    model = tf.keras.Sequential([layers.Input([4]), layers.Dense(8), doubled, layers.Dense(3)])
    said = {"kind": "qat", "epochs": 1, "learning_rate": 0.01}
    with pytest.raises(ModelError, match=r"cannot quantize doubled \(Lambda\): .*use only TensorFlow functions"):
        quantized(model, QatStep.model_validate(said), StaticWi8Ai8(), steps_per_epoch=1)
    step = QatStep.model_validate({**said, "except": ["doubled"]})
    made = quantized(model, step, StaticWi8Ai8(float_fallback=True), steps_per_epoch=1)
    assert any(layer.name == "doubled" for layer in made.layers)
