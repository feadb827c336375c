"""LiteRT on aarch64 under qemu's user-mode emulation, compared with this machine's runtimes: `make test-arm`."""

import os
import subprocess

import pytest

from components.device_check.runtimes.measure import run_with_runtimes
from components.device_check.tflm import measure_with_tflm
from components.facts.device import TflmFacts
from components.spec.devices.device_tools import RuntimesEvaluator, TflmEvaluator
from tests.components.device_check.test_check import candidates, node  # noqa: F401 - fixtures

PYTHON = os.environ["EDGEMILL_ARM64_PYTHON"]
ARM64 = RuntimesEvaluator(others={"arm64": PYTHON}, timeout_s=600, seconds=300)
# File -> the kind of its inputs, and the most that kernels differ in one value, in steps of 8 bits.
MOST = {
    "int8": ("image", 2),
    "cumsum": ("vector", 2),
    "lstm": ("sequence", 4),
    "dynamic": ("image", 2),
    "float": ("image", 0.01),
    "float_lstm": ("sequence", 0.01),
}


def test_python_is_one_for_aarch64():
    code = "import platform, sys; print(platform.machine(), 'tensorflow' in sys.modules)"
    assert subprocess.check_output([PYTHON, "-c", code], text=True).split() == ["aarch64", "False"]


@pytest.mark.parametrize("name", MOST)
def test_outputs_on_aarch64_are_those_of_this_machine_within_rounding(files, examples, name, record_property):
    kind, most = MOST[name]
    rows, _ = run_with_runtimes(files[name], {"x": examples[kind]}, ARM64)
    assert [row.name for row in rows][-1] == "arm64"
    tflm = measure_with_tflm(files[name], {"x": examples[kind]}, TflmEvaluator())
    found = {row.name: (row.outcome.max_lsb, row.outcome.mean_lsb) for row in rows}
    if isinstance(tflm, TflmFacts):
        found["TensorFlow Lite Micro"] = (tflm.max_lsb, tflm.mean_lsb)
    for runtime, (largest, mean) in found.items():
        record_property(runtime, f"{largest:.3g} steps, mean {mean:.3g}")
        print(f"{name:10} {runtime:22} largest {largest:7.3g}, mean {mean:.3g} steps")
    assert all(row.outcome.examples == 24 for row in rows)
    assert found["arm64"][0] <= most


def test_metrics_are_evaluated_on_aarch64(node):  # noqa: F811
    _, report, _ = node(ARM64, examples="all")
    found = {row.name: row.outcome.slices[0].metrics["accuracy"].value for row in report.of("int8").runtimes}
    found["TensorFlow Lite Micro"] = report.of("int8").tflm.slices[0].metrics["accuracy"].value
    for runtime, accuracy in found.items():
        change = accuracy - found["desktop"]
        print(f"accuracy   {runtime:22} {accuracy:.4f}, {change:+.4f} from the desktop runtime")
    # One of 24 examples, at most.
    assert abs(found["arm64"] - found["desktop"]) <= 1 / 24
