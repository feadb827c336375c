"""A pipeline whose model has two inputs of equal shape, and a class and a number as outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.small_pipeline import SmallPipeline

TASK = """
import tensorflow as tf

class Task:
    def feature_spec(self):
        one = tf.io.FixedLenFeature([], tf.float32)
        image = tf.io.FixedLenFeature([16], tf.float32)
        return {"image": image, "label": tf.io.FixedLenFeature([], tf.int64), "shift": one, "weight": one}

    def decode(self, features):
        # Not in the order of the model.
        return {"right": features["image"][:, 8:], "left": features["image"][:, :8]}

    def targets(self, features):
        return {"shift": features["shift"][:, None], "kind": features["label"]}

    def build_model(self):
        layers = tf.keras.layers
        left, right = layers.Input([8], name="left"), layers.Input([8], name="right")
        both = layers.Concatenate()([left, right])
        hidden = layers.Dense(16, activation="relu")(both)
        kind = layers.Dense(3, activation="softmax", name="kind")(hidden)
        return tf.keras.Model([left, right], [kind, layers.Dense(1, name="shift")(both)])

    def compile(self, model):
        losses = {"shift": "mse", "kind": "sparse_categorical_crossentropy"}
        model.compile(tf.keras.optimizers.Adam(0.02), losses)

TASK = Task()
"""
# What the task can have in addition, before the line that makes it.
POSTPROCESS = """
    def postprocess(self, outputs):
        return {"shift": 100 * outputs["shift"], "kind": outputs["kind"]}
"""
WEIGHTS = """
    def example_weights(self, features):
        return features["weight"]
"""


def with_methods(*methods: str) -> str:
    return TASK.replace("\nTASK = Task()", "".join(methods) + "\nTASK = Task()")


def shifted(index: int, features: dict[str, Any]) -> dict[str, Any]:
    """The right half is brighter by `shift`, which the second output predicts."""
    shift = (index * 7 % 10) / 10
    image = features["image"] + np.repeat([0.0, shift], 8).astype(np.float32)
    return {
        "image": image,
        "label": features["label"],
        "shift": np.float32([shift]),
        "weight": np.float32([[1, 5, 2][index % 3]]),
    }


class TwoOutputs(SmallPipeline):
    """The pipeline, whose gate bounds both outputs."""

    def __init__(self, folder: Path, task: str = TASK) -> None:
        super().__init__(folder, task)
        for split, count, seed in (("train", 240, 1), ("eval", 120, 2)):
            self.write_split(split, count, seed, shifted)
        # The task declares targets.
        del self.spec["examples"]["label"], self.spec["examples"]["num_classes"]
        self.spec["baseline"]["epochs"] = 20
        self.spec["evaluate"] = {
            "metrics": [
                {"name": "kinds", "class_name": "SparseCategoricalAccuracy", "output": "kind"},
                {"name": "error", "class_name": "MeanAbsoluteError", "output": "shift"},
            ],
            "slices": [["label"]],
        }
        self.spec["gate"]["metrics"] = [
            {"name": "kinds", "at_least": 0.8},
            {"name": "error", "at_most": 0.2, "slices": ["overall", "label"]},
        ]
