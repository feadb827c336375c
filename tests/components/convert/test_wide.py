"""Models with more weights than ai-edge-quantizer keeps inside a flatbuffer, through every scheme and on every runtime.

What Vela and TensorFlow Lite Micro do not take is stated with the outcome that the device check reports.
"""

from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from components.convert.aeq.recover import recover
from components.convert.checks.scheme_check import scheme_violations
from components.convert.compaction import compacted
from components.convert.representative import Sample
from components.convert.tensorflow.converter import convert
from components.core.errors import ConversionError
from components.device_check.tflm import measure_with_tflm
from components.device_check.vela import measure_with_vela
from components.fake_quantize.qat import quantized
from components.model.keras_model import export
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.devices.device_tools import TflmEvaluator, VelaEvaluator
from components.spec.ranges import KeepLayersFloat, Percentile
from components.spec.scheme import DynamicWi8Afp32, Float16, Float32, StaticWi4Ai8, StaticWi8Ai8, StaticWi8Ai16
from components.spec.steps.qat import QatStep

VELA = VelaEvaluator(accelerator="ethos-u55-128", system_config="Ethos_U55_High_End_Embedded")
FEATURES = 256
WHOLE = Percentile(percentile=100)
LAST = KeepLayersFloat(names=("y",))
# ai-edge-quantizer writes the files with chosen ranges and with float layers, TensorFlow the others.
SCHEMES = {
    "float32": Float32(),
    "float16": Float16(),
    "dynamic": DynamicWi8Afp32(),
    "int8": StaticWi8Ai8(),
    "int8 with chosen ranges": StaticWi8Ai8(calibration_method=WHOLE),
    "int8 with a float layer": StaticWi8Ai8(keep_float=LAST),
    "16x8": StaticWi8Ai16(),
    "16x8 with chosen ranges": StaticWi8Ai16(calibration_method=WHOLE),
    "16x8 with a float layer": StaticWi8Ai16(keep_float=LAST),
}
INJECTED = [name for name in SCHEMES if name.endswith(("ranges", "layer"))]
SIZES = (300, 1200)
# What the microcontroller's runtime does not take, in its words.
REFUSED = {
    "float16": "Node DEQUANTIZE (number 0) failed to prepare",
    "dynamic": "Input type: FLOAT32 with filter type: INT8 not supported",
}
# What the NPU leaves to the CPU; it takes all of the others.
ON_THE_CPU = {
    "float32": ["FullyConnected"] * 2,
    "float16": ["Dequantize"] * 2 + ["FullyConnected"] * 2,
    "dynamic": ["FullyConnected"] * 2,
    "int8 with a float layer": ["Dequantize", "FullyConnected", "Quantize"],
    "16x8 with a float layer": ["Dequantize", "FullyConnected", "Quantize"],
}


class Wide:
    """A dense network whose int8 weights take about so many KiB, and its files."""

    def __init__(self, save, kib):
        self.units = kib * 1024 // FEATURES
        random = np.random.default_rng(kib)
        first = random.normal(size=(FEATURES, self.units), scale=0.06).astype(np.float32)
        second = random.normal(size=(self.units, 10), scale=0.03).astype(np.float32)
        variables = [tf.Variable(first), tf.Variable(second)]

        def serve(x):
            return {"y": tf.matmul(tf.nn.relu(tf.matmul(x, variables[0])), variables[1])}

        self.saved_model = save(serve, tf.TensorSpec([None, FEATURES], tf.float32, name="x"), variables=variables)
        self.inputs = {"x": random.normal(size=(24, FEATURES)).astype(np.float32)}
        self.values = np.maximum(self.inputs["x"] @ first, 0) @ second
        self.made = cache(self._made)

    def _made(self, name):
        """The file of a scheme as its back-end writes it, and the names of the tensors that stay float."""
        scheme = SCHEMES[name]
        if name in INJECTED:
            made = recover(self.made("float32")[0], scheme, Sample(self.inputs))
            return made.content, made.kept_tensors
        return convert(self.saved_model, scheme, self._samples), frozenset()

    def _samples(self):
        for one in self.inputs["x"]:
            yield {"": one[None]}


@pytest.fixture(scope="module")
def wide(save):
    """KiB of weights -> model."""
    return cache(lambda kib: Wide(save, kib))


def outputs(content, inputs):
    (values,) = TFLiteModel(content).predict(inputs).values()
    return values


def operators_of(content):
    return sum(use.count for use in inspect_model(content).operators)


def inline_bytes(content):
    model = schema.Model.GetRootAs(content)
    held = [model.Buffers(index) for index in range(model.BuffersLength())]
    assert not [one for one in held if one.Offset() or one.Size()]
    return sum(one.DataLength() for one in held)


