"""Data as users have them, and models of Keras 3 trained on them: images, sounds, a table, and arrays.

`python tests/own_models.py KIND FOLDER` writes both. Keras 3 and tf-keras cannot share a process, so tests call it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def write_images(folder: Path, data: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Write images of clothing (Zalando SE, MIT license) as PNG files in class folders."""
    import tensorflow as tf
    from PIL import Image

    images, labels = [], []
    for record in tf.data.TFRecordDataset(str(data), compression_type="GZIP").take(count):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        images.append(np.frombuffer(features["image"].bytes_list.value[0], np.uint8).reshape(28, 28))
        labels.append(features["label"].int64_list.value[0])
    names = sorted(GARMENTS)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "images" / GARMENTS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:04}.png")
    return np.stack(images), np.array([names.index(GARMENTS[label]) for label in labels])


def main(kind: str, folder: Path, count: int) -> None:
    import keras

    keras.utils.set_random_seed(17)
    generator = np.random.default_rng(17)
    layers = keras.layers
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "images":
        data = Path(__file__).parents[1] / "pipelines/fashion_mnist/data/train.tfrecord.gz"
        images, labels = write_images(folder, data, count)
        inputs = images[..., None] / 127.5 - 1
        stack = [
            layers.Conv2D(12, 5, strides=2, activation="relu"),
            layers.Conv2D(24, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
        shape = [28, 28, 1]
    elif kind == "sounds":
        from scipy.io import wavfile

        labels = np.arange(count) % 3
        times = np.arange(2000) / 8000
        pitch = np.array([300, 700, 1500])[labels] * generator.uniform(0.9, 1.1, count)
        noise = generator.normal(0, 0.05, [count, 2000])
        sounds = 0.4 * np.sin(2 * np.pi * pitch[:, None] * times + generator.uniform(0, 6, [count, 1])) + noise
        samples = np.rint(sounds * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
        for number, (sound, label) in enumerate(zip(samples, labels, strict=True)):
            place = folder / "sounds" / ("bass", "middle", "treble")[label]
            place.mkdir(parents=True, exist_ok=True)
            wavfile.write(place / f"{number:04}.wav", 8000, sound)
        inputs, shape = samples[..., None] / 2**15, [2000, 1]
        stack = [
            layers.Conv1D(16, 32, strides=8, activation="relu"),
            layers.Conv1D(16, 3, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(3),
        ]
    else:
        values = generator.normal([20, 50, 1000], [5, 10, 30], [count, 3])
        labels = ((values - [20, 50, 1000]) / [5, 10, 30] @ [1, -1, 0.5] > 0).astype(int)
        inputs = (values - values.mean(axis=0)) / values.std(axis=0)
        if kind == "table":
            rows = [
                f"{a:.4f},{b:.4f},{c:.4f},{'rain' if y else 'dry'}" for (a, b, c), y in zip(values, labels, strict=True)
            ]
            (folder / "weather.csv").write_text("\n".join(["temperature,humidity,pressure,label", *rows]))
            # Sorted by name, `dry` is 0.
            stack, shape = [layers.Dense(16, activation="relu"), layers.Dense(1, activation="sigmoid")], [3]
        else:
            target = (inputs @ [1, -1, 0.5]) * 3
            held = {"x_train": inputs, "y_train": target, "x_test": inputs[::4] + 0.01, "y_test": target[::4]}
            np.savez(folder / "arrays.npz", **{name: each.astype(np.float32) for name, each in held.items()})
            labels, stack, shape = target, [layers.Dense(16, activation="relu"), layers.Dense(1)], [3]
    model = keras.Sequential([layers.Input(shape), *stack])
    loss = {
        "table": "binary_crossentropy",
        "arrays": "mse",
        "sounds": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }.get(kind, "sparse_categorical_crossentropy")
    model.compile(keras.optimizers.Adam(0.01 if len(shape) == 1 else 0.003), loss)
    model.fit(inputs, labels, epochs=8, batch_size=32, verbose=0)
    model.save(folder / "my_model.keras")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
