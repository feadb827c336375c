"""Writes the example's TFRecords from an archive of recordings: `python make_data.py watch_25hz_int16.npz`.

The archive contains y and subject (int [N]), and x0, x1... (int16 [time, 6] at 25 Hz: accelerometer and gyroscope).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.ingest.parquet import to_example
from pipelines.activity.task import CHANNELS, STEPS

# People whose windows are only in the evaluation split, because neighboring windows of one person are nearly the same.
HELD_OUT = (9, 10)


def main(archive: str) -> None:
    """Write `data/train.tfrecord.gz` and `data/eval.tfrecord.gz` next to this file: windows of 2.56 s at 12.5 Hz."""
    arrays = np.load(archive)
    folder = Path(__file__).parent / "data"
    for split in ("train", "eval"):
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord.gz"), "GZIP") as writer:
            for index, (label, subject) in enumerate(zip(arrays["y"], arrays["subject"], strict=True)):
                if (int(subject) in HELD_OUT) == (split == "eval"):
                    for window in _windows(arrays[f"x{index}"]):
                        row = {"motion": window.tobytes(), "label": int(label), "subject": int(subject)}
                        writer.write(to_example(row).SerializeToString(deterministic=True))


def _windows(recording: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Average pairs of samples to int16 [windows, STEPS, CHANNELS], and drop an incomplete window at the end."""
    count = len(recording) // (2 * STEPS)
    pairs = recording[: count * 2 * STEPS].reshape(count, STEPS, 2, CHANNELS)
    return np.rint(pairs.astype(np.float32).mean(axis=2)).astype("<i2")


if __name__ == "__main__":
    main(sys.argv[1])
