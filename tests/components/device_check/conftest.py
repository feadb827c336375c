import numpy as np
import pytest


def convert(model, shape, calibration=None, optimize=False):
    import tensorflow as tf

    concrete = tf.function(lambda x: {"y": model(x)}).get_concrete_function(
        tf.TensorSpec((1, *shape), tf.float32, name="x")
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if optimize or calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if calibration is not None:
        converter.representative_dataset = lambda: ([one[None]] for one in calibration)
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


@pytest.fixture(scope="session")
def examples():
    """Input of a kind of model -> float32 [24, ...]."""
    random = np.random.default_rng(3)
    return {
        name: random.normal(size=(24, *shape)).astype(np.float32)
        for name, shape in (("image", (8, 8, 1)), ("sequence", (6, 4)), ("vector", (8,)))
    }


def weight(random, *shape):
    import tensorflow as tf

    return tf.Variable(random.normal(size=shape, scale=0.3).astype(np.float32))


@pytest.fixture(scope="session")
def image_model():
    """The float model of the kind `image`."""
    import tensorflow as tf

    random = np.random.default_rng(4)

    class Image(tf.Module):
        kernel, weights = weight(random, 3, 3, 1, 8), weight(random, 288, 4)

        def __call__(self, x):
            hidden = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "VALID"))
            return tf.nn.softmax(tf.matmul(tf.reshape(hidden, [-1, 288]), self.weights))

    return Image()


@pytest.fixture(scope="session")
def files(examples, image_model):
    """Name -> TFLite file."""
    import tensorflow as tf

    random, image = np.random.default_rng(5), image_model

    class Vector(tf.Module):
        first, second = weight(random, 8, 16), weight(random, 16, 3)

        def __call__(self, x):
            # An operator in the middle that neither the NPU nor the integer format has.
            return tf.matmul(tf.cumsum(tf.matmul(x, self.first), axis=1), self.second)

    vector = Vector()
    tf.keras.utils.set_random_seed(5)
    source = tf.keras.Input((6, 4), batch_size=1)
    recurrent = tf.keras.Model(source, tf.keras.layers.Dense(3)(tf.keras.layers.LSTM(8)(source)))
    return {
        "int8": convert(image, (8, 8, 1), examples["image"]),
        "float": convert(image, (8, 8, 1)),
        "dynamic": convert(image, (8, 8, 1), optimize=True),
        "cumsum": convert(vector, (8,), examples["vector"]),
        "lstm": convert(recurrent, (6, 4), examples["sequence"]),
        "float_lstm": convert(recurrent, (6, 4)),
    }
