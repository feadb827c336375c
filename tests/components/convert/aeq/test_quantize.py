"""The second back-end against the first, against the ranges that it was given, and against the float model."""

import numpy as np
import pytest
import tensorflow as tf

from components.convert.aeq.activations import histograms_of
from components.convert.aeq.layers import read_graph
from components.convert.aeq.quantize import quantize_all
from components.convert.aeq.recover import recover
from components.convert.checks.scheme_check import scheme_violations
from components.convert.representative import Sample
from components.convert.tensorflow.converter import convert
from components.core.errors import ConversionError
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.ranges import KeepLayersFloat, Percentile
from components.spec.scheme import Float32, StaticWi8Ai8, StaticWi8Ai16
from tests.artifacts import saturated_share


@pytest.fixture(scope="module")
def content(convnet):
    return convert(convnet.saved_model, Float32(), None)


@pytest.fixture(scope="module")
def images(convnet):
    return convnet.images[:, 0]


def sample_of(images):
    return Sample({"image": images})


def scales(content):
    """Scale and zero point of each activation, by name."""
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return {
        detail["name"]: detail["quantization"]
        for detail in interpreter.get_tensor_details()
        if detail["quantization"][0]
    }


def error(content, images, convnet):
    (found,) = TFLiteModel(content).predict({"image": images}).values()
    expected = np.concatenate([convnet.oracle(image[None]) for image in images])
    return float(np.sum((found - expected) ** 2) / np.sum(expected**2))


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("kind", [StaticWi8Ai8, StaticWi8Ai16], ids=lambda kind: kind.__name__)
def test_whole_ranges_give_what_tensorflows_converter_gives(content, convnet, images, kind, granularity):
    scheme = kind(granularity=granularity)
    ours = recover(
        content, kind(granularity=granularity, calibration_method=Percentile(percentile=100)), sample_of(images)
    ).content
    theirs = convert(convnet.saved_model, scheme, convnet.samples)
    found, expected = scales(ours), scales(theirs)
    activations = [name for name in read_graph(content).activations if name in expected]
    assert len(activations) >= 3
    for name in activations:
        assert found[name] == (pytest.approx(expected[name][0], rel=1e-5), expected[name][1])
    weights = {weight.shape: (weight.dtype, weight.scales) for weight in inspect_model(theirs).weights}
    assert {weight.shape: (weight.dtype, weight.scales) for weight in inspect_model(ours).weights} == weights
    assert error(ours, images, convnet) == pytest.approx(error(theirs, images, convnet), rel=0.2)


@pytest.mark.parametrize("kind", ["percentile", "mse", "entropy"])
def test_chosen_range_is_in_the_file_and_in_the_facts(content, convnet, images, kind):
    scheme = StaticWi8Ai8.model_validate({"calibration_method": kind})
    made = recover(content, scheme, sample_of(images))
    found = scales(made.content)
    assert [fact.clipped for fact in made.ranges] == sorted((fact.clipped for fact in made.ranges), reverse=True)
    assert {"serving_default_image:0"} < {fact.tensor for fact in made.ranges}
    for fact in made.ranges:
        low, high = fact.chosen
        scale, zero = found[fact.tensor]
        assert scale == pytest.approx((high - low) / 255, rel=1e-6)
        assert zero == round(-128 - low / scale)
        assert fact.observed[0] <= low <= 0 <= high <= fact.observed[1]
    assert sum(made.ranges[0].histogram) > 0 and not made.ranges[1].histogram
    inspection = inspect_model(made.content)
    assert inspection.integer_only
    assert scheme_violations(scheme, inspection) == []
    assert error(made.content, images, convnet) < 2e-3


def test_percentile_is_that_of_all_values_of_the_sample(content, images):
    made = recover(content, StaticWi8Ai8(calibration_method=Percentile(percentile=99)), sample_of(images))
    chosen = {fact.tensor: fact.chosen for fact in made.ranges}
    assert chosen["serving_default_image:0"] == (0.0, pytest.approx(np.percentile(images, 99), abs=2e-3))


def test_model_outputs_are_never_clipped(content, convnet, images):
    made = recover(content, StaticWi8Ai8(calibration_method=Percentile(percentile=60)), sample_of(images))
    (output,) = read_graph(content).outputs
    (fact,) = [fact for fact in made.ranges if fact.tensor == output]
    expected = np.concatenate([convnet.oracle(image[None]) for image in images])
    assert fact.chosen == fact.observed
    assert fact.chosen == (pytest.approx(expected.min(), rel=1e-4), pytest.approx(expected.max(), rel=1e-4))


