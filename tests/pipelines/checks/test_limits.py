"""The table of components/spec/schemes/limits.py, compared with the installed converter and with what checks find.

One model has a branch for each operator. Where the converter may fall back to floats, it leaves those operators float
that it refuses otherwise. `test_converter_refuses_in_16_bits` measures this for some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.convert.checks.kernels import does_not_run
from components.convert.checks.scheme_check import scheme_violations
from components.convert.compaction import read_model
from components.convert.tensorflow.converter import convert
from components.core.errors import ConversionError
from components.model.keras_model import input_specs
from components.model.tflite_file import inspect_model
from components.spec.recipe import Recipe
from components.spec.scheme import DynamicWi8Afp32, Float16, Float32, Scheme, StaticWi8Ai8, StaticWi8Ai16
from components.spec.schemes.limits import (
    DYNAMIC_MINIMUM_ELEMENTS,
    OPERATORS,
    WITHOUT_OPERATOR,
    operator_limits,
)
from components.upstream.tflite.objects import schema
from pipelines.checks.conversion_check import _PLAIN, ConvertedModel, conversion_refusals, rows_without_kernel

layers = tf.keras.layers
SHAPES = {"image": (4, 4, 4), "volume": (3, 3, 3, 2), "vector": (12,)}


def positive(x):
    return tf.nn.relu(x) + 0.5


def turned(x):
    return x[:, ::-1]


EVERY_OTHER = [True, False] * 6
# Operator -> its source, and a layer or function that becomes it.
MADE_BY = {
    "ARG_MAX": ("vector", lambda x: tf.argmax(x, 1)),
    "ARG_MIN": ("vector", lambda x: tf.argmin(x, 1)),
    "ATAN2": ("vector", lambda x: tf.atan2(x, x + 1.0)),
    "BUCKETIZE": ("vector", lambda x: tf.raw_ops.Bucketize(input=x, boundaries=[0.0, 1.0])),
    "CAST": ("vector", lambda x: tf.cast(tf.cast(x, tf.int32), tf.float32)),
    "CEIL": ("vector", tf.math.ceil),
    "COMPLEX_ABS": ("vector", lambda x: tf.abs(tf.signal.rfft(x, [32]))),
    "CONV_3D": ("volume", layers.Conv3D(2, 2)),
    "CONV_3D_TRANSPOSE": ("volume", layers.Conv3DTranspose(2, 2)),
    "COS": ("vector", tf.cos),
    "CUMSUM": ("vector", lambda x: tf.cumsum(x, 1)),
    "DEPTH_TO_SPACE": ("image", lambda x: tf.nn.depth_to_space(x, 2)),
    "DIV": ("vector", lambda x: turned(x) / positive(x)),
    "ELU": ("vector", layers.ELU()),
    "EQUAL": ("vector", lambda x: tf.equal(x, turned(x))),
    "FLOOR": ("vector", tf.floor),
    "FLOOR_DIV": ("vector", lambda x: tf.math.floordiv(x, 0.3)),
    "FLOOR_MOD": ("vector", lambda x: tf.math.floormod(x, 0.3)),
    "GELU": ("vector", layers.Activation("gelu")),
    "GREATER": ("vector", lambda x: tf.greater(x, turned(x))),
    "GREATER_EQUAL": ("vector", lambda x: tf.greater_equal(x, turned(x))),
    "HARD_SWISH": ("image", lambda x: x * tf.nn.relu6(x + 3.0) / 6.0),
    "L2_NORMALIZATION": ("vector", layers.UnitNormalization()),
    "LESS": ("vector", lambda x: tf.less(x, turned(x))),
    "LESS_EQUAL": ("vector", lambda x: tf.less_equal(x, turned(x))),
    "LOCAL_RESPONSE_NORMALIZATION": ("image", tf.nn.local_response_normalization),
    "LOG_SOFTMAX": ("vector", tf.nn.log_softmax),
    "NEG": ("vector", tf.negative),
    "NOT_EQUAL": ("vector", lambda x: tf.not_equal(x, turned(x))),
    "ONE_HOT": ("vector", lambda x: tf.one_hot(tf.argmax(x, 1), 5)),
    "PADV2": ("image", lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)),
    "POW": ("vector", lambda x: tf.pow(positive(x), 2.5)),
    "PRELU": ("image", layers.PReLU(shared_axes=[1, 2])),
    "RANDOM_STANDARD_NORMAL": ("vector", lambda x: x + tf.random.normal(tf.shape(x))),
    "RANDOM_UNIFORM": ("vector", lambda x: x * tf.random.uniform(tf.shape(x))),
    "RFFT2D": ("vector", lambda x: tf.abs(tf.signal.rfft(x, [16]))),
    "ROUND": ("vector", tf.round),
    "SCATTER_ND": ("vector", lambda x: tf.tensor_scatter_nd_update(x, [[0, 1]], [0.5])),
    "SEGMENT_SUM": ("vector", lambda x: tf.math.segment_sum(x[0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])),
    "SELECT_V2": ("vector", lambda x: tf.where(tf.constant(EVERY_OTHER), x, turned(x))),
    "SIGN": ("vector", tf.sign),
    "SIN": ("vector", tf.sin),
    "SPACE_TO_DEPTH": ("image", lambda x: tf.nn.space_to_depth(x, 2)),
    "SQRT": ("vector", lambda x: tf.sqrt(positive(x))),
    "SQUARE": ("vector", tf.square),
    "SQUARED_DIFFERENCE": ("vector", lambda x: tf.math.squared_difference(x, turned(x))),
    "TILE": ("vector", layers.RepeatVector(3)),
    "TOPK_V2": ("vector", lambda x: tf.math.top_k(x, 3).values),
    "ZEROS_LIKE": ("vector", lambda x: tf.where(tf.constant(EVERY_OTHER), x, tf.zeros_like(x))),
}


def model_of(branches: Mapping[str, tuple[str, Any]], *, of_layers: bool = False) -> Any:
    """A Keras model with one output for each branch, each behind a layer with weights.

    Args:
        branches: Source and layer or function. A function becomes a Lambda layer, unless it is `of_layers`.
    """
    tf.keras.utils.set_random_seed(3)
    sources = {name: layers.Input(shape, name=name) for name, shape in SHAPES.items()}
    # The same layer for all of a source would be read by operators in float and in integers.
    behind = {"image": lambda: layers.Conv2D(4, 1), "volume": layers.ReLU, "vector": lambda: layers.Dense(12)}
    used, outputs = {}, []
    for source, make in branches.values():
        used[source] = sources[source]
        branch = make if of_layers or isinstance(make, layers.Layer) else layers.Lambda(make)
        outputs.append(branch(behind[source]()(sources[source])))
    return tf.keras.Model(list(used.values()), outputs)


def converted(model: Any, scheme: Scheme, folder: Path, *, traces_layers: bool = True) -> bytes:
    """The file that the converter makes from a model with any number of outputs.

    Without `traces_layers`, the SavedModel has only the signature and the variables, which is quicker.
    """
    specs = input_specs(model)

    @tf.function(autograph=False)
    def serve(*inputs: Any) -> dict[str, Any]:
        outputs = tf.nest.flatten(model(list(inputs) if len(inputs) > 1 else inputs[0], training=False))
        return {f"output{index}": output for index, output in enumerate(outputs)}

    module = tf.Module()
    module.held = model if traces_layers else model.variables
    signature = serve.get_concrete_function(*specs.values())
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})

    def sample() -> Iterator[dict[str, Any]]:
        generator = np.random.default_rng(5)
        for _ in range(3):
            yield {name: generator.normal(size=[1, *spec.shape[1:]]).astype(np.float32) for name, spec in specs.items()}

    return convert(folder, scheme, sample if scheme.is_static else None)


def reported(model: Any, *schemes: Scheme) -> str:
    """What the check says about recipes of these schemes."""
    checked = ConvertedModel(model)
    recipes = [Recipe(name=f"r{index}", scheme=scheme) for index, scheme in enumerate(schemes)]
    return "\n".join(str(e) for recipe in recipes for e in conversion_refusals(recipe, checked, recurrent=False))


def integer_kinds(content: bytes) -> set[str]:
    """Kinds of operators of which the file has one without a float input or output."""
    model = read_model(content)
    graph = model.subgraphs[0]
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    return {
        kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        for operator in graph.operators
        for code in [model.operatorCodes[operator.opcodeIndex]]
        if all(
            graph.tensors[index].type != schema.TensorType.FLOAT32
            for index in (*operator.inputs, *operator.outputs)
            if index >= 0
        )
    }


@pytest.fixture(scope="module")
def zoo() -> Any:
    return model_of({name: made for name, made in MADE_BY.items() if name != "CAST"})


@pytest.fixture(scope="module")
def graph(zoo: Any) -> Any:
    return ConvertedModel(zoo).graph


def test_every_row_has_a_model_and_the_float_file_has_its_operator(graph: Any) -> None:
    assert set(MADE_BY) == set(OPERATORS)
    # A graph whose sizes are all known has constants instead of ZEROS_LIKE.
    assert set(OPERATORS) - graph.kinds <= {"CAST", "ZEROS_LIKE"}


def test_generations_differ_in_three_rows() -> None:
    older, newer = operator_limits("2.16.2"), operator_limits("2.21.0")
    assert {name for name in older if older[name] != newer[name]} == {"DIV", "SQRT", "GELU"}
    assert older["DIV"].float_in_8_bits and not newer["DIV"].float_in_8_bits and newer["DIV"].refused_in_16_bits
    assert older["GELU"].not_run_in_16_bits and not newer["GELU"].not_run_in_16_bits


def test_rows_of_8_bits_stay_float_and_the_others_become_integers(zoo: Any, tmp_path: Path) -> None:
    integers = integer_kinds(converted(zoo, StaticWi8Ai8(float_io=True), tmp_path, traces_layers=False))
    assert {name for name in set(MADE_BY) - {"CAST"} if OPERATORS[name].float_in_8_bits} & integers == set()
    assert {name for name in set(MADE_BY) - {"CAST"} if not OPERATORS[name].float_in_8_bits} - integers == set()


def test_rows_of_16_bits_stay_float_where_they_may_and_the_others_become_integers(zoo: Any, tmp_path: Path) -> None:
    integers = integer_kinds(
        converted(zoo, StaticWi8Ai16(float_fallback=True, float_io=True), tmp_path, traces_layers=False)
    )
    assert {name for name in set(MADE_BY) - {"CAST"} if OPERATORS[name].refused_in_16_bits} & integers == set()
    assert {name for name in set(MADE_BY) - {"CAST"} if not OPERATORS[name].refused_in_16_bits} - integers == set()


@pytest.mark.parametrize("name", ["PRELU", "HARD_SWISH", "DEPTH_TO_SPACE", "CAST"])
def test_converter_refuses_in_16_bits(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=f"cannot quantize the operator {name} in this scheme"):
        converted(model_of({name: MADE_BY[name]}), StaticWi8Ai16(), tmp_path)


@pytest.mark.parametrize("name", [name for name, row in OPERATORS.items() if row.not_run_in_16_bits])
def test_runtime_has_no_kernel_for_what_the_converter_writes_in_16_bits(name: str, tmp_path: Path) -> None:
    content = converted(model_of({name: MADE_BY[name]}), StaticWi8Ai16(), tmp_path)
    assert does_not_run(content)


def test_lstm_is_refused_in_16_bits(tmp_path: Path) -> None:
    inputs = layers.Input([4, 3], name="series")
    model = tf.keras.Model(inputs, layers.LSTM(2)(inputs))
    with pytest.raises(ConversionError, match="cannot quantize the operator UNIDIRECTIONAL_SEQUENCE_LSTM"):
        converted(model, StaticWi8Ai16(), tmp_path)


def test_check_finds_each_row_in_the_formats_that_it_rules_out(graph: Any) -> None:
    rows = {name: row for name, row in OPERATORS.items() if name in graph.kinds}
    for bits, found in (
        (8, ({name for name, row in rows.items() if row.float_in_8_bits}, set())),
        (
            16,
            (
                {name for name, row in rows.items() if row.refused_in_16_bits},
                {name for name, row in rows.items() if row.not_run_in_16_bits},
            ),
        ),
    ):
        assert tuple({row.name for row in each} for each in rows_without_kernel(graph, bits)) == found


def test_no_model_of_a_row_is_taken_for_plain() -> None:
    for name, made in MADE_BY.items():
        assert ConvertedModel(model_of({name: made})).operations - _PLAIN, name


def test_check_reports_operators_with_what_to_do() -> None:
    both = model_of({name: MADE_BY[name] for name in ("PRELU", "TILE")})
    refused, not_run = reported(both, StaticWi8Ai16()).splitlines()
    assert "scheme: there is no kernel for PRELU with 16-bit activations" in refused
    assert refused.endswith("Remedy: use ReLU or LeakyReLU, or use static_wi8_ai8, or add `float_fallback: true`")
    assert "scheme: there is no kernel for TILE with 16-bit activations" in not_run
    assert not_run.endswith("Remedy: use Concatenate, or use static_wi8_ai8, or use float16")
    assert reported(both, StaticWi8Ai16(float_fallback=True)) == not_run
    assert reported(both, StaticWi8Ai8(), Float32(), Float16()) == ""
    eight = reported(model_of({"ELU": MADE_BY["ELU"]}), StaticWi8Ai8())
    assert "there is no kernel for ELU with 8-bit activations" in eight
    assert eight.endswith("Remedy: use ReLU or LeakyReLU, or add `float_fallback: true`")


def test_second_back_end_is_asked_itself() -> None:
    percentile = StaticWi8Ai8(calibration_method={"kind": "percentile", "percentile": 99.9})
    assert "ranges cannot be injected into" in reported(model_of({"ELU": MADE_BY["ELU"]}), percentile)
    assert reported(model_of({"LOGISTIC": ("vector", tf.sigmoid)}), percentile) == ""


WITHOUT = {
    "Acos": tf.acos,
    "Atan": tf.atan,
    "AvgPool3D": lambda x: tf.nn.avg_pool3d(tf.reshape(x, [-1, 3, 2, 2, 1]), 2, 1, "SAME"),
    "Cosh": tf.cosh,
    "DenseBincount": lambda x: layers.CategoryEncoding(4)(tf.cast(x, tf.int32)),
    "Erf": tf.math.erf,
    "MaxPool3D": lambda x: tf.nn.max_pool3d(tf.reshape(x, [-1, 3, 2, 2, 1]), 2, 1, "SAME"),
    "LookupTableFindV2": lambda x: layers.IntegerLookup(vocabulary=[1, 2])(tf.cast(x, tf.int64)),
    "Sinh": tf.sinh,
    "Softsign": tf.nn.softsign,
    "StringToHashBucketFast": lambda x: layers.Hashing(4)(tf.cast(x, tf.int32)),
    "Tan": tf.tan,
}


def test_operations_without_an_operator_rule_out_every_format(tmp_path: Path) -> None:
    assert set(WITHOUT) >= set(WITHOUT_OPERATOR)
    model = model_of({name: ("vector", made) for name, made in WITHOUT.items()}, of_layers=True)
    with pytest.raises(ConversionError, match="TensorFlow Lite has no operator for") as caught:
        converted(model, Float32(), tmp_path)
    # Each row in both directions: TensorFlow 2.21 converts Softsign.
    assert {name for name in WITHOUT if name in str(caught.value)} == set(WITHOUT_OPERATOR)
    for scheme in (Float32(), DynamicWi8Afp32(), StaticWi8Ai8()):
        assert "TensorFlow Lite has no operator for Acos" in reported(model, scheme)


def test_operation_outside_the_table_rules_out_every_format() -> None:
    def boxes(x):
        found = tf.reshape(x, [-1, 3, 1, 4])
        return tf.image.combined_non_max_suppression(found, found[:, :, 0, :2], 2, 2).nmsed_boxes

    model = model_of({"boxes": ("vector", boxes)}, of_layers=True)
    for scheme in (Float32(), Float16(), StaticWi8Ai8()):
        assert "TensorFlow Lite has no operator for CombinedNonMaxSuppression" in reported(model, scheme)


def test_operation_in_a_layer_that_is_not_trained_is_reported_for_training() -> None:
    vector = layers.Input([12], name="vector")
    model = tf.keras.Model(vector, layers.Dense(3)(tf.math.erf(layers.Dense(12)(vector))))
    step = {"kind": "qat", "epochs": 1, "except": ["tf.math.erf"]}
    scheme = {"kind": "static_wi8_ai8", "float_fallback": True}
    recipe = Recipe.model_validate({"name": "r", "steps": [step], "scheme": scheme})
    (error,) = conversion_refusals(recipe, ConvertedModel(model), recurrent=False)
    assert "TensorFlow Lite has no operator for Erf" in str(error)


def test_operation_that_is_part_of_an_operator_rules_out_nothing() -> None:
    model = model_of({"GELU": ("vector", tf.nn.gelu)}, of_layers=True)
    # TensorFlow 2.16 computes it with Erf, and 2.21 with Erfc.
    assert ConvertedModel(model).operations & {"Erf", "Erfc"}
    assert reported(model, Float32(), Float16(), StaticWi8Ai8()) == ""


PLAIN = {
    "one": ("image", lambda x: layers.BatchNormalization()(layers.DepthwiseConv2D(3)(tf.pad(x, PADDING)))),
    "two": ("image", lambda x: tf.nn.relu(layers.Conv2DTranspose(3, 3)(tf.nn.max_pool2d(x, 2, 2, "SAME")))),
    "three": ("image", lambda x: layers.UpSampling2D(interpolation="bilinear")(tf.nn.avg_pool2d(x, 2, 2, "SAME"))),
    "four": ("image", lambda x: layers.Permute((3, 1, 2))(layers.UpSampling2D()(x))),
    "five": ("image", lambda x: tf.nn.softmax(layers.GlobalMaxPooling2D()(x) + layers.GlobalAveragePooling2D()(x))),
    "six": ("vector", lambda x: tf.concat([tf.nn.leaky_relu(x), tf.sigmoid(x) * tf.tanh(x)], 1)),
    "seven": ("vector", lambda x: tf.maximum(x, 0.1) - tf.minimum(x, 0.2)),
    "eight": ("vector", lambda x: tf.matmul(tf.reshape(x, [-1, 3, 4]), tf.reshape(x, [-1, 4, 3]))),
    "nine": ("vector", lambda x: tf.reduce_sum(tf.squeeze(tf.expand_dims(tf.gather(x, [1, 3], axis=1), 1), 1), 1)),
    "ten": ("vector", lambda x: tf.stack([x, x[:, ::-1]], 1)),
    "eleven": ("vector", lambda x: tf.math.rsqrt(tf.nn.relu(x) + 0.5)),
}
PADDING = [[0, 0], [1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("scheme", [StaticWi8Ai8(), StaticWi8Ai16()], ids=["int8", "int16"])
def test_plain_operations_convert_and_run(scheme: Scheme, tmp_path: Path) -> None:
    model = model_of(PLAIN, of_layers=True)
    assert ConvertedModel(model).operations - _PLAIN == set()
    # An Embedding's lookup is a gather too.
    assert _PLAIN - ConvertedModel(model).operations <= {"NoOp", "ResourceGather", "Shape"}
    content = converted(model, scheme, tmp_path)
    assert scheme_violations(scheme, inspect_model(content)) == []
    assert does_not_run(content) == []


@pytest.mark.parametrize("units", [31, 32])
def test_dynamic_range_needs_a_weight_of_1024_elements(units: int, tmp_path: Path) -> None:
    inputs = layers.Input([32], name="vector")
    model = tf.keras.Model(inputs, layers.Dense(units)(inputs))
    enough = 32 * units >= DYNAMIC_MINIMUM_ELEMENTS
    content = converted(model, DynamicWi8Afp32(), tmp_path)
    assert (scheme_violations(DynamicWi8Afp32(), inspect_model(content)) == []) == enough
    assert (reported(model, DynamicWi8Afp32()) == "") == enough
