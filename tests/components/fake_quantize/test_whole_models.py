"""Small models of the kinds that people build: train one step under quantization, convert, and run in integers."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.core.errors import ModelError
from components.fake_quantize.qat import check_ranges, preview, quantized, trained_ranges
from components.fake_quantize.rewrite import rewrite
from components.model.keras_model import export
from components.model.tflite_file import inspect_model
from components.spec.scheme import StaticWi8Ai8
from components.spec.steps.qat import QatStep

layers = tf.keras.layers
INT8 = StaticWi8Ai8()
STEP = QatStep.model_validate({"kind": "qat", "epochs": 1})


def trained(model, data):
    """The model under fake quantization, after one step."""
    made = quantized(model, STEP, INT8, 1)
    made.compile(tf.keras.optimizers.SGD(1e-3), "mse")
    made.train_on_batch(data, np.zeros((len(data), *made.output_shape[1:]), np.float32))
    check_ranges(trained_ranges(made))
    return made


def converted(made, folder):
    export(made, folder)
    return convert(Path(folder, "Format-Serving"), INT8, None)


def transformer(causal=False):
    ids = layers.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(12, 8, name="tokens")(ids)
    x = x + layers.Embedding(6, 8, name="places")(tf.range(6))
    mixed = layers.MultiHeadAttention(2, 4, dropout=0.1, name="mix")(x, x, use_causal_mask=causal)
    x = layers.LayerNormalization(name="norm")(x + mixed)
    x = layers.Dense(8, activation="gelu", name="widen")(x)
    return tf.keras.Model(ids, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D(name="mean")(x)))


def test_transformer_trains_and_runs_in_integers(tmp_path):
    tf.keras.utils.set_random_seed(21)
    model = transformer()
    ids = np.random.default_rng(22).integers(0, 12, (32, 6)).astype(np.int32)
    made = trained(model, ids)
    content = converted(made, tmp_path)
    assert inspect_model(content).float_tensors == ()
    runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    (output,) = runner.get_output_details().values()
    scale, zero = output["quantization"]
    codes = [next(iter(runner(ids=ids[index : index + 1]).values())) for index in range(8)]
    wanted = made(ids, training=False).numpy()[:8]
    # A difference of one step in a variance is a larger one behind its root.
    assert np.abs((np.concatenate(codes).astype(np.float64) - zero) * scale - wanted).max() < 4 * scale


@pytest.mark.parametrize("causal", [False, True])
def test_written_out_transformer_computes_the_same(causal):
    tf.keras.utils.set_random_seed(23)
    model = transformer(causal)
    ids = np.random.default_rng(24).integers(0, 12, (4, 6)).astype(np.int32)
    np.testing.assert_allclose(rewrite(model).model(ids), model(ids), rtol=1e-4, atol=1e-5)


def test_parts_of_attention_follow_its_name():
    step = QatStep.model_validate({"kind": "qat", "epochs": 1, "except": ["mix"]})
    modes = {one.layer: one.mode for one in preview(transformer(), step, StaticWi8Ai8(float_fallback=True))}
    assert {mode for name, mode in modes.items() if name.split("/")[0] == "mix"} == {"float"}
    assert {modes["widen"], modes["norm"], modes["tokens"]} == {"trained"}


def masked():
    ids = layers.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(12, 8, mask_zero=True, name="tokens")(ids)
    return tf.keras.Model(ids, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D(name="mean")(x)))


def masked_attention():
    series, mask = layers.Input((6, 4), name="series"), layers.Input((6,), dtype="bool", name="mask")
    mixed = layers.Attention(name="mix")([series, series], mask=[None, mask])
    return tf.keras.Model([series, mask], layers.Dense(3, name="head")(mixed))


def masked_heads():
    series, mask = layers.Input((6, 4), name="series"), layers.Input((6, 6), dtype="bool", name="mask")
    mixed = layers.MultiHeadAttention(2, 4, name="mix")(series, series, attention_mask=mask)
    return tf.keras.Model([series, mask], layers.Dense(3, name="head")(mixed))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            masked_heads,
            "mix (MultiHeadAttention): has no integer form; call it on sequences of vectors, without a mask",
        ),
        (masked_attention, "mix (Attention): has no integer form; call it on sequences of vectors, without a mask"),
        (masked, "mean (GlobalAveragePooling1D): its inputs are masked, and integer kernels use every time step"),
    ],
    ids=["mask of heads", "mask", "mask_zero"],
)
def test_masks_are_refused_with_the_layer_and_the_fix(model, said):
    with pytest.raises(ModelError) as caught:
        quantized(model(), STEP, INT8, 1)
    assert said in str(caught.value)


def test_activity_regularizers_penalize_the_same_outputs_as_in_float():
    x = vector = layers.Input((16,), name="vector")
    x = layers.Dense(40, "relu", activity_regularizer="l1", name="activated")(x)
    x = layers.GaussianNoise(0.1)(layers.Dense(16, activity_regularizer="l2", name="linear")(x))
    x = layers.Reshape((4, 4, 1))(x)
    x = layers.Conv2D(4, 3, activation="relu", activity_regularizer="l2", name="conv")(x)
    model = tf.keras.Model(vector, layers.Dense(2, name="head")(layers.Flatten()(layers.SpatialDropout2D(0.1)(x))))
    data = np.random.default_rng(31).normal(size=(32, 16)).astype(np.float32)

    def penalty(made):
        made.compile("sgd", "mse")
        predicted = made.predict(data, verbose=0)
        return made.evaluate(data, np.zeros_like(predicted), batch_size=32, verbose=0) - np.mean(predicted**2)

    wanted = penalty(model)
    assert wanted > 0.1
    assert penalty(trained(model, data)) == pytest.approx(wanted, rel=0.03)
