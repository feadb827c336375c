"""Models in files other than those of tf-keras, with other types, and with open or fixed dimensions."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models import attention, convolution, dense, dense_outputs, sequence
from benchmarks.zoo_models.entry import ZooModel


def keras3_features(k: Any) -> Any:
    """Two inputs, two outputs, activations and operations that are new in Keras 3."""
    layers = k.layers
    image, vector = k.Input([12, 12, 3], name="image"), k.Input([8], name="vector")
    x = layers.Conv2D(16, 3, activation="hard_silu")(layers.Conv2D(16, 3, activation="silu")(image))
    x = k.ops.mean(x, axis=[1, 2]) * layers.Dense(16, "sigmoid")(vector) + 1.0
    x = k.ops.relu(k.ops.reshape(layers.Dense(24)(x), (-1, 4, 6)))
    return k.Model([image, vector], [layers.Dense(2, name="level")(x), layers.Dense(3, "softmax", name="kind")(x)])


def subclassed(k: Any) -> Any:
    import tensorflow as tf

    class Network(k.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = k.layers.Conv2D(16, 3, activation="relu")
            self.pool, self.head = k.layers.GlobalAveragePooling2D(), k.layers.Dense(5)

        def call(self, inputs: Any) -> Any:
            return self.head(self.pool(self.hidden(inputs)))

    model = Network()
    model(tf.zeros([1, 12, 12, 3]))
    return model


def subclassed_detector(k: Any) -> Any:
    import tensorflow as tf

    class Network(k.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = k.layers.Conv2D(24, 3, strides=2, activation="relu")
            self.boxes, self.scores = k.layers.Conv2D(4, 1), k.layers.Conv2D(2, 1, activation="sigmoid")

        def call(self, inputs: Any) -> Any:
            x = self.hidden(inputs)
            return {"boxes": self.boxes(x), "scores": self.scores(x)}

    model = Network()
    model(tf.zeros([1, 12, 12, 3]))
    return model


def module(k: Any) -> Any:  # noqa: ARG001
    """A `tf.Module` without Keras."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(tf.random.stateless_normal([3, 3, 3, 16], [1, 2]) * 0.2)
    module.head = tf.Variable(tf.random.stateless_normal([16, 4], [3, 4]) * 0.3)

    @tf.function(input_signature=[tf.TensorSpec([None, 12, 12, 3], tf.float32, name="image")])
    def serve(image: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(image, module.kernel, 1, "SAME"))
        return {"scores": tf.reduce_mean(x, [1, 2]) @ module.head}

    module.serve = serve
    return module, {"serving_default": serve}


def other_signature(k: Any) -> Any:  # noqa: ARG001
    """Two signatures, of which the one without the default name is the model."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(tf.random.stateless_normal([20, 64], [1, 2]) * 0.2)
    spec = tf.TensorSpec([None, 20], tf.float32, name="vector")

    @tf.function(input_signature=[spec])
    def embed(vector: Any) -> Any:
        return {"embedding": tf.tanh(vector @ module.kernel)}

    @tf.function(input_signature=[spec])
    def serve(vector: Any) -> Any:
        return {"sum": tf.reduce_sum(vector, -1)}

    module.embed, module.serve = embed, serve
    return module, {"serving_default": serve, "embed": embed}


def bytes_image(k: Any) -> Any:
    """A `uint8` image that is cast first."""
    image = k.Input([16, 16, 3], dtype="uint8", name="image")
    x = k.layers.Rescaling(1 / 255.0)(image)
    return k.Model(
        image, k.layers.Dense(5)(k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(24, 3, activation="relu")(x)))
    )


def counts(k: Any) -> Any:
    import tensorflow as tf

    vector = k.Input([24], dtype="int32", name="counts")
    return k.Model(vector, k.layers.Dense(3)(k.layers.Dense(64, "relu")(tf.cast(vector, tf.float32))))


def flags(k: Any) -> Any:
    import tensorflow as tf

    vector = k.Input([24], dtype="bool", name="flags")
    return k.Model(vector, k.layers.Dense(3)(k.layers.Dense(64, "relu")(tf.cast(vector, tf.float32))))


def categories(k: Any) -> Any:
    layers = k.layers
    kind, vector = k.Input([1], dtype="int32", name="kind"), k.Input([8], name="vector")
    encoded = layers.CategoryEncoding(10, "one_hot")(kind)
    return k.Model([kind, vector], layers.Dense(3)(layers.Dense(64, "relu")(layers.Concatenate()([encoded, vector]))))


def one_hot(k: Any) -> Any:
    import tensorflow as tf

    kind = k.Input([6], dtype="int32", name="kind")
    x = k.layers.Flatten()(tf.one_hot(kind, 10))
    return k.Model(kind, k.layers.Dense(3)(k.layers.Dense(32, "relu")(x)))


def best_class(k: Any) -> Any:
    """Returns a class number, which can't be trained."""
    import tensorflow as tf

    vector = k.Input([24], name="vector")
    return k.Model(vector, tf.argmax(k.layers.Dense(6)(k.layers.Dense(64, "relu")(vector)), -1, output_type=tf.int32))


