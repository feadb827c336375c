"""A float TFLite file as a baseline: what it becomes in each scheme, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.baseline.pretrained import import_model
from components.baseline.source import recognize
from components.baseline.tflite_probe import refuse_crashing
from components.convert.aeq.float_weights import convert_weights
from components.convert.aeq.recover import recover
from components.convert.checks.scheme_check import scheme_violations
from components.convert.compaction import compacted
from components.convert.representative import Sample
from components.core.errors import ConversionError, ModelError, SpecError
from components.facts.artifact_paths import SERVING_FOLDER, TFLITE_FILE
from components.model.reference.float_model import load_float
from components.model.tflite_file import inspect_model
from components.spec.scheme import Float32, Scheme
from components.spec.schemes.dynamic_range import DynamicWi8Afp32
from components.spec.schemes.floats import Float16
from components.spec.schemes.static import StaticWi8Ai8, StaticWi8Ai16
from tests.artifacts import pretrained

layers = tf.keras.layers
IMAGES = np.random.default_rng(0).random([16, 8, 8, 1], np.float32)


def written(path: Path, model: tf.keras.Model, **settings: Any) -> Path:
    """A file as a plain script with TensorFlow's converter writes it."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in settings.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def model() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(1)
    image = tf.keras.Input([8, 8, 1], name="image")
    values = layers.Conv2D(8, 3, activation="relu")(image)
    values = layers.Flatten()(layers.DepthwiseConv2D(3, activation="relu")(values))
    return tf.keras.Model(image, layers.Dense(3, "softmax", name="scores")(layers.Dense(16, "relu")(values)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, model: tf.keras.Model) -> Path:
    return written(tmp_path_factory.mktemp("file") / "model.tflite", model)


def limits_of(dtype: Any) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def looped(content: bytes) -> np.ndarray:
    """What a plain loop of TensorFlow's interpreter returns, dequantized."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    scale, zero = given["quantization"]
    for image in IMAGES[:, None]:
        raw = np.clip(np.rint(image / scale) + zero, *limits_of(given["dtype"])) if scale else image
        interpreter.set_tensor(given["index"], raw.astype(given["dtype"]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(returned["index"]).astype(np.float32))
    scale, zero = returned["quantization"]
    return (np.concatenate(rows) - zero) * scale if scale else np.concatenate(rows)


def test_float_file_is_the_baseline_unchanged(file: Path, model: tf.keras.Model, tmp_path: Path) -> None:
    assert recognize(file).kind == "tflite"
    import_model(pretrained(file), tmp_path)
    assert (tmp_path / TFLITE_FILE).read_bytes() == file.read_bytes()
    loaded = load_float(tmp_path / SERVING_FOLDER)
    (name,) = loaded.output_names
    np.testing.assert_allclose(loaded.run({"image": IMAGES})[name], model(IMAGES), atol=1e-5)
    assert loaded.final_operator(name) == "Softmax"


@pytest.mark.parametrize(
    ("scheme", "most", "smaller"),
    [
        (Float32(), 1e-5, 0.9),
        (Float16(), 2e-3, 1.3),
        (DynamicWi8Afp32(), 2e-2, 1.4),
        (StaticWi8Ai8(), 4e-2, 1.4),
        (StaticWi8Ai16(), 1e-2, 1.2),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_float_file_converts_in_every_scheme(
    file: Path, model: tf.keras.Model, scheme: Scheme, most: float, smaller: float
) -> None:
    content = file.read_bytes()
    if isinstance(scheme, StaticWi8Ai8 | StaticWi8Ai16):
        made = recover(content, scheme, Sample({"image": IMAGES})).content
    else:
        made = convert_weights(content, scheme)
    assert scheme_violations(scheme, inspect_model(made)) == []
    made = compacted(made)
    assert len(content) > smaller * len(made)
    np.testing.assert_allclose(looped(made), model(IMAGES), atol=most)


def test_weight_that_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    image = tf.keras.Input([8, 8, 1], name="image")
    large = layers.Dense(4, kernel_initializer=tf.keras.initializers.Constant(7e4))(layers.Flatten()(image))
    content = written(tmp_path / "large.tflite", tf.keras.Model(image, large)).read_bytes()
    with pytest.raises(
        ConversionError, match=r"exceeds the range of float16 \(expected: at most 65504; found: 70000\)"
    ):
        convert_weights(content, Float16())


def test_file_that_is_already_quantized_is_refused(model: tf.keras.Model, tmp_path: Path) -> None:
    dynamic = written(tmp_path / "dynamic", model, optimizations=[tf.lite.Optimize.DEFAULT])
    with pytest.raises(
        ModelError, match=r"already quantized .*found: 1 quantized tensors, and 0 tensors of float16"
    ) as caught:
        recognize(dynamic)
    assert "specify the float file, or the model that it was converted from" in caught.value.remedy
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    (tmp_path / "half").write_bytes(converter.convert())
    with pytest.raises(ModelError, match=r"already quantized .*and \d+ tensors of float16"):
        recognize(tmp_path / "half")


def test_damaged_file_is_refused_and_never_crashes_the_process(file: Path, tmp_path: Path) -> None:
    whole, damaged, random = file.read_bytes(), tmp_path / "damaged.tflite", np.random.default_rng(5)
    cut = [whole[: max(8, len(whole) * share // 10)] for share in range(10)]
    flipped = [bytearray(whole) for _ in range(40)]
    for content in flipped:
        # The tables are at both ends of a file, the weights between them.
        place = int(random.choice([random.integers(8, 600), len(whole) - random.integers(1, 2000)]))
        content[place] ^= 1 << int(random.integers(8))
    refused = 0
    for content in (*cut, *flipped, b"TFL3" * 200):
        damaged.write_bytes(content)
        try:
            import_model(pretrained(damaged), tmp_path / "out")
        except ModelError as error:
            assert "damaged.tflite" in str(error) and error.remedy
            refused += 1
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert len(cut) + 5 < refused


def test_file_that_crashes_the_runtime_ends_only_the_process_that_tries_it(tmp_path: Path) -> None:
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"TFL3" * 200)
    with pytest.raises(ModelError, match=r"junk.tflite: the TFLite runtime crashes .*found: SIG[A-Z]+, 800 bytes"):
        refuse_crashing(junk)


def test_shapes_and_signatures_of_a_file_cannot_be_chosen(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the shapes of a TFLite file are fixed when it is converted"):
        import_model(pretrained(file, input_shapes={"image": [8, 8, 1]}), tmp_path)
    with pytest.raises(ModelError, match="a float TFLite file has no signatures to choose from"):
        import_model(pretrained(file, signature="serving_default"), tmp_path)
    image = tf.keras.Input([None, None, 1], name="image")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(image))
    with pytest.raises(ModelError, match=r"no fixed size .*found: shape \[-1, -1, -1, 1\]"):
        import_model(pretrained(written(tmp_path / "open", tf.keras.Model(image, pooled))), tmp_path)
