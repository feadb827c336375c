"""Kernels whose inputs have the scale of their output keep its trained range, whatever reads it.

The first input of each has the smallest range: if it were the range of all, the file would clip the others.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.facts.artifact_paths import SERVING_FOLDER
from components.fake_quantize.layers import has_one_scale
from components.fake_quantize.qat import quantized, ready_to_export, trained_ranges
from components.model.keras_model import export
from components.spec.scheme import StaticWi8Ai8, StaticWi8Ai16
from components.spec.steps.qat import QatStep
from components.upstream.tfmot import QuantizeWrapper

layers = tf.keras.layers
STEP = QatStep.model_validate({"kind": "qat", "epochs": 1})
EXAMPLES = 16
KERNELS = {"CONCATENATION", "PACK", "MAXIMUM", "MINIMUM", "SELECT_V2", "SELECT"}


def part(x, function=tf.identity, width=1.0):
    dense = layers.Dense(16, kernel_initializer=tf.keras.initializers.RandomNormal(0.0, 0.5 * width))
    return layers.Reshape((2, 2, 4))(function(dense(x)))


def small(x):
    return part(x, width=0.1)


def large(x):
    return part(x, tf.square)


def pair(x):
    return layers.Concatenate()([small(x), large(x)])


def read_elsewhere(x):
    """A concatenation of a tensor that has other readers, so that its own range isn't lost."""
    first = small(x)
    return layers.Concatenate()([first, large(x)]) * layers.Concatenate()([first, 0.5 * first])


