"""The section on what devices' own tools say."""

from components.facts.device import (
    CandidateOnDevice,
    CpuOperator,
    DeviceReport,
    OutputDifference,
    RuntimeFacts,
    RuntimeResult,
    TflmFacts,
    ToolFailure,
    VelaFacts,
)
from components.facts.evaluation import MetricValue, SliceResult
from components.spec.devices.device import DeviceProfile
from pipelines.report import figures
from pipelines.report.render import render_report
from pipelines.report.summary import RunSummary
from tests.components.gate.test_phone import measured
from tests.pipelines.report.test_render import Page


def overall(accuracy: float) -> SliceResult:
    return SliceResult(slice="overall", examples=7, metrics={"accuracy": MetricValue(value=accuracy)})


CONFIG = {"accelerator": "ethos-u55-64", "system_config": "Ethos_U55_Deep_Embedded", "memory_mode": "Shared_Sram"}
BOARD = DeviceProfile.model_validate(
    {
        "name": "board",
        "device_class": "board",
        "description": "An NPU.",
        "schemes": ["static_wi8_ai8"],
        "evaluators": [{"kind": "vela", **CONFIG}, {"kind": "tflm", "examples": 7}],
    }
)
VELA = VelaFacts(
    **CONFIG,
    clock_hz=200e6,
    operators=5,
    cpu_operators=(CpuOperator(name="Cumsum", output="<sum>", reason="Unsupported opType"),),
    compiled_bytes=9000,
    cycles=123_456,
    sram_bytes=2_048,
    dram_bytes=0,
    flash_bytes=7_777,
    macs=99,
)
TFLM = TflmFacts(
    arena_bytes=17_696,
    persistent_bytes=3_584,
    non_persistent_bytes=14_112,
    examples=7,
    outputs=(OutputDifference(output="y", lsb=0.1, max_lsb=5.0, differing=0.1, mean_lsb=0.25),),
    slices=(overall(0.9139),),
    desktop_slices=(overall(0.9154),),
)
REFUSED = ToolFailure(cause="refused", message="TFLM has no <kernel>", remedy="take another scheme")
FACTS = DeviceReport(
    device="board",
    candidates=(
        CandidateOnDevice(name="int8", sha256="a", vela=VELA, tflm=TFLM),
        CandidateOnDevice(name="dynamic", sha256="b", vela=None, tflm=REFUSED),
    ),
    baseline_slices=(overall(0.9162),),
)


METRICS = "0.9139desktop 0.9154, float 0.9162"


def page(summary: RunSummary, **changes) -> Page:
    return Page(render_report(summary.model_copy(update=changes)))


def test_each_device_has_a_table_of_its_figures(plain_summary):
    shown = page(plain_summary, devices=(*plain_summary.devices, BOARD), on_devices=(FACTS,))
    assert ["int8", "4 of 580 %", "123,456", "0.617", "2,048", "7,777", "17,696", "3,584", "5mean 0.25", METRICS] in [
        [cell.replace("\n", "") for cell in row] for row in shown.rows
    ]
    said = shown.text["devices"]
    assert "ethos-u55-64, Ethos_U55_Deep_Embedded, Shared_Sram; TensorFlow Lite Micro on 7 examples" in said
    assert "int8: 1 operators fall back to the CPU" in said
    assert ["Cumsum", "<sum>", "Unsupported opType"] in shown.rows
    assert "no fast kernels for the integer LSTM" in said


def test_refusal_is_reported_in_the_table(plain_summary):
    said = page(plain_summary, devices=(BOARD,), on_devices=(FACTS,)).text["devices"]
    assert "TFLM refused TFLM has no <kernel>Remedy: take another scheme" in " ".join(said.split())


