import random
import subprocess
import sys

import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from components.core.errors import ModelError
from components.facts.conversion import OperatorUse, TensorFact
from components.model.tflite_file import inspect_model


class File:
    """A TFLite file written tensor by tensor."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []

    def graph(self):
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs.append(graph)
        return graph

    def buffer(self, data):
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(bytes(data), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def tensor(self, name, dtype, shape, buffer=0, scales=(), zero_points=(), axis=0, graph=None):
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.shape, tensor.buffer = name, getattr(schema.TensorType, dtype), shape, buffer
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(scales)
            tensor.quantization.zeroPoint = list(zero_points)
            tensor.quantization.quantizedDimension = axis
        graph = graph or self.model.subgraphs[0]
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def operator(self, code, inputs=(), outputs=(), version=1, custom=None, deprecated=None, graph=None):
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.version, entry.customCode = getattr(schema.BuiltinOperator, code), version, custom
        entry.deprecatedBuiltinCode = entry.builtinCode if deprecated is None else deprecated
        self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        (graph or self.model.subgraphs[0]).operators.append(operator)
        return operator

    def bytes(self):
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))


@pytest.fixture
def file():
    file = File()
    file.graph()
    return file


def test_inspect_counts_bytes_zeros_and_values_when_weights_are_int8(file):
    values = np.array([[0, 1, -1, 0], [5, 5, 0, 127]], np.int8)
    file.tensor("w", "INT8", [2, 4], file.buffer(values.tobytes()), scales=[0.5, 0.25], zero_points=[0, 0])
    (weight,) = inspect_model(file.bytes()).weights
    assert weight == TensorFact(
        name="w", shape=(2, 4), dtype="INT8", bytes=8, scales=2, sparsity=3 / 8, unique_values=5
    )


def test_inspect_counts_the_zero_point_as_zero_when_weights_are_asymmetric(file):
    values = np.array([[128, 128, 128, 0], [0, 7, 128, 255]], np.uint8)
    file.tensor("w", "UINT8", [2, 4], file.buffer(values.tobytes()), scales=[0.5], zero_points=[128])
    assert inspect_model(file.bytes()).weights[0].sparsity == 0.5


def test_inspect_counts_each_channels_zero_point_when_they_differ(file):
    values = np.array([[3, 9], [3, 9], [9, 9], [0, 0]], np.int8)
    file.tensor("w", "INT8", [4, 2], file.buffer(values.tobytes()), scales=[1, 1], zero_points=[3, 9], axis=1)
    assert inspect_model(file.bytes()).weights[0].sparsity == 5 / 8


def test_inspect_unpacks_two_values_of_a_byte_when_weights_are_int4(file):
    # -8, 7, 0, -1, 1 and an empty half.
    file.tensor("w", "INT4", [1, 5], file.buffer([0x78, 0xF0, 0x01]), scales=[1.0], zero_points=[0])
    (weight,) = inspect_model(file.bytes()).weights
    assert (weight.dtype, weight.bytes, weight.sparsity, weight.unique_values) == ("INT4", 3, 0.2, 5)


def test_inspect_takes_the_number_of_values_from_the_shape_when_weights_are_sparse_encoded(file):
    stored = np.array([1.0, 2.0, 2.0, 4.0], np.float32)
    file.tensor("w", "FLOAT32", [4, 4], file.buffer(stored.tobytes()))
    file.model.subgraphs[0].tensors[0].sparsity = schema.SparsityParametersT()
    (weight,) = inspect_model(file.bytes()).weights
    assert (weight.sparse_encoded, weight.bytes, weight.sparsity, weight.unique_values) == (True, 16, 0.75, 3)


def test_inspect_counts_a_buffer_once_when_tensors_share_it(file):
    shared = file.buffer(np.ones(64, np.float16).tobytes())
    for name in ("a", "b"):
        file.tensor(name, "FLOAT16", [8, 8], shared)
    file.tensor("bias", "FLOAT32", [4], file.buffer(np.ones(4, np.float32).tobytes()))
    file.buffer(b"metadata that is no tensor's")
    inspection = inspect_model(file.bytes())
    assert inspection.weight_bytes == 128 + 16
    assert [weight.bytes for weight in inspection.weights] == [128]


def test_inspect_reads_a_buffer_when_it_lies_behind_the_flatbuffer(file):
    values = np.array([[1, 0], [0, 0]], np.int32).tobytes()
    outside = schema.BufferT()
    # Both are known only after the file is written; numbers of equal width keep its length.
    outside.offset, outside.size = 2, 16
    file.model.buffers.append(outside)
    file.tensor("w", "INT32", [2, 2], 1)
    outside.offset = len(file.bytes())
    (weight,) = inspect_model(file.bytes() + values).weights
    assert (weight.bytes, weight.sparsity) == (16, 0.75)


def test_inspect_lists_float_tensors_of_all_subgraphs_when_a_file_has_several(file):
    file.model.subgraphs[0].inputs = [file.tensor("input", "INT8", [1, 2])]
    file.model.subgraphs[0].outputs = [file.tensor("output", "FLOAT32", [1, 3])]
    body = file.graph()
    file.tensor("half", "FLOAT16", [1], graph=body)
    file.tensor("index", "INT32", [1], graph=body)
    inspection = inspect_model(file.bytes())
    assert inspection.float_tensors == ("output", "half")
    assert not inspection.integer_only
    assert inspection.dtype_counts == {"FLOAT16": 1, "FLOAT32": 1, "INT32": 1, "INT8": 1}
    assert [tensor.name for tensor in inspection.inputs + inspection.outputs] == ["input", "output"]


def test_inspect_calls_it_integer_only_when_its_only_floats_are_ranges_of_a_fused_lstm(file):
    placeholder = file.tensor("input_to_cell_intermediate", "FLOAT32", [])
    file.operator("UNIDIRECTIONAL_SEQUENCE_LSTM").intermediates = [placeholder]
    assert inspect_model(file.bytes()).integer_only
    assert "FLOAT32" not in inspect_model(file.bytes()).dtype_counts
    file.tensor("leftover", "FLOAT32", [1])
    assert inspect_model(file.bytes()).float_tensors == ("leftover",)


def test_inspect_names_operators_when_they_are_builtin_new_old_or_custom(file):
    body = file.graph()
    file.operator("CONV_2D", version=3)
    file.operator("CONV_2D", version=3, graph=body)
    file.operator("GELU", version=2, deprecated=127)
    file.operator("CUSTOM", custom="SignalRfft", graph=body)
    # Files from before TensorFlow 2.4 have the one-byte code only.
    file.operator("ADD", deprecated=schema.BuiltinOperator.SOFTMAX)
    assert inspect_model(file.bytes()).operators == (
        OperatorUse(name="CONV_2D", version=3, count=2),
        OperatorUse(name="CUSTOM:SignalRfft", version=1, count=1),
        OperatorUse(name="GELU", version=2, count=1),
        OperatorUse(name="SOFTMAX", version=1, count=1),
    )


def test_inspect_calls_it_stateful_when_it_has_variables(file):
    file.tensor("state", "INT8", [1, 4])
    assert not inspect_model(file.bytes()).stateful
    file.model.subgraphs[0].tensors[0].isVariable = True
    assert inspect_model(file.bytes()).stateful


def test_inspect_calls_it_stateful_when_it_has_resources(file):
    file.operator("VAR_HANDLE", deprecated=127)
    assert inspect_model(file.bytes()).stateful


def test_inspect_keeps_the_open_dimension_when_the_file_has_a_shape_signature(file):
    index = file.tensor("image", "FLOAT32", [1, 8])
    file.model.subgraphs[0].tensors[index].shapeSignature = [-1, 8]
    file.model.subgraphs[0].inputs = [index]
    assert inspect_model(file.bytes()).inputs[0].shape == (-1, 8)


@pytest.mark.parametrize(
    ("written", "floor"),
    [(b"2.17.0" + bytes(10), "2.17.0"), (b"1.14", "1.14"), (bytes(16), None), (b"two", None), (None, None)],
)
def test_inspect_reads_the_oldest_runtime_when_the_file_names_it(file, written, floor):
    if written is not None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = "min_runtime_version", file.buffer(written)
        file.model.metadata = [entry]
    assert inspect_model(file.bytes()).runtime_floor == floor


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04 a zip archive"], ids=["empty", "short", "zip"])
def test_inspect_says_it_is_no_tflite_file_when_identifier_is_missing(content):
    with pytest.raises(ModelError, match=rf"not a TFLite file .*found: {len(content)} bytes.*Remedy: specify"):
        inspect_model(content)


@pytest.fixture
def whole(file):
    random_bytes = np.random.default_rng(0).integers(1, 100, 4000, np.uint8).tobytes()
    weight = file.tensor("w", "INT8", [40, 100], file.buffer(random_bytes), scales=[1.0], zero_points=[0])
    file.operator("FULLY_CONNECTED", [weight], [weight])
    return file.bytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_inspect_says_it_is_damaged_when_the_file_is_cut(whole, share):
    length = max(8, int(len(whole) * share))
    with pytest.raises(ModelError, match=rf"truncated or damaged .*found: {length} bytes.*Remedy: copy or convert"):
        inspect_model(whole[:length])


def test_inspect_raises_nothing_but_model_errors_when_bytes_are_flipped(whole):
    random.seed(1)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(whole)
        # Not in the weights: any value is a good one there.
        place = random.choice([*range(8, 200), *range(len(whole) - 200, len(whole))])
        damaged[place] = random.randrange(256)
        try:
            inspect_model(bytes(damaged))
            outcomes.add("read")
        except ModelError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_inspect_imports_no_tensorflow_when_it_reads_a_file(whole, tmp_path):
    (tmp_path / "m.tflite").write_bytes(whole)
    script = (
        "import sys, pathlib; from components.model.tflite_file import inspect_model; "
        "print(inspect_model(pathlib.Path(sys.argv[1]).read_bytes()).weight_bytes); "
        "print([name for name in ('tensorflow', 'tfx', 'apache_beam') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "m.tflite")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout.split("\n")[:2] == ["4000", "[]"]
