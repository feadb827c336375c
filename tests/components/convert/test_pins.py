"""Pinned quantization of inputs and outputs, on every route of conversion, and what it clips."""

import json

import numpy as np
import pytest

from components.convert import pins as pins_module
from components.convert.job import MODEL_FILE, ConversionRequest, run
from components.convert.pins import measured_pins, with_pins
from components.core.errors import ConversionError
from components.device_check.tflm import run_with_tflm
from components.device_check.vela import measure_with_vela
from components.facts.artifact_paths import OUTCOME_FILE
from components.facts.conversion import outcome_of
from components.model.tflite_file import inspect_model
from components.ranges.affine import quantize
from components.spec.devices.device_tools import TflmEvaluator, VelaEvaluator
from components.spec.devices.pinned import PinnedTensor, Pins
from components.spec.scheme import StaticWi8Ai8

# MLPerf Tiny's keyword spotter takes int8 features with this scale and zero point.
MLPERF = {"scale": 0.5847, "zero_point": 83}
INPUT = {"name": "image", "scale": 0.005, "zero_point": -100}
OUTPUT = {"name": "logits", "scale": 0.03, "zero_point": 5}


def pins_of(inputs=(), outputs=()):
    return Pins(
        inputs=tuple(map(PinnedTensor.model_validate, inputs)), outputs=tuple(map(PinnedTensor.model_validate, outputs))
    )


def interpreter(content):
    import tensorflow as tf

    made = tf.lite.Interpreter(model_content=content, num_threads=1)
    made.allocate_tensors()
    return made


def details(content):
    made = interpreter(content)
    return made.get_input_details()[0], made.get_output_details()[0]


def run_raw(content, integers):
    """Outputs for raw input integers, without any code of ours."""
    made = interpreter(content)
    (source,), (sink,) = made.get_input_details(), made.get_output_details()
    rows = []
    for one in integers:
        made.set_tensor(source["index"], one[None])
        made.invoke()
        rows.append(made.get_tensor(sink["index"])[0])
    return np.array(rows)


@pytest.fixture(scope="module")
def convert(convnet, calibration, task_module, tmp_path_factory):
    def convert(scheme, pins=None, saved_model=convnet.saved_model, sample=True):
        folder = tmp_path_factory.mktemp("converted")
        request = ConversionRequest(
            name="small",
            scheme=scheme,
            saved_model=str(saved_model),
            calibration=str(calibration) if sample else None,
            task=f"{task_module}:TASK",
            pins=pins or Pins(),
        )
        run(request, folder)
        outcome = outcome_of((folder / OUTCOME_FILE).read_bytes())
        return outcome, (folder / MODEL_FILE).read_bytes() if outcome.status == "converted" else None

    return convert


@pytest.fixture(scope="module")
def plain(convert):
    return convert(StaticWi8Ai8())[1]


