"""One realistic run: five recipes, one of which failed; two devices, one of which got nothing."""

import math
import re
from datetime import datetime, timezone

import pytest

from components.core.compression import CompressedBytes
from components.facts.audit import AuditReport, Finding, RangeFact, StratumFact
from components.facts.conversion import ConversionFailure, Converted, Inspection, OperatorUse, TensorFact
from components.facts.evaluation import CandidateReport, EvaluationReport, Latency, MetricValue, SliceResult
from components.gate.policy import decide
from components.push.delivery import PushOutcome
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from pipelines.report.summary import LineageNode, NodeFact, RunSummary

LABELS = ("0 T-shirt", "1 trouser", "2 pullover", "3 dress", "4 coat", "5 sandal", "6 shirt", "7 sneaker", "8 bag")
BASELINE = 0.891
BY_LABEL = (0.84, 0.97, 0.83, 0.90, 0.82, 0.96, 0.67, 0.95, 0.98)

# recipe, scheme, change of accuracy, bytes, latency ratio, weights' dtype
MADE = (
    ("float32", "float32", 0.0, 83_716, 1.0, "FLOAT32"),
    ("float16", "float16", 0.0, 43_988, 1.02, "FLOAT16"),
    ("dynamic", "dynamic_wi8_afp32", -0.001, 25_880, 0.91, "INT8"),
    ("int8", "static_wi8_ai8", -0.002, 23_104, 0.78, "INT8"),
    ("int8_per_tensor", "static_wi8_ai8", -0.019, 21_648, 0.77, "INT8"),
)


def slices_of(change):
    whole = SliceResult(
        slice="overall",
        examples=1000,
        metrics={
            "accuracy": MetricValue(value=BASELINE + change, lower=BASELINE + change - 0.019, upper=0.909 + change),
            "cross_entropy": MetricValue(value=0.31 - change, lower=0.28 - change, upper=0.34 - change),
        },
        change={
            "accuracy": MetricValue(value=change, lower=change - 0.004, upper=change + 0.004),
            "cross_entropy": MetricValue(value=-change, lower=-change - 0.01, upper=-change + 0.01),
        },
    )
    parts = [
        SliceResult(
            slice=f"label={label}",
            examples=100 + 3 * index,
            metrics={
                "accuracy": MetricValue(value=value + change * index, lower=value - 0.07, upper=value + 0.06),
                "cross_entropy": MetricValue(value=math.nan if index == 8 else 0.3 + 0.02 * index),
            },
            change={"accuracy": MetricValue(value=change * index, lower=change * index - 0.02, upper=0.02)},
        )
        for index, (label, value) in enumerate(zip(LABELS, BY_LABEL, strict=True))
    ]
    return (whole, *parts)


