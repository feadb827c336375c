"""The three files of the README, as a user would write them."""

import re
from pathlib import Path

import tensorflow as tf
import tf_keras
from typer.testing import CliRunner

from edgemill.main import app

README = Path("README.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
    indent, text = found
    return re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def test_model_of_the_readme_passes_the_deep_check(tmp_path: Path) -> None:
    # A module name of its own: `task` is loaded once in a process.
    (tmp_path / "readme_task.py").write_text(block("python"))
    (tmp_path / "pipeline.yaml").write_text(block("yaml").replace("task: task:", "task: readme_task:"))
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Input([28, 28, 1]), layers.Conv2D(4, 3, 4), layers.Flatten(), layers.Dense(10, "softmax")]
    )
    model.save(tmp_path / "model.keras")
    (tmp_path / "data").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "data" / "all.tfrecord")) as writer:
        for number in range(100):
            image = tf.train.Feature(float_list=tf.train.FloatList(value=[number / 100] * 784))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 10]))
            example = tf.train.Example(features=tf.train.Features(feature={"image": image, "label": label}))
            writer.write(example.SerializeToString())
    ran = CliRunner().invoke(app, ["validate", str(tmp_path / "pipeline.yaml"), "--deep"])
    assert ran.exit_code == 0, ran.output
    assert "valid (3 recipes for 2 devices)" in ran.output
    assert "qat_int4" in ran.output