@pytest.mark.parametrize(
    "end",
    [
        lambda a, b: tf.reshape(a, [-1, 2, 2]),
        lambda a, b: a + b,
        lambda a, b: tf.nn.relu(a) - b,
        lambda a, b: tf.concat([a, b], axis=1),
    ],
    ids=["moved", "sum", "difference", "concatenation"],
)
def test_what_outputs_are_made_of_is_never_clipped(save, end):
    random = np.random.default_rng(9)
    kernel = tf.Variable(random.normal(size=(8, 4)).astype(np.float32))

    def serve(x):
        return {"y": end(tf.matmul(x, kernel), tf.matmul(x, kernel[::-1]))}

    folder = save(serve, tf.TensorSpec([None, 8], tf.float32, name="x"), variables=[kernel])
    x = random.uniform(-1, 1, size=(200, 8)).astype(np.float32)
    whole = convert(folder, Float32(), None)
    made = recover(whole, StaticWi8Ai8(calibration_method=Percentile(percentile=80)), Sample({"x": x}))
    # One value at either end is the least, or the largest; rounding may bring its neighbor there.
    assert saturated_share(made.content, {"x": x}) <= 5e-3
    assert {fact.tensor for fact in made.ranges if fact.clipped} == {"serving_default_x:0"}


def test_an_outlier_hurts_min_max_and_estimators_win_it_back(content, convnet):
    images = np.abs(np.random.default_rng(8).normal(size=(200, 8, 8, 1))).astype(np.float32)
    spoilt = np.concatenate([images, images[:1]])
    spoilt[-1, 0, 0, 0] = 300.0

    def error_of(sample, **ranges):
        return error(
            recover(content, StaticWi8Ai8.model_validate({"calibration_method": ranges}), sample_of(sample)).content,
            images,
            convnet,
        )

    whole = {"kind": "percentile", "percentile": 100}
    clean, min_max = error_of(images, **whole), error_of(spoilt, **whole)
    assert clean < 2e-3
    assert min_max > 0.1
    assert error_of(spoilt, kind="percentile", percentile=99.99) < 0.02 * min_max
    assert error_of(spoilt, kind="percentile") < 0.05 * min_max
    assert error_of(spoilt, kind="entropy") < 0.02 * min_max


def test_border_is_float_when_asked_and_symmetric_int16_in_16x8(content, images, convnet):
    floats = recover(content, StaticWi8Ai8(calibration_method="percentile", float_io=True), sample_of(images)).content
    assert [tensor.dtype for tensor in inspect_model(floats).inputs + inspect_model(floats).outputs] == ["FLOAT32"] * 2
    assert scheme_violations(StaticWi8Ai8(calibration_method="percentile", float_io=True), inspect_model(floats)) == []
    scheme = StaticWi8Ai16(calibration_method="percentile")
    wide = recover(content, scheme, sample_of(images))
    assert scheme_violations(scheme, inspect_model(wide.content)) == []
    assert [tensor.dtype for tensor in inspect_model(wide.content).inputs] == ["INT16"]
    found = scales(wide.content)
    for fact in wide.ranges:
        assert fact.chosen[0] == -fact.chosen[1]
        assert found[fact.tensor] == (pytest.approx(fact.chosen[1] / 32767, rel=1e-6), 0)
    assert error(wide.content, images, convnet) < 1e-3


def test_file_is_the_same_and_found_by_the_evaluator_when_repeated(content, images):
    scheme = StaticWi8Ai8(calibration_method="mse")
    first, second = (recover(content, scheme, sample_of(images)).content for _ in range(2))
    assert first == second
    assert tf.lite.Interpreter(model_content=first).get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["logits"]}
    }
    assert inspect_model(first).inputs[0].name == "serving_default_image:0"
    assert TFLiteModel(first).input_names == ("image",)


def test_softmax_keeps_the_scale_that_tflite_fixes(save):
    weights = tf.Variable(np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32))
    folder = save(
        lambda x: {"p": tf.nn.softmax(tf.matmul(x, weights))},
        tf.TensorSpec([None, 6], tf.float32, name="x"),
        variables=[weights],
    )
    content = convert(folder, Float32(), None)
    values = np.random.default_rng(2).normal(size=(200, 6)).astype(np.float32)
    made = recover(content, StaticWi8Ai8(calibration_method="entropy"), Sample({"x": values}))
    (output,) = read_graph(content).outputs
    assert scales(made.content)[output] == (1 / 256, -128)
    assert output not in {fact.tensor for fact in made.ranges}


