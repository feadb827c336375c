"""`edgemill optimize` from sounds, tables, and arrays for two inputs to releases, in one process."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from scipy.io import wavfile
from typer.testing import CliRunner

from edgemill.exit_codes import ExitCode
from edgemill.main import app

pytestmark = pytest.mark.e2e

layers = tf.keras.layers
GENERATOR = np.random.default_rng(3)
COUNT = 200


def sounds(folder: Path) -> tuple[tf.keras.Model, str]:
    labels = np.arange(COUNT) % 2
    times = np.arange(400) / 4000
    values = (
        0.5 * np.sin(2 * np.pi * np.array([200, 900])[labels][:, None] * times) * GENERATOR.uniform(0.5, 1, [COUNT, 1])
    )
    for number, (sound, label) in enumerate(zip(values, labels, strict=True)):
        (folder / "sounds" / "ab"[label]).mkdir(parents=True, exist_ok=True)
        wavfile.write(folder / "sounds" / "ab"[label] / f"{number}.wav", 4000, (sound * 2**15).astype(np.int16))
    model = tf.keras.Sequential([
        layers.Input([400, 1]), layers.Conv1D(4, 16, strides=4, activation="relu"), layers.GlobalMaxPooling1D(),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(tf.keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(values[..., None], labels, epochs=20, verbose=0)
    return model, "sounds"


def table(folder: Path) -> tuple[tf.keras.Model, str]:
    values = GENERATOR.normal([20, 50], [5, 10], [COUNT, 2])
    labels = (values @ [1, -1] > -30).astype(int)
    lines = [f"{a:.3f},{b:.3f},{'rain' if y else 'dry'}" for (a, b), y in zip(values, labels, strict=True)]
    (folder / "weather.csv").write_text("\r\n".join(["driver's temperature,humidity,label", *lines]), "utf-8")
    model = tf.keras.Sequential(
        [layers.Input([2]), layers.Dense(8, activation="relu"), layers.Dense(1, activation="sigmoid")]
    )
    model.compile(tf.keras.optimizers.Adam(0.03), "binary_crossentropy")
    model.fit((values - values.mean(axis=0)) / values.std(axis=0), labels, epochs=20, verbose=0)
    return model, "weather.csv"


def parquet(folder: Path) -> tuple[tf.keras.Model, str]:
    values = GENERATOR.normal(0, 1, [COUNT, 2]).astype(np.float32)
    wanted = values @ np.array([1, -1], np.float32)
    pq.write_table(pa.table({"a": values[:, 0], "b": values[:, 1], "target": wanted}), folder / "t.parquet")
    model = tf.keras.Sequential([layers.Input([2]), layers.Dense(8, activation="relu"), layers.Dense(1)])
    model.compile(tf.keras.optimizers.Adam(0.03), "mse")
    model.fit(values, wanted, epochs=20, verbose=0)
    return model, "t.parquet"


def two_inputs(folder: Path) -> tuple[tf.keras.Model, str]:
    images = GENERATOR.integers(0, 256, [COUNT, 4, 4, 1], dtype=np.uint8)
    ages = GENERATOR.uniform(0, 1, [COUNT, 1]).astype(np.float32)
    wanted = images.mean(axis=(1, 2, 3)) / 255 + ages[:, 0]
    image, age = layers.Input([4, 4, 1], name="image"), layers.Input([1], name="age")
    joined = layers.Concatenate()([layers.Flatten()(image), age])
    model = tf.keras.Model([image, age], layers.Dense(1)(layers.Dense(8, activation="relu")(joined)))
    model.compile(tf.keras.optimizers.Adam(0.03), "mse")
    model.fit([images / 255, ages], wanted, epochs=20, verbose=0)
    np.savez(folder / "data.npz", image=images, age=ages, label=wanted.astype(np.float32))
    return model, "data.npz"


@pytest.mark.parametrize("made", [sounds, table, parquet, two_inputs])
def test_one_command_leads_to_a_release(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf.keras.utils.set_random_seed(1)
    model, data = made(tmp_path)
    model.save(tmp_path / "my.keras")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["optimize", "my.keras", "--data", data, "--device", "phone_cpu"])
    assert done.exit_code == ExitCode.OK, done.output
    (release,) = Path("my/registry").rglob("model.tflite")
    assert release.stat().st_size < 10_000
