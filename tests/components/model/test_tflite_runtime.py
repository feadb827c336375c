import numpy as np
import pytest

from components.core.errors import DataError, ModelError
from components.model.tflite_runtime import TFLiteModel
from components.ranges.affine import dequantize, quantize


def convert(function, *specs, model=None):
    import tensorflow as tf

    concrete = tf.function(function).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model or tf.Module()).convert()


def image(batch=1, name="image"):
    import tensorflow as tf

    return tf.TensorSpec([batch, 4], tf.float32, name=name)


def test_quantize_saturates_when_values_are_out_of_range():
    values = np.array([-9.0, -1.28, -0.006, 0.004, 0.016, 1.27, 1.3, 9.0, np.inf], np.float32)
    expected = [-128, -128, -1, 0, 2, 127, 127, 127, 127]
    np.testing.assert_array_equal(quantize(values, 0.01, 0, np.int8), np.array(expected, np.int8))
    # What the stock extractor does: it truncates, and what does not fit wraps around and changes its sign.
    stock = (np.array([1.3, -0.006, 0.016], np.float32) / 0.01 + 0).astype(np.int64).astype(np.int8)
    np.testing.assert_array_equal(stock, [-126, 0, 1])


@pytest.mark.parametrize(("dtype", "zero_point"), [(np.int8, -128), (np.uint8, 3), (np.int16, 0)])
def test_quantize_then_dequantize_is_off_by_half_a_step_when_in_range(dtype, zero_point):
    values = np.linspace(0, 2, 777, dtype=np.float32)
    back = dequantize(quantize(values, 0.01, zero_point, dtype), 0.01, zero_point)
    assert back.dtype == np.float32
    assert 0.0049 < np.abs(back - values).max() < 0.00501


def test_quantize_refuses_when_there_is_a_nan():
    with pytest.raises(DataError, match=r"a NaN cannot be quantized .*2 NaN among 3 values"):
        quantize(np.array([1, np.nan, np.nan]), 1.0, 0, np.int8)


def test_predict_batches_when_every_example_stands_alone():
    import tensorflow as tf

    weights = tf.constant(np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32))
    model = TFLiteModel(convert(lambda image: tf.reshape(image, [-1, 4]) @ weights, image()))
    inputs = np.random.default_rng(2).normal(size=(150, 4)).astype(np.float32)
    assert model.batched
    (outputs,) = model.predict({"image": inputs}).values()
    assert outputs.shape == (150, 3)
    np.testing.assert_allclose(outputs, inputs @ weights.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["constant reshape", "mixes the batch"])
def test_predict_runs_one_by_one_when_a_batch_would_change_results(kind):
    import tensorflow as tf

    def reshape(image):
        return tf.reduce_max(tf.reshape(image, [1, 2, 2]), axis=2)

    def mix(image):
        return image / tf.reduce_max(tf.abs(image))

    model = TFLiteModel(convert(reshape if kind == "constant reshape" else mix, image()))
    inputs = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)
    assert not model.batched
    (outputs,) = model.predict({"": inputs}).values()
    pairs, whole = inputs.reshape(9, 2, 2).max(axis=2), inputs / np.abs(inputs).max(axis=1, keepdims=True)
    expected = pairs if kind == "constant reshape" else whole
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["transposed", "dilated"])
def test_model_survives_and_runs_one_by_one_when_a_resize_would_kill_the_process(kind):
    import tensorflow as tf

    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(4)
    if kind == "transposed":  # XNNPACK would write past the output's fixed shape
        middle = [layers.Conv2DTranspose(3, 3, strides=2), layers.GlobalAveragePooling2D()]
    else:  # allocating again after the failed resize divides by zero
        middle = [layers.Reshape([64, 1]), layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="swish")]
    model = tf.keras.Sequential([layers.Input([8, 8, 1]), *middle, layers.Flatten(), layers.Dense(2)])
    spec = tf.TensorSpec([1, 8, 8, 1], tf.float32, name="image")
    loaded = TFLiteModel(convert(lambda image: {"out": model(image)}, spec, model=model))
    values = np.random.default_rng(1).normal(size=(5, 8, 8, 1)).astype(np.float32)
    for _ in range(3):
        (outputs,) = loaded.predict({"image": values}).values()
        assert np.allclose(outputs, model(values), atol=1e-5)
    assert not loaded.batched


