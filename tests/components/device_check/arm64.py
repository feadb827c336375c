"""LiteRT on aarch64 under qemu's user-mode emulation, compared with this machine's runtimes: `make test-arm`."""

import os
import subprocess

import pytest
import yaml

from components.device_check.runtimes.measure import run_with_runtimes
from components.device_check.tflm import measure_with_tflm
from components.facts.device import TflmFacts
from components.spec.devices.device_tools import RuntimesEvaluator, TflmEvaluator
from edgemill.exit_codes import ExitCode
from tests.components.device_check.test_check import candidates, node  # noqa: F401 - fixtures
from tests.ran import Ran
from tests.small_pipeline import TASK, SmallPipeline

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
    assert subprocess.check_output([PYTHON, "-c", code], text=True, timeout=300).split() == ["aarch64", "False"]


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


def test_run_for_firmware_with_fixed_scales_reports_every_runtime(tmp_path):
    """The input of MLPerf Tiny's keyword spotter, from -123.4 to 25.7, from the profile to the release."""
    rescaled = 'layers.Input([4, 4, 1], name="image"), layers.Rescaling(1 / 110, 100 / 110),'
    small = SmallPipeline(tmp_path, TASK.replace('layers.Input([4, 4, 1], name="image"),', rescaled))
    for split, count, seed in (("train", 240, 1), ("eval", 120, 2)):
        small.write_split(split, count, seed, lambda _, one: {**one, "image": 110 * one["image"] - 100})
    profile = {
        "name": "keyword_board",
        "device_class": "keyword_board",
        "description": "Firmware that feeds int8 features.",
        "schemes": ["static_wi8_ai8"],
        "integer_only": True,
        "pinned_inputs": [{"scale": 0.5847, "zero_point": 83}],
        "pinned_outputs": [{"scale": 1 / 256, "zero_point": -128}],
        "evaluators": [
            {"kind": "runtimes", "examples": 40, "others": {"arm64": PYTHON}, "timeout_s": 600, "seconds": 300},
            {"kind": "tflm", "examples": 40},
        ],
    }
    (tmp_path / "keyword_board.yaml").write_text(yaml.safe_dump(profile))
    small.spec["devices"] = ["keyword_board.yaml"]
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.OK, ran.output
    assert ran.summary is not None and ran.summary.evaluation is not None
    assert ran.summary.decision_for("keyword_board").chosen == "int8"
    (int8,) = (one.outcome for one in ran.summary.evaluation.candidates if one.name == "int8")
    for tensor, pin in ((int8.inspection.inputs[0], (0.5847, 83)), (int8.inspection.outputs[0], (1 / 256, -128))):
        assert (tensor.dtype, pytest.approx(tensor.scale), tensor.zero_point) == ("INT8", *pin)
    assert all(one.clipped == 0 for one in int8.pinned)
    (there,) = ran.summary.on_devices
    rows = {row.name: row.outcome for row in there.of("int8").runtimes}
    assert set(rows) == {"desktop", "litert_xnnpack", "litert_builtin", "litert_reference", "arm64"}
    assert all(row.examples == 40 and row.max_lsb <= 2 for row in rows.values())
    report = next(ran.folder.glob("*.html")).read_text()
    assert all(name in report for name in rows)
