"""A trained LSTM of tensorflow/tflite-micro, through the whole evaluation: `make test-examples DATA=FOLDER`.

Not part of `make test`. FOLDER has `mnist10k.npz` (x uint8 [N, 28, 28], y), `tflite/mnist_lstm_float.tflite` and
`tflite/mnist_lstm_int8.tflite`, which are not shipped here.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

DATA = os.environ.get("EDGEMILL_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="EDGEMILL_TEST_DATA names no folder with the digits")
TASK = """
import tensorflow as tf

class Digits:
    def feature_spec(self):
        return {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features):
        pixels = tf.io.decode_raw(features["image"], tf.uint8, fixed_length=784)
        return {"fixed_input": tf.reshape(tf.cast(pixels, tf.float32) / 255.0, [-1, 28, 28])}

TASK = Digits()
"""
COUNT = 2000


def test_trained_lstm_scores_above_98_5_percent_by_the_evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from components.evaluate.assess import load_slices
    from components.evaluate.eval_config import BASELINE
    from components.spec.evaluate import EvaluationSpec
    from tests.predicted import predict_and_evaluate

    folder = Path(str(DATA))
    (tmp_path / "digits_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    arrays = np.load(folder / "mnist10k.npz")
    file = str(tmp_path / "digits.gz")
    with tf.io.TFRecordWriter(file, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for pixels, label in zip(arrays["x"][:COUNT], arrays["y"][:COUNT], strict=True):
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

    class Blank(tf.Module):
        """The evaluation wants a float SavedModel next to its candidates: this one knows nothing."""

        @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.float32, name="fixed_input")])
        def serve(self, fixed_input):
            return {"output": tf.reduce_sum(fixed_input, axis=1)[:, :10] * 0.0 + 0.1}

    blank = Blank()
    tf.saved_model.save(blank, str(tmp_path / "blank"), signatures={"serving_default": blank.serve})
    names = ("float32", "int8")
    files = {name: folder / "tflite" / f"mnist_lstm_{name.removesuffix('32')}.tflite" for name in names}
    predict_and_evaluate(
        files=[file],
        baseline=tmp_path / "blank",
        candidates=files,
        spec=EvaluationSpec.model_validate({"metrics": ["accuracy"]}),
        label="label",
        task="digits_task:TASK",
        output=tmp_path / "evaluation",
    )
    found = load_slices(tmp_path / "evaluation", [BASELINE, *names], ["accuracy"])
    for name in names:
        overall = found[name][0]
        print(f"{name}: accuracy {overall.metrics['accuracy'].value} of {overall.examples} digits")
        assert overall.examples == COUNT
        assert overall.metrics["accuracy"].value > 0.985