def test_weights_in_dram_have_a_column_of_their_own(plain_summary):
    large = {"accelerator": "ethos-u85-256", "system_config": "Ethos_U85_SYS_DRAM_Mid", "memory_mode": "Dedicated_Sram"}
    board = BOARD.model_validate({**BOARD.model_dump(), "evaluators": [{"kind": "vela", **large}]})
    facts = VELA.model_copy(update={**large, "cpu_operators": (), "dram_bytes": 8_888, "flash_bytes": 0})
    report = DeviceReport(device="board", candidates=(CandidateOnDevice(name="int8", sha256="a", vela=facts),))
    shown = page(plain_summary, devices=(board,), on_devices=(report,))
    heading = next(row for row in shown.rows if "NPU cycles" in row)
    assert heading[1:] == ["On the NPU", "NPU cycles", "ms", "SRAM", "DRAM"]
    assert [row[-1] for row in shown.rows if "123,456" in row] == ["8,888"]


def test_there_is_no_section_without_tools(plain_summary):
    assert "devices" not in page(plain_summary).ids


def test_accuracy_is_drawn_against_cycles_where_vela_counts_them(plain_summary):
    summary = plain_summary.model_copy(update={"devices": (BOARD,), "on_devices": (FACTS,)})
    assert "currentColor" in figures.accuracy_against_cycles(summary, "board")
    assert figures.accuracy_against_cycles(plain_summary, "phone_cpu") is None
    assert "Accuracy against NPU cycles of board" in render_report(summary)


def test_times_on_a_phone_and_the_reason_why_there_are_none_are_shown(plain_summary):
    adb = {"kind": "adb", "benchmark": "benchmark_model", "threads": 2}
    base = {"name": "phone", "device_class": "p", "description": "any", "schemes": ["static_wi8_ai8"]}
    profile = DeviceProfile.model_validate({**base, "evaluators": [adb]})
    away = ToolFailure(cause="unavailable", message="no device is connected", remedy="connect it", transient=True)
    candidates = (
        CandidateOnDevice(name="int8", sha256="a", adb=measured()),
        CandidateOnDevice(name="int16", sha256="b", adb=away),
    )
    report = DeviceReport(device="phone", candidates=candidates)
    said = page(plain_summary, devices=(profile,), on_devices=(report,)).text["devices"]
    assert "arm64-v8a, xnnpack, 2 threads" in said
    assert "1000.0[980.4, 1019.6], 100 runs" in said and "3,000,000" in said and "Fake 9, Android 14" in said
    assert "phone unavailable no device is connectedRemedy: connect it" in " ".join(said.split())


def test_runtimes_are_compared_with_the_desktop_in_steps_and_in_metrics(plain_summary):
    base = {"name": "phone", "device_class": "p", "description": "any", "schemes": ["static_wi8_ai8"]}
    profile = DeviceProfile.model_validate({**base, "evaluators": [{"kind": "runtimes"}, {"kind": "tflm"}]})

    def ran(accuracy, lsb, mean):
        output = OutputDifference(output="y", lsb=0.1, max_lsb=lsb, differing=0.2, mean_lsb=mean)
        return RuntimeFacts(examples=7, outputs=(output,), slices=(overall(accuracy),))

    lost = ToolFailure(cause="crashed", message="arm64 died of SIGILL", remedy="another emulator")
    rows = (("desktop", ran(0.9, 0, 0)), ("litert_reference", ran(0.8875, 12, 0.25)), ("arm64", lost))
    runtimes = tuple(RuntimeResult(name=name, outcome=outcome) for name, outcome in rows)
    candidate = FACTS.candidates[0].model_copy(update={"runtimes": runtimes, "vela": None})
    report = DeviceReport(device="phone", candidates=(candidate,), baseline_slices=(overall(0.91),))
    shown = page(plain_summary, devices=(profile,), on_devices=(report,))
    assert ["int8", "desktop", "0", "0", "0.9000", "0.0000"] in shown.rows
    assert ["int8", "litert_reference", "12", "0.25", "0.8875", "-0.0125"] in shown.rows
    assert ["int8", "TensorFlow Lite Micro", "5", "0.25", "0.9139", "-0.0015"] in shown.rows
    assert "crashed arm64 died of SIGILL" in " ".join(shown.text["devices"].split())