@pytest.fixture(scope="module")
def trained(save):
    """A model with the ranges that a step trains, as fake quantization in its graph."""
    import tensorflow as tf

    random = np.random.default_rng(6)
    weights = tf.Variable(random.normal(size=(64, 10), scale=0.1).astype(np.float32))
    fake = tf.quantization.fake_quant_with_min_max_vars

    def serve(image):
        taken = fake(tf.reshape(image, [-1, 64]), 0.0, 1.0)
        limit = 0.4
        product = tf.matmul(taken, fake(weights, -limit, limit, narrow_range=True))
        return {"logits": fake(product, -3.0, 3.0)}

    return save(serve, tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image"), variables=[weights])


ROUTES = {
    "tensorflow": {"kind": "static_wi8_ai8"},
    "aeq": {"kind": "static_wi8_ai8", "calibration_method": {"kind": "percentile"}},
    "16 bits": {"kind": "static_wi8_ai16"},
    "trained": {"kind": "static_wi8_ai8"},
}


@pytest.mark.parametrize("route", ROUTES)
def test_candidates_of_every_route_have_exactly_the_pinned_values(convert, convnet, trained, route):
    saved = {"saved_model": trained, "sample": False} if route == "trained" else {}
    scheme = ConversionRequest.model_validate({"name": "n", "scheme": ROUTES[route], "saved_model": "m"}).scheme
    wide = {"dtype": "int16", "scale": 0.0001, "zero_point": 0} if route == "16 bits" else {}
    before, _ = convert(scheme, None, **saved)
    outcome, content = convert(scheme, pins_of([{**INPUT, **wide}], [OUTPUT]), **saved)
    assert outcome.status == "converted", outcome
    (taken,), (given,) = outcome.inspection.inputs, outcome.inspection.outputs
    assert (taken.dtype, taken.zero_point) == (("INT16", 0) if wide else ("INT8", -100))
    assert taken.signature == "image"
    assert (given.dtype, given.zero_point, given.signature) == ("INT8", 5, "logits")
    assert (taken.scale, given.scale) == (np.float32(0.0001 if wide else 0.005), np.float32(0.03))
    facts = {fact.kind: fact for fact in outcome.pinned}
    assert facts["input"].requantized and facts["output"].requantized
    assert facts["input"].converted_scale == before.inspection.inputs[0].scale
    assert facts["output"].converted_zero_point == before.inspection.outputs[0].zero_point
    assert (facts["input"].clipped is None) == (route == "trained")
    # The float model is near on both sides of the border.
    images = convnet.images[:, 0]
    source, sink = details(content)
    raw = run_raw(content, quantize(images, *source["quantization"], source["dtype"]))
    logits = (raw.astype(np.float32) - sink["quantization"][1]) * sink["quantization"][0]
    if route != "trained":
        expected = np.concatenate([convnet.oracle(image) for image in convnet.images])
        assert np.abs(logits - expected).max() < 0.08


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 83), ("uint8", 20), ("int16", 0)])
def test_pinned_integers_are_usable_as_they_are_and_give_what_requantizing_them_gives(plain, dtype, zero_point):
    scale = 0.004 if dtype != "int16" else 1 / 32768
    content = with_pins(plain, pins_of([{"dtype": dtype, "scale": scale, "zero_point": zero_point}]))
    source, _ = details(content)
    assert source["dtype"] == np.dtype(dtype) and source["quantization"] == (np.float32(scale), zero_point)
    limits = np.iinfo(dtype)
    integers = np.random.default_rng(1).integers(limits.min, limits.max + 1, (16, 8, 8, 1)).astype(dtype)
    inner, _ = details(plain)
    real = (integers.astype(np.float64) - zero_point) * np.float32(scale)
    expected = run_raw(plain, quantize(real, *inner["quantization"], np.int8))
    found = run_raw(content, integers)
    # Fixed-point multiplication rounds few ties in another direction.
    assert np.mean(found != expected) < 0.02
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_official_values_of_a_benchmark_are_exact(plain):
    content = with_pins(plain, pins_of([MLPERF]))
    source, _ = details(content)
    assert source["quantization"] == (np.float32(0.5847), 83)
    assert source["name"] == details(plain)[0]["name"]


def test_file_that_has_the_pinned_values_is_returned_byte_for_byte(plain):
    source, sink = details(plain)
    same = [{"scale": each["quantization"][0], "zero_point": each["quantization"][1]} for each in (source, sink)]
    assert with_pins(plain, pins_of(same[:1], same[1:])) == plain
    (fact,) = measured_pins(plain, plain, pins_of(same[:1]), None)
    assert not fact.requantized and fact.clipped is None


def test_pinned_file_runs_on_tensorflow_lite_micro_and_on_an_npu(plain, convnet):
    content = with_pins(plain, pins_of([INPUT], [OUTPUT]))
    facts, _ = run_with_tflm(content, {"image": convnet.images[:4, 0]}, TflmEvaluator())
    assert facts.max_lsb <= 2
    vela = VelaEvaluator(accelerator="ethos-u55-64", system_config="Ethos_U55_Deep_Embedded")
    operators = sum(use.count for use in inspect_model(content).operators)
    assert measure_with_vela(content, operators, vela).cpu_operators == ()


