"""The task of any model of the zoo: its inputs and targets are features of the examples."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
LABEL = "label"
LOGITS = "logits"
_INPUT, _TARGET = "input ", "target "


class ZooTask:
    """Reads the examples that `write_examples` wrote.

    Args:
        inputs, targets: Name -> shape of one example, and NumPy type.
        loss: Name of the loss, or `logits` for the loss of class numbers with logits.
    """

    def __init__(self, inputs: Mapping[str, Any], targets: Mapping[str, Any], loss: str) -> None:
        self._inputs, self._targets, self._loss = inputs, targets, loss

    def feature_spec(self) -> dict[str, Any]:
        """See `edgemill.Task`."""
        import tensorflow as tf

        named = {_INPUT + name: kind for name, kind in self._inputs.items()}
        named |= {_TARGET + name: kind for name, kind in self._targets.items()}
        spec = {
            name: tf.io.FixedLenFeature(shape, tf.float32 if np.dtype(kind).kind == "f" else tf.int64)
            for name, (shape, kind) in named.items()
        }
        return {**spec, LABEL: tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """See `edgemill.Task`."""
        import tensorflow as tf

        return {name: tf.cast(features[_INPUT + name], kind) for name, (_, kind) in self._inputs.items()}

    def targets(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """See `edgemill.TaskWithTargets`."""
        return {name: features[_TARGET + name] for name in self._targets}

    def compile(self, model: Any) -> None:
        """See `edgemill.CompilingTask`."""
        import tensorflow as tf

        logits = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd" if self._loss == "mse" else "adam", logits if self._loss == LOGITS else self._loss)


def write_examples(file: Path, inputs: Arrays, targets: Arrays) -> None:
    """Write a gzipped TFRecord file of examples.

    Args:
        file: The file to write.
        inputs, targets: Name -> array [N, ...].
    """
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    named = {_INPUT + name: values for name, values in inputs.items()}
    named |= {_TARGET + name: values for name, values in targets.items()}
    plain = file.with_suffix(".plain")
    with tf.io.TFRecordWriter(str(plain)) as writer:
        for index in range(len(next(iter(named.values())))):
            features = {name: _feature(values[index]) for name, values in named.items()}
            features[LABEL] = _feature(np.asarray(index % 2))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    file.write_bytes(gzip.compress(plain.read_bytes(), 1))
    plain.unlink()


def _feature(values: Any) -> Any:
    import tensorflow as tf

    flat = np.asarray(values).ravel()
    if flat.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=flat.astype(np.float32)))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.astype(np.int64)))
