"""A pipeline small enough to run in seconds, in its own folder: 4x4 images of three brightness classes."""

from __future__ import annotations

import gzip
import itertools
import struct
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import yaml

_NUMBERS = itertools.count()

TASK = """
import tensorflow as tf

class Task:
    def feature_spec(self):
        return {"image": tf.io.FixedLenFeature([16], tf.float32), "label": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features):
        return tf.reshape(features["image"], [-1, 4, 4, 1])

    def build_model(self):
        layers = tf.keras.layers
        return tf.keras.Sequential([
            layers.Input([4, 4, 1], name="image"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ])

    def compile(self, model):
        model.compile(tf.keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", ["accuracy"])

TASK = Task()
"""


# CSV files hold one value per column.
OF_SCALARS = TASK.replace("FixedLenFeature([16]", "FixedLenFeature([]").replace(
    'features["image"], [', 'tf.repeat(features["image"], 16), ['
)


class SmallPipeline:
    """A pipeline folder that a test changes before it runs it.

    Attributes:
        folder: Holds `pipeline.yaml`, the task's module and `data/`.
        spec: The pipeline file's content; `write` writes it.
    """

    def __init__(self, folder: Path, task: str = TASK) -> None:
        # A unique module name: otherwise Python keeps using the module of the first test.
        module = f"small_task_{next(_NUMBERS)}"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text(textwrap.dedent(task))
        (folder / "data").mkdir(exist_ok=True)
        self.write_split("train", 240, seed=1)
        self.write_split("eval", 120, seed=2)
        self.spec: dict[str, Any] = {
            "name": "small",
            "task": f"{module}:TASK",
            "examples": {
                "kind": "tfrecord",
                "path": "data",
                "splits": {"kind": "declared", "patterns": {"train": "train*", "eval": "eval*"}},
                "label": "label",
                "num_classes": 3,
            },
            "baseline": {"kind": "train", "epochs": 5, "batch_size": 32, "seed": 3},
            "calibrate": {"split": "train", "samples": 100, "seed": 5},
            "recipes": [{"name": "float32", "scheme": "float32"}, {"name": "int8", "scheme": "static_wi8_ai8"}],
            "evaluate": {"metrics": ["accuracy"], "slices": [["label"]]},
            "devices": ["phone_cpu"],
            # Without a champion, each device has three nodes less. Tests of champions ask for one.
            "gate": {
                "metrics": [{"name": "accuracy", "at_least": 0.8, "max_drop_from_baseline": 0.05}],
                "champion": "none",
            },
            "push": {"kind": "local", "root": "registry"},
        }

    @property
    def file(self) -> Path:
        return self.folder / "pipeline.yaml"

    def write(self) -> Path:
        self.file.write_text(yaml.safe_dump(self.spec, sort_keys=False))
        return self.file

    def write_split(
        self,
        split: str,
        count: int,
        seed: int,
        change: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda _, features: features,
        zipped: bool = False,
    ) -> Path:
        generator = np.random.default_rng(seed)
        records = []
        for index in range(count):
            label = index % 3
            image = generator.normal(0.2 + 0.3 * label, 0.05, 16).astype(np.float32)
            records.append(serialize(change(index, {"image": image, "label": label})))
        path = self.folder / "data" / f"{split}.tfrecord{'.gz' if zipped else ''}"
        content = b"".join(frame(record) for record in records)
        path.write_bytes(gzip.compress(content) if zipped else content)
        return path


def with_csv(folder: Path, task: str = OF_SCALARS) -> SmallPipeline:
    """One whose splits are CSV files of one row."""
    small = SmallPipeline(folder, task)
    for split in ("train", "eval"):
        (folder / "data" / f"{split}.tfrecord").unlink()
        (folder / "data" / f"{split}.csv").write_text("image,label\n0.5,1\n")
    small.spec["examples"]["kind"] = "csv"
    return small


def serialize(features: dict[str, Any]) -> bytes:
    """A tf.Example of floats (arrays), integers and bytes, written without TensorFlow."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            held = _field(1, _field(1, value))
        elif isinstance(value, int):
            held = _field(3, _field(1, _varint(value)))
        else:
            held = _field(2, _field(1, np.asarray(value, "<f4").tobytes()))
        entries += _field(1, _field(1, name.encode()) + _field(2, held))
    return _field(1, entries)


def frame(record: bytes) -> bytes:
    """One record as a TFRecord file holds it."""
    return frame_header(len(record)) + record + struct.pack("<I", _masked_crc(record))


def frame_header(length: int) -> bytes:
    """What a TFRecord file says before a record: its length, and the checksum of that."""
    header = struct.pack("<Q", length)
    return header + struct.pack("<I", _masked_crc(header))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _masked_crc(content: bytes) -> int:
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