def test_share_of_clipped_values_is_measured_on_the_calibration_sample(convert, convnet):
    images = convnet.images
    # Integers from -128 to 127 are 0 to 0.9945; half a step more is still nearest to the last.
    pinned = {"name": "image", "scale": 0.0039, "zero_point": -128, "max_clipped": 0.05}
    outcome, _ = convert(StaticWi8Ai8(), pins_of([pinned]))
    (fact,) = outcome.pinned
    assert fact.clipped == pytest.approx(np.mean(images > 255 * 0.0039 + 0.00195))
    assert 0 < fact.clipped < 0.01


@pytest.mark.parametrize("kind", ["input", "output"])
def test_range_that_clips_too_much_fails_the_conversion_with_the_share(convert, convnet, kind):
    name = {"input": "image", "output": "logits"}[kind]
    pinned = {"name": name, "scale": 0.002, "zero_point": -128, "max_clipped": 0.02}
    outcome, _ = convert(StaticWi8Ai8(), pins_of(**{f"{kind}s": [pinned]}))
    assert (outcome.status, outcome.cause) == ("failed", "refused")
    assert f"pinned_{kind}s of the device profile: the pinned range of the {kind} {name!r} clips " in outcome.message
    assert "expected: at most 2.000% outside 0 to 0.51; found: values from " in outcome.message
    if kind == "input":
        share = np.mean(convnet.images > 0.511)
        assert f"clips {share:.3%} of the calibration sample's values" in outcome.message
    assert "raise max_clipped" in outcome.remedy


@pytest.mark.parametrize(
    ("inputs", "outputs", "message", "found"),
    [
        ([{**INPUT, "name": "sound"}], [], "the device pins the input 'sound', which the model does not have", "image"),
        ([], [{**OUTPUT, "name": "y"}], "the device pins the output 'y', which the model does not have", "logits"),
    ],
)
def test_name_that_the_model_does_not_have_is_an_error_with_those_there_are(plain, inputs, outputs, message, found):
    with pytest.raises(ConversionError, match=message) as caught:
        with_pins(plain, pins_of(inputs, outputs))
    assert f"(expected: {found}; found: " in str(caught.value)


def test_wider_integers_inside_than_outside_are_an_error_by_name(convert):
    scheme = ConversionRequest.model_validate({"name": "n", "scheme": "static_wi8_ai16", "saved_model": "m"}).scheme
    _, content = convert(scheme)
    with pytest.raises(ConversionError, match="has no kernel that makes the input 'image' int8") as caught:
        with_pins(content, pins_of([INPUT]))
    assert "found: int8 and INT16" in str(caught.value)


def test_float_input_is_an_error_by_name(convert):
    _, content = convert(StaticWi8Ai8(float_io=True))
    with pytest.raises(ConversionError, match="the input 'image' is not an integer tensor with one scale") as caught:
        with_pins(content, pins_of([INPUT]))
    assert "found: FLOAT32" in str(caught.value) and "without float_io" in str(caught.value)


def test_states_of_a_streaming_model_are_not_pinned(monkeypatch, plain):
    # A state is copied from output to input, so both must keep one quantization.
    monkeypatch.setattr(pins_module, "state_pairs", lambda inputs, outputs: dict(zip(inputs, outputs, strict=True)))
    with pytest.raises(ConversionError, match="the device pins the input 'image', which the model does not have"):
        with_pins(plain, pins_of([INPUT]))


def test_request_without_pins_is_as_before():
    assert json.loads(ConversionRequest(name="n", scheme=StaticWi8Ai8(), saved_model="m").model_dump_json())[
        "pins"
    ] == {
        "inputs": [],
        "outputs": [],
    }
