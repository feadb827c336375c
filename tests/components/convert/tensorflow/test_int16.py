"""Biases of trained 16-bit files, in files that are written by hand."""

import flatbuffers
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from components.convert.tensorflow.fixes import with_int16_io
from components.core.errors import ConversionError

OPERATORS = schema.BuiltinOperator
TYPES = schema.TensorType
INT32 = np.iinfo(np.int32)


class File:
    """A graph whose tensors and operators a test adds."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []
        self.model.subgraphs = [self.graph]

    def buffer(self, values):
        held = schema.BufferT()
        held.data = np.frombuffer(np.asarray(values).tobytes(), np.uint8)
        self.model.buffers.append(held)
        return len(self.model.buffers) - 1

    def tensor(self, name, kind, buffer=0, shape=(2,)):
        made = schema.TensorT()
        made.name, made.type, made.buffer, made.shape = name.encode(), kind, buffer, list(shape)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(self, code, *inputs):
        operator_code = schema.OperatorCodeT()
        operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
        self.model.operatorCodes.append(operator_code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.model.operatorCodes) - 1, list(inputs), []
        self.graph.operators.append(made)

    def content(self):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def widened(file):
    """Name of each tensor -> its type, and its values where it has any."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(with_int16_io(file.content(), float_io=True), 0))
    found = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        kind = np.int64 if tensor.type == TYPES.INT64 else np.int32
        values = None if data is None else np.frombuffer(bytes(bytearray(data)), kind).tolist()
        found[tensor.name.decode()] = (tensor.type, values)
    return found


@pytest.fixture
def file():
    made = File()
    made.tensor("wide", TYPES.INT16)
    made.tensor("narrow", TYPES.INT8)
    made.tensor("weights", TYPES.INT8)
    return made


@pytest.mark.parametrize("code", [OPERATORS.CONV_2D, OPERATORS.DEPTHWISE_CONV_2D, OPERATORS.FULLY_CONNECTED])
def test_bias_beside_int16_becomes_int64_with_the_same_values(file, code):
    bias = file.tensor("bias", TYPES.INT32, file.buffer(np.array([-5, 1 << 30], np.int32)))
    file.operator(code, 0, 2, bias)
    assert widened(file)["bias"] == (TYPES.INT64, [-5, 1 << 30])


def test_only_biases_beside_int16_become_wider(file):
    biases = [
        file.tensor(name, TYPES.INT32, file.buffer(np.array([1, 2], np.int32))) for name in ("narrow_bias", "indices")
    ]
    file.operator(OPERATORS.FULLY_CONNECTED, 1, 2, biases[0])
    file.operator(OPERATORS.GATHER, 0, 2, biases[1])
    file.operator(OPERATORS.FULLY_CONNECTED, 0, 2, -1)
    file.operator(OPERATORS.FULLY_CONNECTED, 0, 2)
    found = widened(file)
    assert found["narrow_bias"] == found["indices"] == (TYPES.INT32, [1, 2])


def test_tensors_that_share_a_buffer_each_become_what_they_must(file):
    # The converter writes equal constants once: zeros of layers without bias, or a shape that equals a bias.
    shared = file.buffer(np.array([0, 3], np.int32))
    first, second = (file.tensor(name, TYPES.INT32, shared) for name in ("first", "second"))
    file.tensor("shape", TYPES.INT32, shared)
    file.operator(OPERATORS.CONV_2D, 0, 2, first)
    file.operator(OPERATORS.CONV_2D, 0, 2, second)
    file.operator(OPERATORS.CONV_2D, 0, 2, second)
    found = widened(file)
    assert found["first"] == found["second"] == (TYPES.INT64, [0, 3])
    assert found["shape"] == (TYPES.INT32, [0, 3])


@pytest.mark.parametrize("value", [INT32.min, INT32.max])
def test_bias_that_was_cut_off_is_refused(file, value):
    bias = file.tensor("model/head/bias", TYPES.INT32, file.buffer(np.array([0, value], np.int32)))
    file.operator(OPERATORS.FULLY_CONNECTED, 0, 2, bias)
    with pytest.raises(ConversionError) as caught:
        with_int16_io(file.content(), float_io=True)
    said = str(caught.value)
    assert said.startswith("model/head/bias: a bias is too large for the scales of its layer's input and weights")
    assert f"found: {abs(int(value))} or more" in said
    assert "use static_wi8_ai8 for this model" in said
