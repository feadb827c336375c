"""The float file has the structure of the candidate, and weights as they were trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.explain.graph import Graph
from components.explain.measure import compare
from components.explain.reference import float_reference
from components.facts.explanation import decibels
from components.spec.scheme import StaticWi4Ai8, StaticWi8Ai8

RANDOM = np.random.default_rng(3)
SEQUENCES = RANDOM.uniform(-100, 10, (16, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_a_trained_model_are_as_trained_also_if_none_is_negative(tmp_path: Path, bits: int) -> None:
    import tensorflow as tf

    quantize = tf.quantization.fake_quant_with_min_max_args
    trained = tf.Variable(RANDOM.uniform(0.1, 1.4, (4, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = quantize(trained, 0.0, 1.5, num_bits=bits, narrow_range=True)
        return {"y": quantize(tf.matmul(quantize(x, -1.0, 1.0), weights), -4.0, 4.0)}

    module = tf.Module()
    module.trained, module.serve = trained, serve
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    folder = tmp_path / "scratch"
    folder.mkdir()
    content = float_reference(tmp_path / "model", StaticWi4Ai8(), None, False, [], folder, lambda _: None)
    graph = Graph(content)
    assert [one.kind for one in graph.operators] == ["FULLY_CONNECTED"]
    held = graph.tensors[graph.operators[0].inputs[1]].constant
    # 1.5 divided by the steps of 16 bits.
    np.testing.assert_allclose(held, trained.numpy().T, atol=1.5 / 2**16)


def test_sound_streaming_layers_after_a_rescaling_have_no_errors_of_their_own(tmp_path: Path) -> None:
    """Without quantizers, the converter moves the offset of the rescaling into the layers after it."""
    import tensorflow as tf

    from components.convert.recurrent.backend import convert_lowered
    from components.model.keras_model import save_keras

    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential(
        [layers.Input([5, 4], name="x"), layers.Rescaling(1 / 110, 100 / 110), layers.GRU(6), layers.Dense(3, name="y")]
    )
    folder = tmp_path / "scratch"
    folder.mkdir()
    save_keras(model, tmp_path)
    sample = iter([({"x": one[None]}, {}) for one in SEQUENCES])
    scheme = StaticWi8Ai8()
    made = convert_lowered(tmp_path, scheme, "streaming", sample, tmp_path / "candidate", lambda _: None)
    examples = [{"": one[None]} for one in SEQUENCES]
    serving = tmp_path / "Format-Serving"
    reference = float_reference(serving, scheme, "streaming", True, examples, folder, lambda _: None)
    found = compare(reference, made.content, examples)
    operators = [(one.operator.kind, one.errors) for one in found.measured if one.operator]
    assert {"DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= {kind for kind, _ in operators}
    assert min(decibels(one.errors.own) for one in found.measured) > 30
    weighted = [errors.weights for kind, errors in operators if kind == "FULLY_CONNECTED"]
    # Rounding to 8 bits, not nothing.
    assert all(40 < decibels(each) < 60 for each in weighted)
