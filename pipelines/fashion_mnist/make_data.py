"""Writes the example's TFRecords from an archive of arrays: `python make_data.py fashion_mnist_small.npz`.

The archive contains x_train, y_train, x_test, and y_test as in Fashion-MNIST (uint8 [N, 28, 28] and [N]).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.ingest.parquet import to_example


def main(archive: str) -> None:
    """Write `data/train.tfrecord.gz` and `data/eval.tfrecord.gz` next to this file."""
    arrays = np.load(archive)
    folder = Path(__file__).parent / "data"
    for split, source in (("train", "train"), ("eval", "test")):
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord.gz"), "GZIP") as writer:
            for image, label in zip(arrays[f"x_{source}"], arrays[f"y_{source}"], strict=True):
                example = to_example({"image": image.tobytes(), "label": int(label)})
                writer.write(example.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(sys.argv[1])
