import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

TASK = """
import os, signal, sys, time
import tensorflow as tf

class Task:
    def __init__(self, act=lambda: None):
        self.act = act

    def feature_spec(self):
        return {
            "image": tf.io.FixedLenFeature([64], tf.float32),
            "logits": tf.io.FixedLenFeature([10], tf.float32),
        }

    def decode(self, features):
        self.act()
        return tf.reshape(features["image"], [-1, 8, 8, 1])

def fail():
    raise RuntimeError("the camera is on fire")

TASK = Task()
SEGFAULTS = Task(lambda: os.kill(os.getpid(), signal.SIGSEGV))
ABORTS = Task(os.abort)
IS_KILLED = Task(lambda: os.kill(os.getpid(), signal.SIGKILL))
SLEEPS = Task(lambda: time.sleep(600))
FAILS = Task(fail)
EXITS = Task(lambda: sys.exit("the task has had enough"))
ENDS = Task(lambda: os._exit(0))
"""


@dataclass(frozen=True)
class ConvNet:
    """An exported model, and the same in numpy."""

    saved_model: Path
    images: np.ndarray
    kernel: np.ndarray
    weights: np.ndarray

    def oracle(self, image):
        patches = np.lib.stride_tricks.sliding_window_view(image[0, :, :, 0], (3, 3))
        hidden = np.maximum(np.einsum("ijab,abc->ijc", patches, self.kernel[:, :, 0, :]), 0.0)
        return hidden.reshape(1, -1) @ self.weights

    def samples(self):
        for image in self.images:
            yield {"": image}


@pytest.fixture(scope="session")
def save(tmp_path_factory):
    import tensorflow as tf

    def save(function, *specs, variables=()):
        module = tf.Module()
        module.variables_of_it = list(variables)
        module.serve = tf.function(function, input_signature=specs, autograph=False)
        folder = tmp_path_factory.mktemp("saved_model")
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
        return folder

    return save


@pytest.fixture(scope="session")
def convnet(save):
    import tensorflow as tf

    random = np.random.default_rng(5)
    kernel = random.normal(size=(3, 3, 1, 8), scale=0.3).astype(np.float32)
    weights = random.normal(size=(288, 10), scale=0.1).astype(np.float32)
    kernel_variable, weights_variable = tf.Variable(kernel), tf.Variable(weights)

    def serve(image):
        hidden = tf.nn.relu(tf.nn.conv2d(image, kernel_variable, 1, "VALID"))
        return {"logits": tf.matmul(tf.reshape(hidden, [-1, 288]), weights_variable)}

    folder = save(
        serve, tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image"), variables=[kernel_variable, weights_variable]
    )
    images = random.uniform(size=(20, 1, 8, 8, 1)).astype(np.float32)
    return ConvNet(folder, images, kernel, weights)


@pytest.fixture(scope="session")
def calibration(convnet, tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("examples")
    (folder / "Split-calibration").mkdir()
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / "Split-calibration" / "part-00000.gz"), options) as writer:
        for image in convnet.images:
            features = {
                name: tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))
                for name, values in (("image", image), ("logits", convnet.oracle(image)))
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return folder


@pytest.fixture(scope="session")
def task_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "convert_test_task.py").write_text(TASK)
    sys.path.insert(0, str(folder))
    yield "convert_test_task"
    sys.path.remove(str(folder))
