"""Recurrent layers with masked inputs are refused in integers, because the converter makes no integer file of them.

Each conversion runs in its own process, which it kills.
"""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from components.cells.sru import SRU
from components.core.errors import ModelError
from components.lowering.preflight import plan_layers
from components.spec.scheme import Float16, StaticWi8Ai8, StaticWi8Ai16

KINDS = {"LSTM": tf.keras.layers.LSTM, "GRU": tf.keras.layers.GRU, "SRU": SRU}
CASES = [f"{kind} {direction}" for kind in KINDS for direction in ("forward", "both")]
CONVERT = """
import sys
import numpy as np, tensorflow as tf
from tests.components.convert.recurrent.test_masked import masked

model = masked(sys.argv[1])
one = tf.function(model).get_concrete_function(tf.TensorSpec([1, 6], tf.int32, name="ids"))
converter = tf.lite.TFLiteConverter.from_concrete_functions([one], model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.representative_dataset = lambda: ([np.array([[1, 2, 3, 0, 0, 0]], np.int32)] for _ in range(2))
print("begins", flush=True)
converter.convert()
"""


def masked(case: str) -> tf.keras.Model:
    kind, _, direction = case.partition(" ")
    layer = KINDS[kind](4)
    return tf.keras.Sequential(
        [
            tf.keras.Input([6], dtype="int32", name="ids"),
            tf.keras.layers.Embedding(8, 4, mask_zero=True),
            tf.keras.layers.Bidirectional(layer) if direction == "both" else layer,
        ]
    )


@pytest.mark.parametrize("case", CASES)
def test_masked_layer_is_refused_in_integers_and_in_a_lowered_form(case: str) -> None:
    model = masked(case)
    for scheme, form in ((StaticWi8Ai8(), None), (StaticWi8Ai16(), None), (StaticWi8Ai8(), "sequence")):
        for trained in (False, True):
            with pytest.raises(ModelError, match=r"its inputs are masked, and integer kernels run every time step"):
                plan_layers(model, scheme, form, trained)
    (plan,) = plan_layers(model, Float16(), None, False)
    assert plan.mode == "loop"


@pytest.mark.parametrize("kind", KINDS)
def test_converter_makes_no_integer_file_of_a_masked_layer(kind: str) -> None:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", CONVERT, f"{kind} forward"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "begins" in ended.stdout, ended.stderr[-2000:]
    assert ended.returncode < 0
