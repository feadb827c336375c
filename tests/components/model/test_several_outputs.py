"""Models with several inputs and outputs of equal shape, which only their names tell apart."""

import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.model.keras_model import export, output_names
from components.model.saved_model import final_operator, load_serving, run_serving
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.scheme import Float32, StaticWi8Ai8

RANDOM = np.random.default_rng(0)
# Names in neither the order of the alphabet nor that of the model.
INPUTS = {name: RANDOM.uniform(-1, 1, [16, 4]).astype(np.float32) for name in ("right", "left", "middle")}
KERNEL = RANDOM.uniform(-1, 1, [4, 4]).astype(np.float32)


def expected(inputs):
    """What the models below return, in float64."""
    right, left, middle = (inputs[name].astype(np.float64) for name in ("right", "left", "middle"))
    scores = 1 / (1 + np.exp(-(left - 2 * right)))
    return {"scores": scores, "boxes": 30 * (right @ KERNEL + middle), "anchors": left @ KERNEL - middle}


def keras_model(named):
    """The same model, whose outputs are a list with the names of their layers, or a dict with other names."""
    layers = tf.keras.layers
    right, left, middle = (layers.Input([4], name=name) for name in INPUTS)
    shared = layers.Dense(4, use_bias=False, name="shared")
    made = {
        "scores": layers.Activation("sigmoid", name="end" if named else "scores")(left - 2.0 * right),
        "boxes": layers.Rescaling(30.0, name="start" if named else "boxes")(shared(right) + middle),
        "anchors": layers.Subtract(name="more" if named else "anchors")([shared(left), middle]),
    }
    model = tf.keras.Model([right, left, middle], made if named else list(made.values()))
    shared.set_weights([KERNEL])
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["list", "dict"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = keras_model(request.param)
    assert set(output_names(model)) == {"scores", "boxes", "anchors"}
    export(model, folder)
    return folder / "Format-Serving"


def test_saved_model_returns_each_output_under_its_name(saved):
    _model, signature = load_serving(saved)
    found = run_serving(signature, dict(reversed(INPUTS.items())))
    for name, values in expected(INPUTS).items():
        np.testing.assert_allclose(found[name], values, atol=1e-4, err_msg=name)
    assert final_operator(signature, "scores") == "Sigmoid"
    assert final_operator(signature, "anchors") == "Sub"


@pytest.mark.parametrize("scheme", [Float32(), StaticWi8Ai8()], ids=["float32", "int8"])
def test_file_takes_and_returns_values_by_name_when_inputs_come_in_another_order(saved, scheme):
    def sample():
        for place in range(16):
            yield {name: values[place : place + 1] for name, values in reversed(INPUTS.items())}

    content = convert(saved, scheme, sample)
    found = TFLiteModel(content).predict(dict(reversed(INPUTS.items())))
    for name, values in expected(INPUTS).items():
        tolerance = 1e-4 if scheme.is_float else 0.03 * np.abs(values).max()
        np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=name)

    inspection = inspect_model(content)
    assert {fact.signature for fact in inspection.inputs} == set(INPUTS)
    ends = {fact.signature: fact for fact in inspection.outputs}
    assert set(ends) == {"scores", "boxes", "anchors"}
    if scheme.is_float:
        assert {(fact.scale, fact.zero_point) for fact in ends.values()} == {(None, None)}
    else:
        assert (ends["scores"].scale, ends["scores"].zero_point) == (1 / 256, -128)
        low, high = (float(end) for end in (np.min(expected(INPUTS)["boxes"]), np.max(expected(INPUTS)["boxes"])))
        assert ends["boxes"].scale == pytest.approx((high - low) / 255, rel=0.02)


def test_one_tensor_that_is_two_outputs_keeps_both_names(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def serve(x):
        doubled = 2.0 * x
        return {"second": doubled, "first": doubled, "third": x + 1.0}

    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    content = convert(tmp_path, Float32(), None)
    x = INPUTS["left"]
    found = TFLiteModel(content).predict({"x": x})
    assert set(found) == {"first", "second", "third"}
    np.testing.assert_array_equal(found["first"], 2 * x)
    np.testing.assert_array_equal(found["second"], 2 * x)
    np.testing.assert_array_equal(found["third"], x + 1)
    assert sorted(fact.signature for fact in inspect_model(content).outputs) == ["first", "second", "third"]
