"""What the SavedModel of a Keras model holds."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import export
from components.model.saved_model import refuse_state

layers = tf.keras.layers


def test_saved_model_holds_the_tables_of_lookup_layers(tmp_path):
    ids = layers.Input([2], dtype="int64", name="ids")
    known = layers.IntegerLookup(vocabulary=[30, 10, 20], name="known")(ids)
    export(tf.keras.Model(ids, layers.Embedding(4, 1, embeddings_initializer="uniform")(known)), tmp_path)
    serve = tf.saved_model.load(str(tmp_path / SERVING_FOLDER)).signatures["serving_default"]
    (rows,) = serve(ids=tf.constant([[30, 10], [20, 20], [99, 98]], tf.int64)).values()
    first, second, third, unknown = rows.numpy()[[0, 0, 1, 2], [0, 1, 0, 0], 0]
    assert len({first, second, third, unknown}) == 4
    assert rows[1, 1, 0] == third
    assert rows[2, 1, 0] == unknown


def test_saved_model_of_a_recurrent_model_has_no_function_but_its_signature(tmp_path):
    x = layers.Input([3, 2], name="x")
    model = tf.keras.Model(x, layers.Bidirectional(layers.GRU(4), name="both")(x))
    export(model, tmp_path)
    folder = tmp_path / SERVING_FOLDER
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].object_graph_def.concrete_functions
    # The function itself, and the wrapper that names its inputs and outputs.
    assert len(functions) <= 2
    values = np.random.default_rng(1).normal(size=(5, 3, 2)).astype(np.float32)
    (found,) = tf.saved_model.load(str(folder)).signatures["serving_default"](x=values).values()
    np.testing.assert_allclose(found, model(values), atol=1e-6)


def test_saved_model_holds_the_state_of_random_layers(tmp_path):
    image = layers.Input([8, 8, 3], name="image")
    model = tf.keras.Model(image, layers.Flatten()(layers.RandomCrop(6, 6)(image)))
    export(model, tmp_path)
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    (found,) = tf.saved_model.load(str(tmp_path / SERVING_FOLDER)).signatures["serving_default"](image=images).values()
    np.testing.assert_allclose(found, model(images, training=False), atol=1e-6)


class _Counting(layers.Layer):
    def call(self, x):
        self.add_metric(tf.reduce_mean(x), name="inner")
        return 2 * x


def test_saved_model_does_not_compute_added_metrics(tmp_path):
    x = layers.Input([3], name="x")
    y = layers.Dense(4)(_Counting()(x))
    model = tf.keras.Model(x, layers.Dense(2)(y))
    model.add_metric(tf.reduce_mean(y), name="mean")
    export(model, tmp_path)
    serve = tf.saved_model.load(str(tmp_path / SERVING_FOLDER)).signatures["serving_default"]
    refuse_state(serve, "model")
    values = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    (found,) = serve(x=values).values()
    np.testing.assert_allclose(found, model(values), atol=1e-6)
    # Training still computes them.
    assert [metric.name for metric in model.metrics] == ["inner", "mean"]
    assert float(model.metrics[0].result()) == pytest.approx(values.mean(), abs=1e-6)