def test_predict_maps_inputs_by_name_when_there_are_two():
    content = convert(lambda first, second: first - 10.0 * second, image(name="first"), image(name="second"))
    model = TFLiteModel(content)
    ones, twos = np.ones((5, 4), np.float32), np.full((5, 4), 2, np.float32)
    (outputs,) = model.predict({"second": ones, "first": twos}).values()
    np.testing.assert_array_equal(outputs, np.full((5, 4), -8))
    with pytest.raises(DataError, match=r"the model's input 'second' is missing .*expected: first, second"):
        model.predict({"first": ones})
    with pytest.raises(DataError, match="the model has no input 'third'"):
        model.predict({"first": ones, "second": ones, "third": ones})
    with pytest.raises(DataError, match="the model's input 'first' is missing"):
        model.predict({"": ones})


def test_predict_refuses_when_shape_or_type_is_wrong():
    model = TFLiteModel(convert(lambda image: image * 2.0, image()))
    with pytest.raises(DataError, match=r"'image' has the wrong shape .*expected: \[batch, 4\]; found: \[3, 5\]"):
        model.predict({"image": np.zeros((3, 5), np.float32)})
    with pytest.raises(DataError, match=r"'image' has the wrong type .*expected: float32; found: complex64"):
        model.predict({"image": np.zeros((3, 4), np.complex64)})


@pytest.fixture(scope="module")
def lstm():
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(4)
    model = tf_keras.Sequential([tf_keras.layers.Input((6, 3)), tf_keras.layers.LSTM(5), tf_keras.layers.Dense(2)])
    spec = tf.TensorSpec([1, 6, 3], tf.float32, name="sequence")
    return model, convert(model, spec, model=model)


def test_predict_resets_state_when_the_model_keeps_it(lstm):
    import tensorflow as tf

    keras, content = lstm
    sequences = np.random.default_rng(5).normal(size=(8, 6, 3)).astype(np.float32)
    model = TFLiteModel(content)
    assert model.stateful
    (outputs,) = model.predict({"sequence": sequences}).values()
    np.testing.assert_allclose(outputs, keras(sequences).numpy(), atol=1e-5)
    (again,) = model.predict({"sequence": sequences[::-1]}).values()
    np.testing.assert_array_equal(again[::-1], outputs)

    # What happens to those who do not reset it.
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    naive = []
    for sequence in sequences:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sequence[None])
        interpreter.invoke()
        naive.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    np.testing.assert_array_equal(naive[0], outputs[0])
    assert np.abs(np.array(naive) - outputs)[1:].max() > 0.01


def test_model_refuses_when_it_assigns_to_variables():
    import tensorflow as tf

    module = tf.Module()
    module.count = tf.Variable(tf.zeros([1, 4]))

    def step(image):
        module.count.assign_add(image)
        return module.count + 0.0

    concrete = tf.function(step).get_concrete_function(image())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.experimental_enable_resource_variables = True
    with pytest.raises(ModelError, match="assigns to resource variables"):
        TFLiteModel(converter.convert())


def test_model_refuses_when_the_runtime_lacks_an_operator():
    import tensorflow as tf

    vector = tf.TensorSpec([1, 3], tf.float32, name="vector")
    concrete = tf.function(lambda vector: tf.linalg.cross(vector, vector + 1.0)).get_concrete_function(vector)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.allow_custom_ops = True
    with pytest.raises(ModelError, match=r"the TFLite runtime rejects the file: (.|\n)*custom op: Cross"):
        TFLiteModel(converter.convert())
