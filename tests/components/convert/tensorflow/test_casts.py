"""Integer and boolean inputs and outputs in integer files, against the float model and a plain interpreter loop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.convert.checks.scheme_check import scheme_violations
from components.convert.compaction import compacted
from components.convert.tensorflow.converter import convert
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import export
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.schemes.base import StaticScheme
from components.spec.schemes.static import StaticWi8Ai8, StaticWi8Ai16

layers = tf.keras.layers


def model_of(given: str, returned: str) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(1)
    image = tf.keras.Input([6, 6, 1], dtype=given, name="image")
    values = layers.Conv2D(4, 3, activation="relu")(tf.cast(image, tf.float32) / 64.0)
    scores = layers.Dense(3)(layers.Flatten()(values))
    if returned != "float32":
        scores = tf.cast(tf.nn.sigmoid(scores) * 200.0, returned)
    return tf.keras.Model(image, scores)


def images_of(dtype: str) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, [12, 6, 6, 1])
    return drawn.astype(dtype)


@pytest.mark.parametrize("scheme", [StaticWi8Ai8(), StaticWi8Ai16()], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize(
    ("given", "returned"),
    [("uint8", "float32"), ("int8", "float32"), ("int32", "float32"), ("bool", "float32"), ("uint8", "uint8")],
)
def test_integers_at_the_border_are_quantized(tmp_path: Path, given: str, returned: str, scheme: StaticScheme) -> None:
    model = model_of(given, returned)
    export(model, tmp_path)
    images = images_of(given)

    def sample() -> Iterator[dict[str, np.ndarray]]:
        # A task's decode may return a different type than the model takes.
        return ({"image": image[None].astype(np.int64)} for image in images)

    made = convert(tmp_path / SERVING_FOLDER, scheme, sample)
    inspection = inspect_model(made)
    assert scheme_violations(scheme, inspection) == []
    casts = sum(use.count for use in inspection.operators if use.name == "CAST")
    folded = scheme.activation_bits == 8 and given in ("uint8", "int8")
    # What is left of floats is between the cast and the quantized tensors.
    left = (not folded) + (returned == "uint8")
    assert (casts, len(inspection.border_casts), len(inspection.float_tensors)) == (left, left, left)
    assert inspection.integer_only == (folded and returned == "float32")
    assert inspection.inputs[0].dtype == given.upper()

    content = compacted(made)
    expected = np.asarray(model(images)).astype(np.float64)
    (found,) = TFLiteModel(content).predict({"image": images}).values()
    most = 1.0 if returned == "uint8" else 0.05 if scheme.activation_bits == 8 else 0.01
    assert np.abs(found - expected).max() <= most * (1 if returned == "uint8" else np.abs(expected).max())
    # Bytes are their own quantized values, so a loop that knows of no scale gives the file the same.
    run = tf.lite.Interpreter(model_content=content).get_signature_runner()
    raw = np.concatenate([next(iter(run(image=image[None]).values())) for image in images])
    scale, zero_point = next(iter(run.get_output_details().values()))["quantization"]
    # A batch may be rounded in another kernel.
    real = (raw.astype(np.float64) - zero_point) * scale if scale else raw.astype(np.float64)
    np.testing.assert_allclose(real, found, atol=1.01 * scale if scale else 1)


@pytest.mark.parametrize(
    ("returned", "dtype"),
    [
        (lambda scores: tf.argmax(scores, -1, output_type=tf.int32), "INT32"),
        (lambda scores: tf.argmax(scores, -1), "INT64"),
        (lambda scores: scores > 0.0, "BOOL"),
    ],
    ids=["int32", "int64", "bool"],
)
def test_class_numbers_and_flags_are_outputs_of_integer_files(tmp_path: Path, returned: Any, dtype: str) -> None:
    tf.keras.utils.set_random_seed(1)
    vector = tf.keras.Input([8], name="x")
    scores = layers.Dense(6)(layers.Dense(16, "relu")(vector))
    model = tf.keras.Model(vector, returned(scores))
    export(model, tmp_path)
    rows = np.random.default_rng(0).random([80, 8], np.float32)
    content = compacted(convert(tmp_path / SERVING_FOLDER, StaticWi8Ai8(), lambda: ({"x": row[None]} for row in rows)))
    inspection = inspect_model(content)
    assert scheme_violations(StaticWi8Ai8(), inspection) == [] and inspection.integer_only
    assert inspection.outputs[0].dtype == dtype
    (found,) = TFLiteModel(content).predict({"x": rows}).values()
    expected = np.asarray(model(rows))
    assert found.dtype == expected.dtype and found.shape == expected.shape
    # Where float has no near tie, the answers are equal.
    values = np.asarray(tf.keras.Model(vector, scores)(rows))
    top = np.sort(values, axis=-1)
    clear = np.abs(values) > 0.02 if dtype == "BOOL" else top[:, -1] - top[:, -2] > 0.04
    assert clear.mean() > 0.6
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_sum_of_casts_of_one_input_stays_a_violation(tmp_path: Path) -> None:
    image = tf.keras.Input([4, 4, 1], dtype="uint8", name="image")
    values = tf.cast(image, tf.float32)
    masked = values * tf.cast(values > 3.0, tf.float32)
    export(tf.keras.Model(image, layers.Dense(2)(layers.Flatten()(masked))), tmp_path)
    sample = np.random.default_rng(0).integers(0, 9, [5, 1, 4, 4, 1]).astype(np.uint8)
    made = convert(tmp_path / SERVING_FOLDER, StaticWi8Ai8(), lambda: iter([{"image": one} for one in sample]))
    inspection = inspect_model(made)
    assert inspection.border_casts == ()
    (complaint,) = scheme_violations(StaticWi8Ai8(), inspection)
    assert "float tensors in an integer-only file" in complaint