# The smallest first. The condition is of the input, which has the same values in the file.
JOINS = {
    "concatenate": lambda x: layers.Concatenate()(
        [part(x, tf.nn.relu, 0.2), part(x, tf.abs), large(x), part(x, lambda y: tf.clip_by_value(y, -0.25, 0.5))]
    ),
    "concat": lambda x: tf.concat([small(x), large(x)], 1),
    "elsewhere": read_elsewhere,
    "maximum": lambda x: tf.maximum(small(x), large(x)),
    "minimum": lambda x: layers.Minimum()([small(x), part(x, lambda y: -tf.square(y))]),
    "stack": lambda x: tf.stack([small(x), large(x)], 2)[:, :, 1],
    "stacked": lambda x: tf.reduce_max(tf.stack([small(x), large(x)], 1), -1),
    "where": lambda x: tf.where(x[:, :1, None, None] > 0.0, small(x), large(x)),
    "constant": lambda x: tf.maximum(small(x), 1.5),
}
CORNERS = [[0, 0], [1, 0], [0, 1], [0, 0]]
READERS = {
    "reshape": lambda y: tf.reshape(y, [-1, y.shape[1] * 2, y.shape[2] * y.shape[3] // 2]),
    "transpose": layers.Permute((3, 1, 2)),
    "twice": lambda y: tf.transpose(layers.Reshape((8, -1))(y), [0, 2, 1]),
    "flatten": layers.Flatten(),
    "matmul": lambda y: tf.matmul(y, y, transpose_a=True),
    "conv": layers.Conv2D(3, 2),
    "both": lambda y: layers.Flatten()(y) - 0.5 * layers.Flatten()(y[:, ::-1]),
    "unit": lambda y: tf.squeeze(tf.expand_dims(y, 1)[:, :, :1], 2),
    "split": lambda y: (lambda halves: halves[0] - 0.5 * halves[1])(tf.split(y, 2, 1)),
    "unstack": lambda y: (lambda rows: rows[0] - 0.5 * rows[1])(tf.unstack(y, axis=1)),
    "rows": lambda y: tf.tile(tf.gather(y, [1, 0, 1], axis=1), [1, 2, 1, 1])[:, 1:, ::-1],
    "above": lambda y: tf.pad(y, CORNERS, constant_values=5.0),
    "below": lambda y: tf.pad(y, CORNERS, constant_values=-3.0),
    "edges": lambda y: layers.MaxPooling2D()(
        tf.image.resize(
            tf.pad(tf.pad(y, [[0, 0], [1, 0], [0, 1], [0, 0]], "REFLECT"), [[0, 0], [0, 1], [0, 1], [0, 0]]), (6, 6)
        )
    ),
}
BRANCHES = {
    **{name: (join, lambda y: y) for name, join in JOINS.items()},
    **{f"{name}_reshape": (JOINS[name], READERS["reshape"]) for name in ("maximum", "stack", "where")},
    **{f"pair_{name}": (pair, reader) for name, reader in READERS.items()},
}
IN_16_BITS = {
    "maximum": (lambda x: layers.Maximum()([part(x), part(x, width=4.0)]), READERS["reshape"]),
    "minimum": (lambda x: layers.Minimum()([part(x), part(x, width=4.0)]), READERS["transpose"]),
}


@dataclass
class Trained:
    """A model under fake quantization, its file, and by branch the largest difference of both, in steps."""

    model: tf.keras.Model
    content: bytes
    steps: dict


@pytest.fixture(scope="module", params=["int8", "int16"])
def trained(request, tmp_path_factory):
    scheme, branches = (StaticWi8Ai8(), BRANCHES) if request.param == "int8" else (StaticWi8Ai16(), IN_16_BITS)
    tf.keras.utils.set_random_seed(31)
    x = layers.Input((6,), name="x")
    outputs = {name: layers.Dense(3, name=f"{name}_read")(reader(join(x))) for name, (join, reader) in branches.items()}
    made = quantized(tf.keras.Model(x, list(outputs.values())), STEP, scheme, 1)
    data = np.random.default_rng(32).normal(0.0, 1.2, (64, 6)).astype(np.float32)
    made(data, training=True)
    before = made(data[:EXAMPLES], training=False)
    ready_to_export(made)
    for one, other in zip(before, made(data[:EXAMPLES], training=False), strict=True):
        np.testing.assert_array_equal(one, other)
    folder = tmp_path_factory.mktemp(request.param)
    export(made, folder, list(outputs))
    content = convert(folder / SERVING_FOLDER, scheme, None)
    return Trained(made, content, _steps(content, data[:EXAMPLES], dict(zip(outputs, before, strict=True))))


def _steps(content, data, wanted):
    runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    given, details = runner.get_input_details()["x"], runner.get_output_details()
    (scale, zero), kind = given["quantization"], given["dtype"]
    codes = np.clip(np.rint(data / scale) + zero, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
    rows = [runner(x=codes[index : index + 1]) for index in range(len(data))]
    found = {}
    for name, values in wanted.items():
        scale, zero = details[name]["quantization"]
        real = (np.concatenate([row[name] for row in rows]).astype(np.float64) - zero) * scale
        found[name] = np.abs(real - values.numpy()).max() / scale
    return found


def test_file_yields_what_fake_quantization_does(trained):
    # A few kernels, each off by at most one step.
    assert {name: steps for name, steps in trained.steps.items() if steps > 3.001} == {}


def test_each_kernel_has_its_trained_range(trained):
    wanted = [
        (one.scale, one.zero_point)
        for one in trained_ranges(trained.model)
        if _has_one_scale(trained.model, one.tensor)
    ]
    interpreter = tf.lite.Interpreter(model_content=trained.content)
    details = {one["index"]: one["quantization"] for one in interpreter.get_tensor_details()}
    joined = [one for one in interpreter._get_ops_details() if one["op_name"] in KERNELS]
    found = [details[index] for one in joined for index in one["outputs"]]
    np.testing.assert_allclose(sorted(found), sorted(wanted), rtol=1e-6)


def _has_one_scale(model, name):
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper) and layer.layer.name == name:
            return has_one_scale(type(layer.layer).__name__, getattr(layer.layer, "function", None))
    return False


def test_nothing_is_added_for_it(trained):
    # The branches have slices only of rows, which are strided.
    names = {one["op_name"] for one in tf.lite.Interpreter(model_content=trained.content)._get_ops_details()}
    assert names.isdisjoint({"SLICE", "DEQUANTIZE"})
