"""The real LiteRT in its own processes, with three kinds of kernels, and under other Pythons."""

import stat
import sys

import numpy as np
import pytest
import tensorflow as tf

from components.core.errors import SpecError
from components.device_check.check import check_candidates
from components.device_check.installed import tool_errors
from components.device_check.runtimes.measure import run_with_runtimes
from components.facts.device import RuntimeFacts, ToolFailure
from components.spec.devices.device_tools import RuntimesEvaluator

NAMES = ["desktop", "litert_xnnpack", "litert_builtin", "litert_reference"]


def on_litert(content, images, resolver):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return steps_of(Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType[resolver]), images)


def steps_of(model, images):
    """The outputs of one example at a time, in steps, written without the code under test."""
    model.allocate_tensors()
    (source,), (sink,) = model.get_input_details(), model.get_output_details()
    scale, zero_point = source["quantization"]
    rows = []
    for image in images:
        steps = np.rint(image[None] / np.float32(scale)) + zero_point
        model.set_tensor(source["index"], np.clip(steps, -128, 127).astype(np.int8))
        model.invoke()
        rows.append(model.get_tensor(sink["index"])[0])
    return np.array(rows)


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_differences_are_those_of_each_kind_of_kernels(files, examples):
    rows, outputs = run_with_runtimes(files["int8"], {"x": examples["image"]}, RuntimesEvaluator())
    assert [row.name for row in rows] == NAMES == list(outputs)
    desktop = tf.lite.Interpreter(model_content=files["int8"])
    expected = steps_of(desktop, examples["image"])
    for row, resolver in zip(rows[1:], ("AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF"), strict=True):
        apart = np.abs(on_litert(files["int8"], examples["image"], resolver).astype(int) - expected)
        assert row.outcome.examples == 24
        assert (row.outcome.max_lsb, row.outcome.mean_lsb) == (apart.max(), pytest.approx(apart.mean()))
        assert row.outcome.max_lsb <= 2
    assert rows[0].outcome.max_lsb == 0
    scale, zero_point = desktop.get_output_details()[0]["quantization"]
    real = (expected.astype(np.float32) - zero_point) * np.float32(scale)
    np.testing.assert_allclose(outputs["desktop"]["Identity"], real, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("lstm", "sequence"), ("float_lstm", "sequence"), ("float", "image")])
def test_states_are_reset_and_floats_compared_in_steps_of_8_bits(files, examples, name, kind):
    rows, _ = run_with_runtimes(files[name], {"x": examples[kind]}, RuntimesEvaluator(kernels=("reference",)))
    assert [row.name for row in rows] == ["desktop", "litert_reference"]
    assert rows[1].outcome.max_lsb <= (3 if name == "lstm" else 0.01)


def test_process_of_the_runtime_does_not_import_tensorflow(files, examples, tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rows, _ = run_with_runtimes(files["int8"], {"x": examples["image"][:2]}, RuntimesEvaluator())
    assert all(isinstance(row.outcome, RuntimeFacts) for row in rows)


def test_other_python_runs_the_same_and_one_without_the_runtime_is_a_reason(files, examples, tmp_path):
    others = {
        "same": executable(tmp_path / "same", f'#!/bin/sh\nexec {sys.executable} "$@"\n'),
        "bare": executable(tmp_path / "bare", f'#!/bin/sh\nexec {sys.executable} -S "$@"\n'),
        "none": str(tmp_path / "no_python"),
        "broken": executable(tmp_path / "broken", "#!/bin/sh\necho broken; exit 7\n"),
    }
    evaluator = RuntimesEvaluator(kernels=("xnnpack",), others=others)
    rows, outputs = run_with_runtimes(files["int8"], {"x": examples["image"][:2]}, evaluator)
    found = {row.name: row.outcome for row in rows}
    np.testing.assert_array_equal(outputs["same"]["Identity"], outputs["litert_xnnpack"]["Identity"])
    assert (found["bare"].cause, found["none"].cause, found["broken"].cause) == (*("unavailable",) * 2, "crashed")
    assert "bare is not installed where it should run: No module named 'numpy'" in found["bare"].message
    assert "no_python cannot be started: No such file or directory" in found["none"].message
    assert "broken died of exit code 7" in found["broken"].message


def test_file_that_no_runtime_runs_gives_reasons_only(files, examples, tmp_path):
    evaluator = RuntimesEvaluator(kernels=("xnnpack",), seconds=60, timeout_s=0.001)
    rows, outputs = run_with_runtimes(files["int8"], {"x": examples["image"][:2]}, evaluator)
    assert outputs == {}
    (only,) = rows
    assert isinstance(only.outcome, ToolFailure) and only.outcome.cause == "timed_out"


def test_differences_cover_the_examples_that_every_runtime_had_time_for(files, examples):
    evaluator = RuntimesEvaluator(kernels=("builtin",), seconds=1e-9)
    rows, outputs = run_with_runtimes(files["int8"], {"x": examples["image"]}, evaluator)
    assert [row.outcome.examples for row in rows] == [1, 1]
    assert len(outputs["desktop"]["Identity"]) == 1


def test_missing_python_is_refused_before_any_candidate_is_tried():
    evaluator = RuntimesEvaluator(others={"arm64": "/no/python"})
    with pytest.raises(SpecError, match=r"evaluators\[0\] \(runtimes\)\.others\.arm64: there is no such executable"):
        check_candidates("board", (evaluator,), {}, None)
    assert list(tool_errors("board", (RuntimesEvaluator(version="2", others={"same": sys.executable}),))) == []


def test_python_without_the_runtime_is_refused_before_any_candidate_is_tried(tmp_path):
    others = {
        "bare": executable(tmp_path / "bare", f'#!/bin/sh\nexec {sys.executable} -S "$@"\n'),
        "broken": executable(tmp_path / "broken", "#!/bin/sh\nexit 7\n"),
        "no_program": executable(tmp_path / "no_program", "not for this machine"),
    }
    found = list(map(str, tool_errors("board", (RuntimesEvaluator(others=others),))))
    said = "device 'board': evaluators[0] (runtimes).others.{}: this Python cannot run LiteRT"
    assert all(error.startswith(said.format(name)) for name, error in zip(others, found, strict=True))
    assert "No package metadata was found for ai-edge-litert" in found[0]
    assert "it ended with status 7" in found[1]
    assert "Exec format error" in found[2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"others": {"desktop": "python"}}, "'desktop' is the name of a runtime of this machine"),
        ({"others": {"litert_builtin": "python"}}, "'litert_builtin' is the name of a runtime"),
        ({"kernels": ("builtin", "builtin")}, "list each only once"),
    ],
)
def test_runtimes_of_one_name_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RuntimesEvaluator(**fields)
