"""Writes the example's TFRecords from an archive of arrays: `python make_data.py fashion_mnist_small.npz`.

The archive contains x_train, y_train, x_test, and y_test as in Fashion-MNIST (uint8 [N, 28, 28] and [N]).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(archive: str) -> None:
    """Write `data/train.tfrecord.gz` and `data/eval.tfrecord.gz` next to this file."""
    arrays = np.load(archive)
    folder = Path(__file__).parent / "data"
    for split, source in (("train", "train"), ("eval", "test")):
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord.gz"), "GZIP") as writer:
            for image, label in zip(arrays[f"x_{source}"], arrays[f"y_{source}"], strict=True):
                writer.write(_example(image.tobytes(), int(label)).SerializeToString(deterministic=True))


def _example(image: bytes, label: int) -> tf.train.Example:
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