def made(name, scheme, change, size, ratio, dtype):
    integer = scheme.startswith("static")
    border = "INT8" if integer else "FLOAT32"
    return CandidateReport(
        recipe={"name": name, "scheme": scheme},
        outcome=Converted(
            inspection=Inspection(
                file_bytes=size,
                weight_bytes=int(size * 0.9),
                operators=(
                    OperatorUse(name="CONV_2D", version=3 if integer else 1, count=3),
                    OperatorUse(name="MAX_POOL_2D", version=2, count=2),
                    OperatorUse(name="RESHAPE", version=1, count=1),
                    OperatorUse(name="FULLY_CONNECTED", version=4, count=1),
                ),
                dtype_counts={"INT8": 18, "INT32": 6} if integer else {"FLOAT32": 21, dtype: 4},
                inputs=(
                    TensorFact(name="serving_default_image:0", shape=(1, 28, 28, 1), dtype=border, bytes=0, scales=1),
                ),
                outputs=(TensorFact(name="StatefulPartitionedCall:0", shape=(1, 10), dtype=border, bytes=0, scales=1),),
                weights=(
                    TensorFact(
                        name="model/dense/MatMul;model/dense/BiasAdd/ReadVariableOp",
                        shape=(10, 1568),
                        dtype=dtype,
                        bytes=15_680,
                        scales=10 if integer else 0,
                        sparsity=0.0124,
                        unique_values=251,
                    ),
                    TensorFact(
                        name="model/conv2d_2/Conv2D",
                        shape=(32, 3, 3, 16),
                        dtype=dtype,
                        bytes=4_608,
                        scales=32,
                        sparsity=0.021,
                    ),
                ),
                float_tensors=() if integer else ("serving_default_image:0", "model/conv2d/Relu"),
                stateful=False,
            ),
            seconds=4.2,
            peak_memory_bytes=900 << 20,
        ),
        sha256=(name.encode().hex() * 64)[:64],
        compressed=CompressedBytes(gzip=size * 9 // 10, zstd=size * 8 // 10),
        slices=slices_of(change),
        latency=Latency(microseconds=181.0 * ratio, ratio=ratio),
    )


def plain_cells(html):
    """A report without what narrow screens need: the headings in its cells."""
    return re.sub(r' data-label="[^"]*"><div>(.*?)</div></td>', r">\1</td>", html, flags=re.DOTALL)


@pytest.fixture(scope="session")
def run_summary():
    return make_summary()


@pytest.fixture(scope="session")
def plain_summary(run_summary):
    """The same, with one picture instead of three, for tests of what is not drawn."""
    evaluation = run_summary.evaluation
    candidates = tuple(one.model_copy(update={"latency": None}) for one in evaluation.candidates)
    evaluation = evaluation.model_copy(update={"candidates": candidates})
    return run_summary.model_copy(update={"audit": None, "evaluation": evaluation})


def make_summary(changes=()):
    """The run; `changes` replace rows of MADE: recipe, change of accuracy, bytes."""
    changed = {name: (change, size) for name, change, size in changes}
    rows = [
        (name, scheme, *changed.get(name, (change, size)), ratio, dtype)
        for name, scheme, change, size, ratio, dtype in MADE
    ]
    failed = CandidateReport(
        recipe={"name": "int16", "scheme": "static_wi8_ai16"},
        outcome=ConversionFailure(
            scheme="static_wi8_ai16",
            cause="refused",
            message="the converter has no 16x8 kernel for <CUMSUM> & refused the graph.",
            remedy="use static_wi8_ai8, or allow float_fallback",
        ),
    )
    evaluation = EvaluationReport(
        baseline_slices=tuple(result.model_copy(update={"change": {}}) for result in slices_of(0.0)),
        baseline_bytes=83_716,
        candidates=(*(made(*row) for row in rows), failed),
    )
    phone = DeviceProfile(
        name="phone_cpu",
        device_class="phone_cpu",
        description="A phone with a 64-bit Arm CPU and XNNPACK.",
        schemes=("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8"),
        max_file_bytes=5 << 20,
    )
    micro = DeviceProfile(
        name="cortex_m0",
        device_class="cortex_m0",
        description="A microcontroller with very little flash. Integers only.",
        schemes=("static_wi8_ai8",),
        operators=("CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "RESHAPE"),
        integer_only=True,
        max_file_bytes=22 << 10,
    )
    policy = GateSpec.model_validate(
        {
            "champion": "none",
            "metrics": [
                {"name": "accuracy", "at_least": 0.85, "max_drop_from_baseline": 0.01},
                {"name": "accuracy", "at_least": 0.6, "slices": ["label"]},
            ],
        }
    )
    decisions = tuple(decide(evaluation, device, policy) for device in (phone, micro))
    release = PushOutcome(
        device="phone_cpu",
        pushed=True,
        reason=decisions[0].why,
        version="696e7438696e7438",
        path="build/registry/phone_cpu/fashion-mnist/696e7438696e7438",
        bytes=23_104,
        sha256=evaluation.candidates[3].sha256,
    )
    histogram = (61_230, 9_100, 8_200, 7_400, 7_900, 8_800, 9_900, 12_100, 11_800, 5_570)
    audit = AuditReport(
        asked=500,
        available=3000,
        taken=500,
        seed=17,
        strata=tuple(StratumFact(value=label, available=333, taken=55) for label in LABELS),
        ranges=(
            RangeFact(
                input="image",
                sample=(0.0, 1.0),
                split=(0.0, 1.04),
                halves=((0.0, 1.0), (0.0, 0.98)),
                histogram=histogram,
                split_histogram=tuple(count * 6 + 77 for count in reversed(histogram)),
            ),
        ),
        findings=(
            Finding(severity="info", check="size", where="sample", message="500 of 3,000 examples were taken."),
            Finding(
                severity="warning",
                check="range",
                where="image",
                message="the split reaches 1.04, the sample only 1.0: 0.2 % of the values will be clipped.",
                remedy="take more samples, or stratify",
            ),
        ),
    )
    nodes = (
        *(NodeFact(id=name, state="cached", seconds=0.2) for name in ("examples", "statistics", "schema")),
        NodeFact(id="train", state="complete", seconds=31.4),
        *(NodeFact(id=f"convert__{row[0]}", state="complete", seconds=4.0 + i) for i, row in enumerate(MADE)),
        NodeFact(id="evaluate", state="complete", seconds=14.8),
        NodeFact(id="gate__phone_cpu", state="complete", seconds=0.1),
        NodeFact(id="push__phone_cpu", state="complete", seconds=0.1),
        NodeFact(id="push__cortex_m0", state="not_run"),
    )
    lineage = LineageNode(
        label="fashion-mnist for phone_cpu",
        kind="PushedModel",
        details={"version": "696e7438696e7438", "bytes": "23,104"},
        children=(
            LineageNode(
                label="int8",
                kind="Model",
                details={"sha256": "696e7438" * 8, "recipe": "static_wi8_ai8"},
                children=(
                    LineageNode(label="calibration sample", kind="Examples", details={"samples": "500", "seed": "17"}),
                    LineageNode(label="float baseline", kind="Model", details={"sha256": "ab" * 32}),
                ),
            ),
            LineageNode(label="evaluation", kind="ModelEvaluation", details={"examples": "1000"}),
        ),
    )
    return RunSummary(
        pipeline="fashion-mnist",
        run_id="2026-01-02T03:04:05.678901",
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        seconds=96.3,
        verdict="pushed",
        nodes=nodes,
        evaluation=evaluation,
        decisions=decisions,
        devices=(phone, micro),
        releases=(release, PushOutcome(device="cortex_m0", pushed=False, reason=decisions[1].why)),
        audit=audit,
        lineage=lineage,
    )
