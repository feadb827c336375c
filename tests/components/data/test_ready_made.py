"""What the ready-made tasks make of features."""

import pytest
import tensorflow as tf

from components.data.ready_made import OneInputTask


def test_texts_of_true_and_false_become_1_and_0_beside_numbers() -> None:
    task = OneInputTask(features={"on": "bool", "size": "int64"}, shape=(2,), objective="values")
    assert task.feature_spec()["on"].dtype == tf.string
    size = tf.constant([[7], [8], [9]], tf.int64)
    decoded = task.decode({"on": tf.constant(["True", "false", "TRUE"]), "size": size})
    assert decoded.numpy().tolist() == [[1, 7], [0, 8], [1, 9]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="maybe"):
        task.decode({"on": tf.constant(["maybe", "false", "true"]), "size": size})