@pytest.mark.parametrize("kind", [StaticWi8Ai8, StaticWi8Ai16], ids=lambda kind: kind.__name__)
def test_tensor_of_zeros_alone_gets_a_scale_that_kernels_take(save, kind):
    kernel, matrix = tf.Variable(-np.ones((3, 3, 1, 2), np.float32)), tf.Variable(np.ones((32, 2), np.float32))

    def serve(x):
        zeros = tf.nn.relu6(tf.nn.conv2d(x, kernel, 1, "VALID"))
        return {"y": tf.matmul(tf.reshape(zeros, [-1, 32]), matrix) + 1.0}

    folder = save(serve, tf.TensorSpec([None, 6, 6, 1], tf.float32, name="x"), variables=[kernel, matrix])
    content = convert(folder, Float32(), None)
    sample = Sample({"x": np.random.default_rng(3).uniform(size=(20, 6, 6, 1)).astype(np.float32)})
    made = recover(content, kind(calibration_method="percentile"), sample)
    (values,) = TFLiteModel(made.content).predict(sample.inputs).values()
    assert values == pytest.approx(np.ones((20, 2)), abs=0.01)


def test_bias_that_its_32_bits_do_not_hold_is_refused(save):
    weights = tf.Variable(np.ones((4, 2), np.float32))
    folder = save(
        lambda x: {"y": tf.matmul(x, weights) + 1.0},
        tf.TensorSpec([None, 4], tf.float32, name="x"),
        variables=[weights],
    )
    content = convert(folder, Float32(), None)
    values = np.random.default_rng(3).uniform(size=(20, 4)).astype(np.float32)
    assert recover(content, StaticWi8Ai8(calibration_method="mse"), Sample({"x": values * 1e-3})).content
    with pytest.raises(ConversionError, match=r"the bias .* does not fit in 32 bits.*scale the layer's inputs up"):
        recover(content, StaticWi8Ai8(calibration_method="mse"), Sample({"x": values * 1e-9}))


@pytest.fixture(scope="module")
def lstm(save):
    import tf_keras

    tf_keras.utils.set_random_seed(5)
    sequence = tf_keras.Input((6, 5), name="sequence")
    hidden = tf_keras.layers.LSTM(7)(sequence)
    model = tf_keras.Model(sequence, tf_keras.layers.Dense(3, "relu")(tf_keras.layers.Dense(9)(hidden)))
    spec = tf.TensorSpec([None, 6, 5], tf.float32, name="sequence")
    folder = save(lambda sequence: {"state": model(sequence)}, spec, variables=model.variables)
    return convert(folder, Float32(), None)


def test_lstm_is_refused_by_name_before_anything_is_quantized(lstm):
    sample = Sample({"sequence": np.zeros((2, 6, 5), np.float32)})
    with pytest.raises(
        ConversionError, match=r"cannot be injected into UNIDIRECTIONAL_SEQUENCE_LSTM.*leave out `calibration_method`"
    ):
        recover(lstm, StaticWi8Ai8(calibration_method="percentile"), sample)


def test_lstm_stays_float_when_the_scheme_allows_and_its_state_never_does(lstm):
    same = np.repeat(np.random.default_rng(6).normal(size=(1, 6, 5)), 4, axis=0).astype(np.float32)
    counted = histograms_of(lstm, read_graph(lstm), Sample({"sequence": same}))
    assert all(set(histogram.counts() % 4) == {0} for histogram in counted.values())
    scheme = StaticWi8Ai8(calibration_method="percentile", float_fallback=True)
    made = recover(lstm, scheme, Sample({"sequence": same}))
    inspection = inspect_model(made.content)
    assert scheme_violations(scheme, inspection) == []
    assert {weight.dtype for weight in inspection.weights} == {"FLOAT32", "INT8"}


def test_back_end_says_what_it_misses_when_a_range_is_not_given(content):
    with pytest.raises(ConversionError, match="ai-edge-quantizer refused the model: Failed to get quantization param"):
        quantize_all(content, StaticWi8Ai8(calibration_method="percentile"), {"serving_default_image:0": (0.0, 1.0)})


def test_named_layer_alone_is_float(content, images, convnet):
    names = [layer.name for layer in read_graph(content).layers]
    scheme = StaticWi8Ai8(keep_float=KeepLayersFloat(names=(names[0],)))
    made = recover(content, scheme, sample_of(images))
    assert [one.layer for one in made.sensitivity if one.kept_float] == [names[0]]
    inspection = inspect_model(made.content)
    assert {weight.shape: weight.dtype for weight in inspection.weights} == {(8, 3, 3, 1): "FLOAT32", (10, 288): "INT8"}
    assert [tensor.dtype for tensor in inspection.inputs + inspection.outputs] == ["INT8", "INT8"]
    assert scheme_violations(scheme, inspection, made.kept_tensors) == []
    assert "float tensors inside the model: " in scheme_violations(scheme, inspection)[0]
    assert error(made.content, images, convnet) < 1e-3