@pytest.mark.parametrize("kib", SIZES)
@pytest.mark.parametrize("name", SCHEMES)
def test_weights_of_any_size_are_inside_the_compact_file_which_computes_the_same(wide, kib, name):
    model = wide(kib)
    content, kept = model.made(name)
    small = compacted(content)
    facts = inspect_model(small)
    assert scheme_violations(SCHEMES[name], inspect_model(content), kept) == []
    assert max(one.bytes for one in facts.weights) == FEATURES * model.units * {"float32": 4, "float16": 2}.get(name, 1)
    assert facts.weight_bytes == inspect_model(content).weight_bytes
    # Besides weights there is metadata.
    assert facts.weight_bytes <= inline_bytes(small) <= inline_bytes(content) < facts.weight_bytes + 1024
    before, after = (outputs(one, model.inputs) for one in (content, small))
    np.testing.assert_array_equal(before, after)
    assert np.abs(after - model.values).max() < 0.03 * np.ptp(model.values)


@pytest.mark.parametrize("kib", SIZES)
@pytest.mark.parametrize("name", SCHEMES)
def test_microcontroller_finds_weights_of_any_size_or_refuses_the_file_in_words(wide, kib, name):
    model = wide(kib)
    found = measure_with_tflm(compacted(model.made(name)[0]), model.inputs, TflmEvaluator())
    if name in REFUSED:
        assert (found.status, found.cause, found.transient) == ("failed", "refused", False)
        assert REFUSED[name] in found.message
        return
    # Weights that it does not find inside the file would be in the arena.
    assert found.arena_bytes < 40_000
    assert not found.outputs[0].gross
    # The kernels of the two runtimes round differently; a step of 16 bits is that much smaller.
    assert found.max_lsb <= (2 if name.startswith("16x8") else 1)


# TensorFlow's converter keeps weights of any size inside the file: one size shows what Vela makes of them.
@pytest.mark.parametrize(("kib", "name"), [*((300, name) for name in SCHEMES), *((1200, name) for name in INJECTED)])
def test_npu_takes_weights_of_any_size_or_leaves_operators_to_the_cpu(wide, kib, name):
    model = wide(kib)
    small = compacted(model.made(name)[0])
    found = measure_with_vela(small, operators_of(small), VELA)
    assert [one.name for one in found.cpu_operators] == ON_THE_CPU.get(name, [])
    if found.npu_operators == 0:
        assert (found.cycles, found.macs, found.flash_bytes) == (None, None, None)
        return
    # Vela compresses weights: random ones by a tenth.
    on_the_npu = model.units * (FEATURES + (0 if name in ON_THE_CPU else 10))
    assert found.macs == on_the_npu
    assert 0.8 * on_the_npu < found.flash_bytes < on_the_npu


# Two weights in a byte: these take 308 and 1,196 KiB.
@pytest.mark.parametrize("units", [2400, 9200])
def test_weights_of_four_bits_of_any_size_compute_the_same_on_every_runtime(units, tmp_path):
    tf.keras.utils.set_random_seed(7)
    layers = tf.keras.layers
    signal = layers.Input([FEATURES], name="x")
    model = tf.keras.Model(signal, layers.Dense(8, name="y")(layers.Dense(units, activation="relu")(signal)))
    trained = quantized(model, QatStep.model_validate({"kind": "qat", "epochs": 1}), StaticWi4Ai8(), 1)
    inputs = np.random.default_rng(8).normal(size=(64, FEATURES)).astype(np.float32)
    values = trained(inputs, training=True).numpy()
    export(trained, tmp_path)
    content = convert(tmp_path / "Format-Serving", StaticWi4Ai8(), None)
    small = compacted(content)
    assert scheme_violations(StaticWi4Ai8(), inspect_model(content)) == []
    assert [(one.dtype, one.bytes) for one in inspect_model(small).weights[:1]] == [("INT4", FEATURES * units // 2)]
    assert 0 <= inline_bytes(small) - inspect_model(small).weight_bytes < 256
    before, after = (outputs(one, {"x": inputs}) for one in (content, small))
    np.testing.assert_array_equal(before, after)
    assert np.abs(after - values).max() < 0.05 * np.ptp(values)
    assert measure_with_tflm(small, {"x": inputs[:4]}, TflmEvaluator()).max_lsb <= 1
    found = measure_with_vela(small, operators_of(small), VELA)
    assert (found.cause, found.transient) == ("crashed", False)
    assert found.message.startswith("Vela died of SIGFPE while compiling for the NPU")


def test_clipped_bias_is_refused_wherever_the_file_keeps_it(save):
    random = np.random.default_rng(1)
    kernel = tf.Variable(random.normal(size=(FEATURES, 1200), scale=1e-6).astype(np.float32))
    bias = tf.Variable(np.full(1200, 1e6, np.float32))

    def serve(x):
        return {"y": tf.matmul(x, kernel) + bias}

    folder = save(serve, tf.TensorSpec([None, FEATURES], tf.float32, name="x"), variables=[kernel, bias])
    inputs = random.normal(size=(8, FEATURES)).astype(np.float32)
    with pytest.raises(ConversionError, match="does not fit in 32 bits"):
        recover(convert(folder, Float32(), None), StaticWi8Ai8(calibration_method=WHOLE), Sample({"x": inputs}))
