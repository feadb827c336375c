import pytest

from components.convert.checks.scheme_check import scheme_violations
from components.facts.conversion import Inspection, TensorFact
from components.spec.ranges import KeepLayersFloat
from components.spec.scheme import DynamicWi8Afp32, Float16, Float32, StaticWi8Ai8, StaticWi8Ai16


def tensor(name, dtype, shape=(1, 4), scales=0, **facts):
    return TensorFact(name=name, shape=shape, dtype=dtype, bytes=0, scales=scales, **facts)


def inspection(*weights, border="FLOAT32", inner=(), dtypes=()):
    scales = int(border.startswith("INT"))
    inputs, outputs = (tensor("in", border, scales=scales),), (tensor("out", border, scales=scales),)
    floats = [t.name for t in (*inputs, *outputs, *weights) if t.dtype.startswith("FLOAT")]
    return Inspection(
        file_bytes=1,
        weight_bytes=1,
        operators=(),
        dtype_counts=dict.fromkeys((border, *dtypes), 1),
        inputs=inputs,
        outputs=outputs,
        weights=weights,
        float_tensors=(*floats, *inner),
        stateful=False,
    )


WIDE = tensor("dense/kernel", "FLOAT32", (32, 64))
NARROW = tensor("dense/kernel", "INT8", (32, 64), scales=1)
PER_CHANNEL = tensor("conv/kernel", "INT8", (8, 3, 3, 1), scales=8)


@pytest.mark.parametrize(
    ("scheme", "found"),
    [
        (Float32(), inspection(WIDE)),
        (Float16(), inspection(tensor("w", "FLOAT16", (32, 64)), tensor("shape", "INT32", (16,)))),
        (DynamicWi8Afp32(), inspection(NARROW, tensor("small", "FLOAT32", (31, 33)))),
        # 2048 quantized elements outweigh a table of 1024 that is no operand of a product.
        (DynamicWi8Afp32(), inspection(NARROW, tensor("positions", "FLOAT32", (16, 64)))),
        (StaticWi8Ai8(), inspection(NARROW, PER_CHANNEL, border="INT8")),
        (StaticWi8Ai8(), inspection(NARROW, border="INT32", dtypes=["INT8"])),
        (StaticWi8Ai8(float_io=True), inspection(NARROW, dtypes=["INT8"])),
        (StaticWi8Ai8(float_fallback=True), inspection(NARROW, border="INT8", inner=["erf"])),
        (StaticWi8Ai16(), inspection(NARROW, border="INT16", dtypes=["INT8"])),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_promise_is_kept_when_file_holds_what_scheme_says(scheme, found):
    assert scheme_violations(scheme, found) == []


@pytest.mark.parametrize(
    ("scheme", "found", "complaint"),
    [
        (
            Float32(),
            inspection(NARROW),
            "1 weight is quantized in a float file: dense/kernel (INT8, 2048 elements)",
        ),
        (
            Float16(),
            inspection(WIDE),
            "1 weight is FLOAT32 instead of FLOAT16: dense/kernel (FLOAT32, 2048 elements)",
        ),
        (
            DynamicWi8Afp32(),
            inspection(WIDE),
            "most weights are FLOAT32 instead of INT8: dense/kernel (FLOAT32, 2048 elements)",
        ),
        (
            DynamicWi8Afp32(),
            inspection(tensor("w", "FLOAT32", (31, 33))),
            "no weight has the 1024 elements that quantization requires",
        ),
        (
            DynamicWi8Afp32(granularity="per_tensor"),
            inspection(PER_CHANNEL),
            "1 weight has a scale per channel: conv/kernel (INT8, 72 elements)",
        ),
        (
            StaticWi8Ai8(),
            inspection(NARROW, border="INT8", inner=["gelu", "erf"]),
            "2 float tensors in an integer-only file: gelu, erf",
        ),
        (
            StaticWi8Ai8(float_io=True),
            inspection(NARROW, inner=["erf"], dtypes=["INT8"]),
            "1 float tensors inside the model: erf",
        ),
        (
            StaticWi8Ai8(float_io=True),
            inspection(NARROW, border="INT8"),
            "2 inputs or outputs are quantized: in (INT8, 4 elements), out (INT8, 4 elements)",
        ),
        (
            StaticWi8Ai8(float_fallback=True),
            inspection(NARROW, dtypes=["INT8"]),
            "2 inputs or outputs are not INT8: in (FLOAT32, 4 elements), out (FLOAT32, 4 elements)",
        ),
        (
            StaticWi8Ai8(granularity="per_tensor"),
            inspection(PER_CHANNEL, border="INT8"),
            "1 weight has a scale per channel: conv/kernel (INT8, 72 elements)",
        ),
        (
            StaticWi8Ai16(),
            inspection(NARROW, border="INT8"),
            "2 inputs or outputs are not INT16: in (INT8, 4 elements), out (INT8, 4 elements)",
        ),
        (StaticWi8Ai16(float_io=True), inspection(NARROW), "no tensor is INT16: nothing was quantized"),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_promise_is_broken_by_name_when_file_holds_something_else(scheme, found, complaint):
    assert complaint in scheme_violations(scheme, found)


def test_promise_names_five_and_counts_the_rest_when_many_tensors_break_it():
    floats = [f"f{index}" for index in range(9)]
    assert scheme_violations(StaticWi8Ai8(), inspection(NARROW, border="INT8", inner=floats)) == [
        "9 float tensors in an integer-only file: f0, f1, f2, f3, f4 and 4 more"
    ]


KEPT = {"net/hard/Relu", "arith.constant1", "net/first/Relu"}
KEEP = StaticWi8Ai8(keep_float=KeepLayersFloat(names=("net/hard",)))


def test_layers_that_are_kept_float_may_be_and_all_else_must_not():
    around = ["net/hard/Relu", "net/first/Relu_dequant", "net/hard/Relu_quantized_12", "arith.constant1"]
    assert scheme_violations(KEEP, inspection(NARROW, border="INT8", inner=around), KEPT) == []
    assert scheme_violations(
        KEEP, inspection(NARROW, border="INT8", inner=[*around, "net/last", "arith.constant"]), KEPT
    ) == ["2 float tensors outside the layers that are kept float: arith.constant, net/last"]
    assert scheme_violations(KEEP, inspection(NARROW, dtypes=["INT8"]), KEPT) == [
        "2 inputs or outputs are not INT8: in (FLOAT32, 4 elements), out (FLOAT32, 4 elements)"
    ]
