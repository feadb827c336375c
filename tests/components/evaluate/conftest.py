import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

TASK = """
import tensorflow as tf


class Images:
    def feature_spec(self):
        return {
            "image": tf.io.FixedLenFeature([64], tf.float32),
            "label": tf.io.FixedLenFeature([], tf.int64),
            "positive": tf.io.FixedLenFeature([], tf.float32),
            "site": tf.io.FixedLenFeature([], tf.string),
            "notes": tf.io.VarLenFeature(tf.string),
        }

    def decode(self, features):
        return {"image": tf.reshape(features["image"], [-1, 8, 8, 1])}


TASK = Images()
"""

CLASSES = 4


@dataclass(frozen=True)
class World:
    """A little classifier in all formats, and examples for it."""

    saved_model: Path
    binary_model: Path
    tflite: dict[str, Path]
    files: list[str]
    images: np.ndarray
    labels: np.ndarray
    sites: np.ndarray

    def baseline(self, images):
        import tensorflow as tf

        loaded = tf.saved_model.load(str(self.saved_model))
        return loaded.signatures["serving_default"](image=tf.constant(images))["probabilities"].numpy()

    def candidate(self, name):
        """One example at a time, written without the code under test."""
        import tensorflow as tf

        interpreter = tf.lite.Interpreter(str(self.tflite[name]))
        interpreter.allocate_tensors()
        (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
        rows = []
        for image in self.images:
            value = image[None]
            if source["dtype"] != np.float32:
                scale, zero_point = source["quantization"]
                bounds = np.iinfo(source["dtype"])
                value = np.round(value / np.float32(scale)) + zero_point
                value = np.minimum(np.maximum(value, bounds.min), bounds.max).astype(source["dtype"])
            interpreter.set_tensor(source["index"], value)
            interpreter.invoke()
            row = interpreter.get_tensor(sink["index"])[0]
            if sink["dtype"] != np.float32:
                scale, zero_point = sink["quantization"]
                row = (row.astype(np.float32) - zero_point) * np.float32(scale)
            rows.append(row)
        return np.array(rows)


def _write_examples(path, rows):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row in rows:
            writer.write(serialized(**row))
    return str(path)


def serialized(**features):
    import tensorflow as tf

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))

    named = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def row_of(image, label, site=b"a"):
    return {"image": image, "label": int(label), "positive": float(label >= 2), "site": site}


def convert(function, model, calibration=None, integer=None):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([value] for value in calibration)
        converter.inference_input_type = converter.inference_output_type = integer
        operators = {
            tf.int8: tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.int16: tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        converter.target_spec.supported_ops = [operators[integer]]
    return converter.convert()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(7)
    patterns = random.uniform(size=(CLASSES, 8, 8, 1))
    labels = random.choice(CLASSES, 240, p=[0.4, 0.3, 0.2, 0.1])
    images = np.clip(patterns[labels] * 0.5 + random.normal(size=(240, 8, 8, 1), scale=0.45), -0.5, 1.5)
    images = images.astype(np.float32)
    sites = np.array([b"a", b"b"])[random.integers(2, size=240)]

    model = tf.Module()
    model.kernel = tf.Variable(random.normal(size=(3, 3, 1, 8), scale=0.3).astype(np.float32))

    def hidden(image):
        return tf.reshape(tf.nn.relu(tf.nn.conv2d(image, model.kernel, 1, "VALID")), [-1, 288])

    targets = np.eye(CLASSES)[labels[:160]] * 4
    weights = np.linalg.lstsq(hidden(images[:160]).numpy(), targets, rcond=1e-2)[0]
    model.weights = tf.Variable(weights.astype(np.float32))

    def probabilities(image):
        return tf.nn.softmax(tf.matmul(hidden(image), model.weights))

    image = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")
    serve = tf.function(lambda image: {"probabilities": probabilities(image)}, input_signature=[image])
    tf.saved_model.save(model, str(folder / "saved_model"), signatures={"serving_default": serve})
    binary = tf.function(
        lambda image: {"positive": tf.reduce_sum(probabilities(image)[:, 2:], axis=1, keepdims=True)},
        input_signature=[image],
    )
    tf.saved_model.save(model, str(folder / "binary_model"), signatures={"serving_default": binary})

    one = tf.TensorSpec([1, 8, 8, 1], tf.float32, name="image")
    calibration = [each[None] for each in np.clip(images[:40], 0, 1)]
    concrete, concrete_binary = serve.get_concrete_function(one), binary.get_concrete_function(one)
    contents = {
        "float32": convert(concrete, model),
        "int8": convert(concrete, model, calibration, tf.int8),
        "int16": convert(concrete, model, calibration, tf.int16),
        "binary": convert(concrete_binary, model, calibration, tf.int8),
    }
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    rows = [row_of(*each) for each in zip(images, labels, sites, strict=True)]
    files = [_write_examples(folder / f"part-{i}.gz", rows[i::2]) for i in range(2)]
    order = np.r_[0:240:2, 1:240:2]
    return World(
        folder / "saved_model",
        folder / "binary_model",
        {name: folder / f"{name}.tflite" for name in contents},
        files,
        images[order],
        labels[order],
        sites[order],
    )


@pytest.fixture(scope="session")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "evaluate_test_task.py").write_text(TASK)
    sys.path.insert(0, str(folder))
    yield "evaluate_test_task:TASK"
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def write_examples():
    return _write_examples
