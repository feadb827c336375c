"""Kinds of models through the second back-end: all integer, and near the float model."""

import numpy as np
import pytest
import tensorflow as tf

from components.convert.aeq.layers import read_graph
from components.convert.aeq.recover import recover
from components.convert.checks.scheme_check import scheme_violations
from components.convert.representative import Sample
from components.convert.tensorflow.converter import convert
from components.core.errors import ConversionError
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.ranges import KeepLayersFloat
from components.spec.scheme import Float32, StaticWi8Ai8, StaticWi8Ai16

RANDOM = np.random.default_rng(11)


def residual(layers):
    image = layers.Input([12, 12, 3], name="image")
    wide = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(image)))
    deep = layers.Conv2D(8, 1)(layers.DepthwiseConv2D(3, padding="same", activation="relu")(wide))
    both = layers.Concatenate()([layers.Add()([wide, deep]), image])
    pooled = layers.Flatten()(layers.AveragePooling2D(2)(both))
    return [image], layers.Dense(1, activation="sigmoid")(pooled)


def transformer(layers):
    tokens = layers.Input([10], dtype="int32", name="tokens")
    embedded = layers.Embedding(50, 16)(tokens)
    attended = layers.LayerNormalization()(embedded + layers.MultiHeadAttention(2, 8)(embedded, embedded))
    return [tokens], layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Dense(32, "gelu")(attended)))


def temporal(layers):
    steps = layers.Input([20, 4], name="steps")
    hidden = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(steps)
    hidden = layers.Conv1D(8, 3, padding="causal", activation="swish")(hidden)
    return [steps], layers.Dense(2)(layers.Flatten()(hidden))


def shared(layers):
    zeta, alpha = layers.Input([4], name="zeta"), layers.Input([4], name="alpha")
    both = layers.Dense(8, "relu")
    return [zeta, alpha], layers.Dense(2, "tanh")(layers.Concatenate()([both(zeta), both(alpha)]))


@pytest.fixture(scope="module", params=[residual, transformer, temporal, shared], ids=lambda make: make.__name__)
def family(request, save):
    tf.keras.utils.set_random_seed(9)
    inputs, output = request.param(tf.keras.layers)
    model = tf.keras.Model(inputs, output)
    specs = {one.name: tf.TensorSpec([None, *one.shape[1:]], one.dtype, name=one.name) for one in inputs}
    folder = save(lambda *values: {"out": model(list(values))}, *specs.values(), variables=model.variables)
    values = {
        name: RANDOM.integers(0, 50, [60, *spec.shape[1:]]).astype(np.int32)
        if spec.dtype == tf.int32
        else RANDOM.normal(size=[60, *spec.shape[1:]]).astype(np.float32)
        for name, spec in specs.items()
    }
    return convert(folder, Float32(), None), Sample(values), request.param.__name__


# ai-edge-quantizer has no 16-bit squared difference, which a LayerNormalization becomes.
@pytest.mark.parametrize(
    ("scheme", "tolerance"),
    [
        (StaticWi8Ai8(calibration_method="mse"), 0.01),
        (StaticWi8Ai8(calibration_method="percentile", granularity="per_tensor"), 0.01),
        (StaticWi8Ai16(calibration_method="mse"), 1e-4),
    ],
    ids=["int8", "per_tensor", "int16"],
)
def test_file_is_all_integers_and_near_float(family, scheme, tolerance):
    content, sample, name = family
    if name == "transformer" and isinstance(scheme, StaticWi8Ai16):
        with pytest.raises(ConversionError, match="cannot be injected into SQUARED_DIFFERENCE"):
            recover(content, scheme, sample)
        return
    made = recover(content, scheme, sample)
    inspection = inspect_model(made.content)
    assert inspection.integer_only
    assert scheme_violations(scheme, inspection) == []
    (expected,), (found,) = (TFLiteModel(one).predict(sample.inputs).values() for one in (content, made.content))
    assert ((found - expected) ** 2).sum() <= tolerance * (expected**2).sum()


def test_any_layer_can_be_kept_float(family):
    content, sample, _ = family
    for layer in read_graph(content).layers:
        scheme = StaticWi8Ai8(keep_float=KeepLayersFloat(names=(layer.name.replace("[", "?"),)))
        made = recover(content, scheme, Sample({name: values[:8] for name, values in sample.inputs.items()}))
        assert [one.layer for one in made.sensitivity if one.kept_float] == [layer.name]
        inspection = inspect_model(made.content)
        assert scheme_violations(scheme, inspection, made.kept_tensors) == []
        assert inspection.float_tensors
