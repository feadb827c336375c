"""The real Vela on tiny models; what it says is read a second time, from the files that its own command line leaves."""

import csv
import subprocess
import sys

import pytest

from components.device_check.vela import facts, measure_with_vela
from components.spec.devices.device_tools import VelaEvaluator


def evaluator(**changes):
    base = {"accelerator": "ethos-u55-128", "system_config": "Ethos_U55_High_End_Embedded"}
    return VelaEvaluator.model_validate(base | changes)


def by_command_line(content, folder):
    """Operators of the compiled file, and the row of the summary."""
    from tensorflow.lite.python import schema_py_generated as schema

    (folder / "m.tflite").write_bytes(content)
    options = ["--accelerator-config", "ethos-u55-128", "--config", "Arm/vela.ini", "--output-dir", str(folder)]
    options += ["--system-config", "Ethos_U55_High_End_Embedded", "--memory-mode", "Shared_Sram"]
    subprocess.run([sys.executable, "-m", "ethosu.vela", str(folder / "m.tflite"), *options], check=True, timeout=300)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    compiled = (folder / "m_vela.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(compiled))
    codes = [model.operatorCodes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]
    with (folder / "m_summary_Ethos_U55_High_End_Embedded.csv").open() as file:
        (row,) = csv.DictReader(file)
    builtin = [names[max(code.builtinCode, code.deprecatedBuiltinCode)].encode() for code in codes]
    return [code.customCode or name for code, name in zip(codes, builtin, strict=True)], row


def test_integer_model_runs_wholly_on_the_npu_with_velas_own_figures(files, tmp_path):
    found = measure_with_vela(files["int8"], 4, evaluator())
    operators, row = by_command_line(files["int8"], tmp_path)
    assert operators == [b"ethos-u"]
    assert (found.npu_operators, found.npu_share, found.cpu_operators) == (4, 1.0, ())
    assert found.cycles == int(row["cycles_total"]) > 0
    assert found.milliseconds == pytest.approx(1e3 * float(row["inference_time"]), rel=1e-3)
    assert found.clock_hz == 500e6
    assert found.sram_bytes == float(row["sram_memory_used"]) * 1024 > 64
    assert found.flash_bytes == float(row["off_chip_flash_memory_used"]) * 1024 > 288 * 4
    assert found.dram_bytes == 0
    assert found.macs >= 36 * 8 * 9 + 288 * 4
    assert found.compiled_bytes == (tmp_path / "m_vela.tflite").stat().st_size


def test_operators_that_fall_back_are_those_left_in_the_compiled_file_and_have_reasons(files, tmp_path):
    found = measure_with_vela(files["cumsum"], 5, evaluator())
    operators, _ = by_command_line(files["cumsum"], tmp_path)
    left = [name.decode() for name in operators if name != b"ethos-u"]
    assert [one.name.upper() for one in found.cpu_operators] == left == ["DEQUANTIZE", "CUMSUM", "QUANTIZE"]
    reasons = {one.name: one.reason for one in found.cpu_operators}
    assert reasons["Cumsum"] == "Unsupported opType"
    assert reasons["Quantize"].startswith("Operation has tensor with unsupported DataType Float32")
    assert reasons["Quantize"].endswith('must be one of {"INT16", "INT32", "INT64", "INT8", "UINT8"}')
    assert (found.npu_operators, found.npu_share) == (2, 0.4)
    assert found.cycles > 0


def test_lstm_runs_wholly_on_the_npu_when_it_is_integer(files):
    found = measure_with_vela(files["lstm"], 3, evaluator())
    assert found.cpu_operators == () and found.cycles > 0


@pytest.mark.parametrize("name", ["float", "dynamic"])
def test_there_are_no_figures_when_nothing_runs_on_the_npu(files, name):
    found = measure_with_vela(files[name], 4, evaluator())
    assert len(found.cpu_operators) == 4 and found.npu_share == 0
    assert all("unsupported DataType Float32" in one.reason for one in found.cpu_operators)
    assert (found.cycles, found.milliseconds, found.sram_bytes, found.flash_bytes) == (None, None, None, None)


def test_weights_count_as_what_the_memory_mode_keeps_them_in(files):
    flash, sram = (
        measure_with_vela(files["int8"], 4, evaluator(memory_mode=mode)) for mode in ("Shared_Sram", "Sram_Only")
    )
    assert flash.flash_bytes > 0 and sram.flash_bytes == 0
    assert sram.sram_bytes == flash.sram_bytes + flash.flash_bytes
    assert sram.cycles < flash.cycles
    large = evaluator(
        accelerator="ethos-u85-256", system_config="Ethos_U85_SYS_DRAM_Mid", memory_mode="Dedicated_Sram_256KB"
    )
    dram = measure_with_vela(files["int8"], 4, large)
    assert dram.dram_bytes > 288 * 4 and dram.flash_bytes == 0
    assert (dram.clock_hz, dram.accelerator) == (1e9, "ethos-u85-256")


def test_refusal_has_velas_words(files):
    found = measure_with_vela(files["float_lstm"], 3, evaluator())
    assert (found.status, found.cause, found.transient) == ("failed", "refused", False)
    assert "Vela refuses the file: Compilation failed: Error: UNIDIRECTIONAL_SEQUENCE_LSTM" in found.message
    assert "IFM must be INT8 or INT16" in found.message


def test_crash_is_reported_by_the_name_of_its_signal(files):
    found = measure_with_vela(files["int8"][:1500], 4, evaluator())
    assert (found.cause, found.transient) == ("crashed", False)
    assert found.message.startswith(
        "Vela died of SIGSEGV while compiling for the NPU; its last log lines: Failed to load"
    )


def test_time_out_is_transient_and_reported_with_its_limit(files):
    found = measure_with_vela(files["int8"], 4, evaluator(timeout_s=0.02))
    assert (found.cause, found.transient) == ("timed_out", True)
    assert found.message == "Vela was stopped after 0.02 s while starting"


SUMMARY = {
    "core_clock": "200000000.0",
    "cycles_total": "1000",
    "nn_macs": "9",
    "sram_memory_used": "0.5",
    "dram_memory_used": "0.0",
    "on_chip_flash_memory_used": "0.0",
    "off_chip_flash_memory_used": "2.25",
}


def test_names_with_commas_do_not_shift_columns_and_fused_activations_hide_no_reason():
    found = facts(
        summary=",".join(SUMMARY) + "\n" + ",".join(SUMMARY.values()) + "\n",
        per_layer="Original Operator,Target,Name\nAdd,NPU,sum\nSqrt,CPU,a,b;c\nConv2D,CPU,conv\n",
        said="Warning (supported operators) operator: SQRT, ofm: 'a,b;c'\nReason: Unsupported\nopType\n\nother\n"
        "Warning (supported operators) operator: CONV_2D, ofm: 'conv_act'\nReason: too wide\n\n",
        operators=3,
        compiled_bytes=7,
        evaluator=evaluator(),
    )
    sqrt, convolution = found.cpu_operators
    assert (sqrt.name, sqrt.output, sqrt.reason) == ("Sqrt", "a,b;c", "Unsupported opType")
    # The activation that is fused into it has the tensor's own name.
    assert (convolution.name, convolution.output, convolution.reason) == ("Conv2D", "conv", "too wide")
    assert (found.sram_bytes, found.flash_bytes, found.cycles, found.milliseconds) == (512, 2304, 1000, 0.005)
