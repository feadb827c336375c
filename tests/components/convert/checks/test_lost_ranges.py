"""Whether a file has the trained ranges, in files that are written by hand."""

import flatbuffers
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from components.convert.checks.scheme_check import lost_ranges
from components.facts.training import TrainedRange


def content(*held):
    """A file with a tensor for each list of scales and zero points."""
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    for scales, zero_points in held:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.quantization = b"tensor", [1], schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = scales, zero_points
        graph.tensors.append(tensor)
    graph.tensors.append(schema.TensorT())
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def trained(name, scale, zero_point):
    return TrainedRange(tensor=name, low=-1.0, high=1.0, scale=scale, zero_point=zero_point)


FILE = content(([0.1], [-3]), ([0.25], []), ([0.5, 0.6], [0, 0]))


@pytest.mark.parametrize(
    ("scale", "zero_point", "lost"),
    [
        (float(np.float32(0.1)), -3, False),
        (0.1, -3, False),
        (0.1 * (1 + 1e-5), -3, True),
        (0.1, -4, True),
        (0.25, 0, False),
        (0.25, -3, True),
        # A scale per channel is one of weights.
        (0.5, 0, True),
    ],
)
def test_range_is_lost_when_no_tensor_has_its_scale_and_zero_point(scale, zero_point, lost):
    assert lost_ranges(FILE, [trained("head", scale, zero_point)]) == (("head",) if lost else ())


def test_lost_ranges_are_named_in_order():
    ranges = [trained("c", 0.3, 0), trained("a", 0.1, -3), trained("b", 0.2, 0)]
    assert lost_ranges(FILE, ranges) == ("c", "b")
    assert lost_ranges(FILE, []) == ()