def open_sizes(k: Any) -> Any:
    image = k.Input([None, None, 3], name="image")
    x = k.layers.Conv2D(24, 3, padding="same", activation="relu")(image)
    return k.Model(image, k.layers.Conv2D(2, 1, activation="sigmoid", name="mask")(x))


def open_length(k: Any) -> Any:
    series = k.Input([None, 6], name="series")
    x = k.layers.GlobalAveragePooling1D()(k.layers.Conv1D(32, 5, padding="same", activation="relu")(series))
    return k.Model(series, k.layers.Dense(3)(x))


def fixed_batch(k: Any) -> Any:
    image = k.Input([12, 12, 3], batch_size=8, name="image")
    x = k.layers.Flatten()(k.layers.Conv2D(16, 3, activation="relu")(image))
    return k.Model(image, k.layers.Dense(4)(x))


def wrapped_function(k: Any) -> Any:
    image = k.Input([12, 12, 3], name="image")
    x = k.layers.Conv2D(16, 3, activation="relu")(k.layers.Lambda(lambda x: x / 2.0 - 1.0)(image))
    return k.Model(image, k.layers.Dense(4)(k.layers.GlobalAveragePooling2D()(x)))


_FILES = "other files"
_TYPES = "types and shapes"
MODELS = (
    ZooModel("h5_cnn", _FILES, convolution.cnn, "h5"),
    ZooModel("saved_model_residual", _FILES, convolution.residual, "saved_model"),
    ZooModel("saved_model_lstm", _FILES, sequence.lstm, "saved_model"),
    ZooModel("keras3_cnn", _FILES, convolution.cnn, "keras3"),
    ZooModel("keras3_residual", _FILES, convolution.residual, "keras3"),
    ZooModel("keras3_detector", _FILES, dense_outputs.detector, "keras3"),
    ZooModel("keras3_lstm", _FILES, sequence.lstm, "keras3"),
    ZooModel("keras3_bidirectional_gru", _FILES, sequence.bidirectional_gru, "keras3"),
    ZooModel("keras3_vision_transformer", _FILES, attention.vision_transformer, "keras3"),
    ZooModel("keras3_features", _FILES, keras3_features, "keras3"),
    ZooModel("exported_keras3_cnn", _FILES, convolution.squeeze_excite, "exported3"),
    ZooModel("exported_keras3_gru", _FILES, sequence.gru, "exported3"),
    ZooModel("exported_keras3_lstm", _FILES, sequence.lstm, "exported3"),
    ZooModel("exported_keras3_bidirectional_gru", _FILES, sequence.bidirectional_gru, "exported3"),
    ZooModel("subclassed", _FILES, subclassed, "subclassed"),
    ZooModel("subclassed_detector", _FILES, subclassed_detector, "subclassed"),
    ZooModel("module", _FILES, module, "graph"),
    ZooModel("other_signature", _FILES, other_signature, "graph", baseline={"signature": "embed"}),
    ZooModel("tflite_mlp", _FILES, dense.mlp, "tflite"),
    ZooModel("tflite_residual", _FILES, convolution.residual, "tflite"),
    ZooModel("tflite_detector", _FILES, dense_outputs.detector, "tflite"),
    ZooModel("bytes_image", _TYPES, bytes_image, high=256),
    ZooModel("counts", _TYPES, counts, high=20),
    ZooModel("flags", _TYPES, flags, high=2),
    ZooModel("categories", _TYPES, categories, high=10),
    ZooModel("one_hot", _TYPES, one_hot, high=10),
    ZooModel("best_class", _TYPES, best_class),
    ZooModel("open_sizes", _TYPES, open_sizes, baseline={"input_shapes": {"image": [12, 12, 3]}}),
    ZooModel("open_length", _TYPES, open_length, baseline={"input_shapes": {"series": [16, 6]}}),
    ZooModel("fixed_batch", _TYPES, fixed_batch),
    ZooModel("lambda_layer", _TYPES, wrapped_function, baseline={"trust_code": True}),
)
