"""Writes the example's TFRecords from the windows of `pipelines/activity/`: `python make_data.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.ingest.parquet import to_example
from pipelines.activity.task import LSTM as ACTIVITY

SOURCE = Path(__file__).parent.parent / "activity" / "data"
# The exercise that the model learns. All others are anomalies.
NORMAL = 4


def main(folder: Path) -> None:
    """Write the normal windows to `train.tfrecord.gz`, and all windows of other people to `eval.tfrecord.gz`."""
    for split in ("train", "eval"):
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord.gz"), "GZIP") as writer:
            for record in tf.data.TFRecordDataset(str(SOURCE / f"{split}.tfrecord.gz"), "GZIP"):
                window = tf.io.parse_example(record[None], ACTIVITY.feature_spec())
                anomaly = int(window["label"][0]) != NORMAL
                if split == "eval" or not anomaly:
                    motion = np.asarray(ACTIVITY.decode(window)).reshape(-1)
                    row = {"motion": motion, "anomaly": int(anomaly), "subject": int(window["subject"][0])}
                    writer.write(to_example(row).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
