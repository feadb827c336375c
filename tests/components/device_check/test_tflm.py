"""The real TensorFlow Lite Micro on tiny models."""

import math
import subprocess
import sys
import types

import numpy as np
import pytest

from components.device_check import tflm_child
from components.device_check.exchange import MODEL_FILE
from components.device_check.tflm import difference, measure_with_tflm
from components.device_check.tflm_child import INPUTS_FILE, STEP, _in_parallel, allocations, least
from components.device_check.tool import run_tool
from components.spec.devices.device_tools import TflmEvaluator
from tests.components.convert.test_compaction import behind_the_flatbuffer

RUN = """
import sys
import numpy as np
from tflite_micro import runtime
arena = int(sys.argv[2])
model = runtime.Interpreter.from_bytes(open(sys.argv[1], "rb").read(), arena_size=arena)
details = model.get_input_details(0)
model.set_input(np.zeros(details["shape"], details["dtype"]), 0)
model.invoke()
"""


def runs(content, arena, folder):
    (folder / "m.tflite").write_bytes(content)
    command = [sys.executable, "-c", RUN, str(folder / "m.tflite"), str(arena)]
    return subprocess.run(command, check=False, capture_output=True, timeout=300).returncode == 0


def out_of_range(content):
    """The file with an operator that reads a tensor which there is not."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    first = model.subgraphs[0].operators[0]
    first.inputs = [10_000_000, *first.inputs[1:]]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(("name", "kind"), [("int8", "image"), ("lstm", "sequence")])
def test_arena_is_the_smallest_that_the_model_runs_in(files, examples, tmp_path, name, kind):
    found = measure_with_tflm(files[name], {"x": examples[kind][:2]}, TflmEvaluator())
    assert found.arena_bytes % STEP == 0
    assert runs(files[name], found.arena_bytes, tmp_path)
    assert not runs(files[name], found.arena_bytes - STEP, tmp_path)
    assert 0 < found.persistent_bytes + found.non_persistent_bytes <= found.arena_bytes


def test_outputs_of_an_integer_model_are_those_of_the_desktop_within_two_lsb(files, examples):
    found = measure_with_tflm(files["int8"], {"x": examples["image"]}, TflmEvaluator())
    (output,) = found.outputs
    assert (output.output, found.examples) == ("Identity", 24)
    assert output.lsb == 1 / 256  # of a softmax
    assert output.max_lsb == found.max_lsb <= 2
    assert output.differing < 0.2


@pytest.mark.parametrize("workers", [1, 2, 5, 40])
def test_workers_return_all_examples_in_order(tmp_path, workers):
    rows = _in_parallel(tmp_path, lambda i: [np.array([[i]]), np.array([i * i])], range(1, 24), workers, math.inf)
    assert rows[0] == 0
    assert [(int(a[0, 0]), int(b[0])) for a, b in rows[1]] == [(i, i * i) for i in range(1, 24)]


def test_when_the_time_is_over_the_first_examples_without_a_gap_remain(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(tflm_child, "time", types.SimpleNamespace(monotonic=lambda: now))

    def slow_for_one_worker(number):
        # The worker of the even numbers, a separate process, is stopped after its first two.
        nonlocal now
        if number == 4:
            now = 2.0
        return [np.array([number])]

    code, rows = _in_parallel(tmp_path, slow_for_one_worker, range(1, 24), 2, 1.0)
    assert (code, [int(row[0][0]) for row in rows]) == (0, [1, 2, 3, 4, 5])


def test_no_time_at_all_leaves_the_first_example(files, examples):
    found = measure_with_tflm(files["int8"], {"x": examples["image"]}, TflmEvaluator(seconds=1e-9))
    assert found.examples == 1


def test_state_is_reset_before_each_sequence(files, examples):
    found = measure_with_tflm(files["lstm"], {"x": examples["sequence"]}, TflmEvaluator())
    assert found.max_lsb <= 2
    # Without the reset the second sequence ends elsewhere: the same twice, by the runtime alone.
    from tflite_micro import runtime

    model = runtime.Interpreter.from_bytes(files["lstm"], arena_size=1 << 20)
    values = np.full((1, 6, 4), 90, np.int8)
    ends = []
    for _ in range(2):
        model.set_input(values, 0)
        model.invoke()
        ends.append(np.array(model.get_output(0), int))
    assert np.abs(ends[0] - ends[1]).max() > 2


def test_model_of_one_time_step_is_driven_through_sequences_by_its_own_states(examples):
    import tensorflow as tf

    random = np.random.default_rng(9)
    kernel, recurrent, head = (random.normal(size=shape).astype(np.float32) for shape in ((4, 5), (5, 5), (5, 3)))

    def step(x, state_cell_h):
        after = tf.tanh(x @ kernel + state_cell_h @ recurrent)
        return {"next_cell_h": after, "y": after @ head}

    concrete = tf.function(step).get_concrete_function(
        tf.TensorSpec((1, 4), tf.float32, name="x"), tf.TensorSpec((1, 5), tf.float32, name="state_cell_h")
    )
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
    found = measure_with_tflm(content, {"x": examples["sequence"]}, TflmEvaluator())
    (output,) = found.outputs
    assert (found.examples, output.output) == (24, "y")
    assert found.max_lsb < 0.01
    # The steps would be unlike without their states: numpy's own loop has the span that one step is counted in.
    state, without = np.zeros((24, 5)), np.tanh(examples["sequence"][:, -1] @ kernel) @ head
    for index in range(6):
        state = np.tanh(examples["sequence"][:, index] @ kernel + state @ recurrent)
    assert output.lsb == pytest.approx(np.ptp(state @ head) / 255, rel=1e-3)
    assert np.abs(state @ head - without).max() > 10 * output.lsb


def test_float_outputs_are_compared_in_steps_of_their_span(files, examples):
    found = measure_with_tflm(files["float"], {"x": examples["image"]}, TflmEvaluator())
    assert 0 < found.outputs[0].lsb <= 1 / 255
    assert found.max_lsb < 0.01


def test_dynamic_range_is_refused_in_the_tools_words(files, examples):
    found = measure_with_tflm(files["dynamic"], {"x": examples["image"]}, TflmEvaluator())
    assert (found.status, found.cause, found.transient) == ("failed", "refused", False)
    assert found.message.startswith("TensorFlow Lite Micro refuses the file: ")
    assert "failed to prepare" in found.message


def test_crash_is_reported_by_the_name_of_its_signal(files, examples, tmp_path):
    (tmp_path / MODEL_FILE).write_bytes(out_of_range(files["int8"]))
    np.savez(tmp_path / INPUTS_FILE, **{"0": np.zeros((1, 8, 8, 1), np.int8)})
    found = run_tool("TensorFlow Lite Micro", "tflm", tmp_path, 60, ("9", "2"))
    assert found.cause == "crashed" and not found.transient
    assert found.message == "TensorFlow Lite Micro died of SIGSEGV while starting in an arena of 67108864 bytes"


def test_time_out_names_what_it_was_doing(files, examples):
    found = measure_with_tflm(files["int8"], {"x": examples["image"]}, TflmEvaluator(seconds=0.01, timeout_s=0.02))
    assert (found.cause, found.transient) == ("timed_out", True)
    assert found.message == "TensorFlow Lite Micro was stopped after 0.02 s while starting"


def test_difference_is_counted_in_integers_and_keeps_nan():
    one = difference("y", np.array([[-128, 5]], np.int8), np.array([[127, 5]], np.int8), 0.5)
    assert (one.max_lsb, one.differing, one.lsb) == (255, 0.5, 0.5)
    span = np.array([[0.0, 51.0]], np.float32)
    assert difference("y", span, span + np.float32(0.5), None).max_lsb == pytest.approx(2.5)
    assert math.isnan(difference("y", span, span * np.float32("nan"), None).max_lsb)


@pytest.mark.parametrize("threshold", [0, 16, 1000, 1008, 1009, 2720, 70_000])
def test_least_finds_any_threshold_in_few_attempts(threshold):
    asked = []

    def works(size):
        asked.append(size)
        return size >= threshold

    assert least(1000, works) == max(1008, -(-threshold // 16) * 16)
    assert len(asked) <= 26


def test_allocations_are_the_last_that_were_printed():
    log = "[x] Arena allocation {} {} bytes\n"
    said = log.format("tail", 5) + log.format("total", 2352) + log.format("head", 368) + log.format("tail", 1984)
    assert allocations(said + "'y' used 4\n") == (1984, 368)


def test_file_whose_weights_the_runtime_does_not_find_differs_grossly(files, examples):
    sound, broken = (
        measure_with_tflm(content, {"x": examples["image"]}, TflmEvaluator()).outputs[0]
        for content in (files["int8"], behind_the_flatbuffer(files["int8"]))
    )
    assert not sound.gross
    assert broken.gross


def test_gross_is_what_a_constant_would_differ_by_half_but_no_rounding():
    random = np.random.default_rng(4)
    classes = np.where(np.eye(4, dtype=bool)[random.integers(0, 4, 64)], 127, -128).astype(np.int8)
    # A quarter of the values lies 255 above the median, -128.
    assert difference("y", classes, classes, 1 / 256).gross_lsb == pytest.approx(255 / 8)
    assert difference("y", classes, np.roll(classes, 1, 0), 1 / 256).gross
    assert difference("y", classes, np.full_like(classes, -128), 1 / 256).gross
    # One value in eight differs by 50, as recurrent models do.
    rounded = classes.copy()
    rounded[::8] = np.clip(classes[::8].astype(int) - 50, -128, 127)
    assert not difference("y", classes, rounded, 1 / 256).gross
    still = np.full((8, 1), 3, np.int8)
    assert not difference("y", still, still + np.int8(16), 0.1).gross
    assert difference("y", still, still + np.int8(17), 0.1).gross
    wide = np.full((8, 1), 3, np.int16)
    assert not difference("y", wide, wide + np.int16(4096), 0.1).gross
    reals = random.normal(size=(64, 2)).astype(np.float32)
    assert not difference("y", reals, reals * np.float32(1.05), None).gross
    assert difference("y", reals, random.normal(size=(64, 2)).astype(np.float32), None).gross
    assert difference("y", reals, reals * np.float32("nan"), None).gross
    place = random.integers(0, 10, (64,)).astype(np.int32)
    assert not difference("y", place, place, None).gross
    assert difference("y", place, random.integers(0, 10, (64,)).astype(np.int32), None).gross
