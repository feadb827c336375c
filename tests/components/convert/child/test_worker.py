import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from components.convert.child.worker import run_conversion
from components.convert.compaction import compacted
from components.convert.job import ConversionRequest
from components.convert.tensorflow.converter import convert
from components.spec.convert import AccuracyBound, ConversionLimits
from components.spec.scheme import DynamicWi8Afp32, Float32, StaticWi8Ai8

LIMITS = ConversionLimits(timeout_s=120)
SCRIPT = """
import sys
from components.convert.job import ConversionRequest
from components.spec.convert import ConversionLimits
from components.convert.child.worker import run_conversion
print("main module runs", flush=True)
run_conversion(ConversionRequest.model_validate_json(sys.argv[1]), ConversionLimits())
"""


@pytest.fixture
def request_with(convnet, calibration, task_module):
    def request_with(task):
        return ConversionRequest(
            name="int8",
            scheme=StaticWi8Ai8(),
            saved_model=str(convnet.saved_model),
            calibration=str(calibration),
            task=f"{task_module}:{task}",
        )

    return request_with


def test_conversion_yields_the_bytes_of_this_process_when_run_in_a_child(request_with, convnet):
    outcome, content = run_conversion(request_with("TASK"), LIMITS)
    assert outcome.status == "converted"
    assert content == compacted(convert(convnet.saved_model, StaticWi8Ai8(), convnet.samples))
    assert outcome.inspection.file_bytes == len(content)
    assert outcome.inspection.integer_only
    # TensorFlow alone is beyond 100 MB, and this model far from 2 GB.
    assert 100e6 < outcome.peak_memory_bytes < 2e9


def test_conversion_has_the_ranges_and_what_each_layer_costs_when_injected(request_with, convnet):
    scheme = StaticWi8Ai8(calibration_method="percentile", keep_float=["*logits*"])
    outcome, content = run_conversion(request_with("TASK").model_copy(update={"scheme": scheme}), LIMITS)
    assert outcome.status == "converted"
    assert outcome.inspection.file_bytes == len(content)
    assert outcome.ranges[0].clipped > 0
    assert {one.layer for one in outcome.sensitivity if one.kept_float} == {"logits"}
    unknown = StaticWi8Ai8(keep_float=["*lgits*"])
    outcome, _ = run_conversion(request_with("TASK").model_copy(update={"scheme": unknown}), LIMITS)
    assert (outcome.status, outcome.cause) == ("failed", "refused")
    assert "no layer of the model matches '*lgits*'" in outcome.message
    assert "name 'logits'" in outcome.remedy


def test_conversion_has_an_unmet_bound_when_no_choice_of_layers_holds_it(request_with):
    # Against the float model's own outputs as labels any rounding is worse.
    mean_squared = {"metric": "mse", "class_name": "MeanSquaredError", "less_is_better": True}
    bound = AccuracyBound.model_validate({**mean_squared, "label": "logits", "max_drop": 1e-9})
    asked = request_with("TASK").model_copy(update={"scheme": StaticWi8Ai8(keep_float="auto"), "bound": bound})
    outcome, content = run_conversion(asked, LIMITS)
    assert content is None
    assert (outcome.cause, outcome.transient) == ("unmet_bound", False)
    assert "expected: at most 1e-09 worse; found: " in outcome.message
    assert outcome.remedy.startswith("raise max_drop")
    wide = asked.model_copy(update={"bound": bound.model_copy(update={"max_drop": 1.0})})
    outcome, _ = run_conversion(wide, LIMITS)
    assert outcome.search.examples == 20
    assert 0 < outcome.search.drops[0] < 1.0


@pytest.mark.parametrize(("task", "name"), [("SEGFAULTS", "SIGSEGV"), ("ABORTS", "SIGABRT")])
def test_conversion_is_crashed_with_the_signals_name_when_child_dies(request_with, task, name):
    outcome, content = run_conversion(request_with(task), LIMITS)
    assert content is None
    assert (outcome.scheme, outcome.cause, outcome.transient) == ("static_wi8_ai8", "crashed", False)
    assert f"died of {name} while converting" in outcome.message
    assert "use another scheme" in outcome.remedy


def test_conversion_is_out_of_memory_when_the_system_kills_the_child(request_with):
    outcome, _ = run_conversion(request_with("IS_KILLED"), LIMITS)
    assert (outcome.cause, outcome.transient) == ("out_of_memory", True)
    assert "the machine ran out of memory while converting" in outcome.message


@pytest.mark.parametrize(("task", "said"), [("EXITS", "SystemExit(the task has had enough)"), ("ENDS", "os._exit(0)")])
def test_conversion_is_refused_with_the_line_when_the_task_exits(request_with, task, said):
    outcome, content = run_conversion(request_with(task), LIMITS)
    assert (outcome.cause, content) == ("refused", None)
    assert f"user code exits with {said} instead of returning" in outcome.message
    assert ".py, <lambda>, line " in outcome.message


def test_conversion_is_refused_for_the_tasks_reason_when_decode_raises(request_with):
    outcome, _ = run_conversion(request_with("FAILS"), LIMITS)
    assert outcome.cause == "refused"
    assert "the calibration examples cannot be decoded: " in outcome.message
    assert "the camera is on fire" in outcome.message
    assert outcome.remedy == "fix the task's decode(), or the examples"


def test_conversion_is_out_of_memory_with_figures_when_above_its_limit(request_with):
    outcome, _ = run_conversion(request_with("TASK"), ConversionLimits(memory_bytes=1_000_000))
    assert outcome.cause == "out_of_memory"
    assert "at most 1000000 bytes allowed" in outcome.message
    measured = int(outcome.message.removeprefix("stopped at ").partition(" ")[0])
    assert measured > 1_000_000


def test_conversion_is_timed_out_with_nothing_left_when_above_its_limit(request_with, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(psutil.Process().children(recursive=True))
    outcome, _ = run_conversion(request_with("SLEEPS"), ConversionLimits(timeout_s=1.5))
    assert (outcome.cause, outcome.transient) == ("timed_out", True)
    # A loaded machine may be in an earlier stage.
    assert re.fullmatch(r"stopped after 1\.5 s while .+ \(at most 1\.5 s allowed\)", outcome.message)
    # The fork server stays, its child does not.
    assert [p for p in set(psutil.Process().children(recursive=True)) - before if p.ppid() != os.getpid()] == []
    assert list(tmp_path.iterdir()) == []


def test_conversion_is_refused_with_a_fix_when_model_is_missing(tmp_path):
    request = ConversionRequest(name="int8", scheme=Float32(), saved_model=str(tmp_path / "nothing"))
    outcome, _ = run_conversion(request, LIMITS)
    assert outcome.cause == "refused"
    assert "the SavedModel cannot be loaded" in outcome.message
    assert "Remedy" not in outcome.message
    assert outcome.remedy == "train or export it again"


def test_conversion_is_refused_when_the_calibration_split_is_empty(request_with, tmp_path):
    request = request_with("TASK").model_copy(update={"calibration": str(tmp_path)})
    outcome, _ = run_conversion(request, LIMITS)
    assert outcome.cause == "refused"
    assert "there are no examples in the split 'calibration'" in outcome.message


def test_conversion_is_a_broken_promise_when_weights_are_too_small_to_quantize(save):
    import tensorflow as tf

    matrix = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    folder = save(lambda x: {"y": tf.matmul(x, matrix)}, tf.TensorSpec([None, 2], tf.float32, name="x"))
    request = ConversionRequest(name="dynamic", scheme=DynamicWi8Afp32(), saved_model=str(folder))
    outcome, content = run_conversion(request, LIMITS)
    assert content is None
    assert outcome.cause == "broken_promise"
    assert "no weight has the 1024 elements" in outcome.message


def test_conversion_is_a_broken_promise_when_the_runtime_rejects_the_file(save):
    import tensorflow as tf

    table = tf.constant([1.0, 2.0])
    folder = save(lambda x: {"y": tf.gather(table, x + 7)}, tf.TensorSpec([None, 1], tf.int32, name="x"))
    request = ConversionRequest(name="float", scheme=Float32(), saved_model=str(folder))
    outcome, _ = run_conversion(request, LIMITS)
    assert outcome.cause == "broken_promise"
    assert "runtime rejects it: gather index out of bounds" in outcome.message


def test_conversion_leaves_no_orphan_when_the_run_is_killed(request_with, tmp_path):
    script = tmp_path / "unguarded_main.py"
    script.write_text(SCRIPT)
    request = request_with("SLEEPS").model_dump_json()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = tmp_path / "printed"
    with printed.open("wb") as output:
        run = subprocess.Popen([sys.executable, script, request], stdout=output, env=environment)
    parent = psutil.Process(run.pid)
    family = []
    deadline = time.monotonic() + 300
    # The fork server, the resource tracker, and below the fork server the conversion.
    while time.monotonic() < deadline and not any(member.ppid() != run.pid for member in family):
        time.sleep(0.05)
        family = parent.children(recursive=True)
    assert any(member.ppid() != run.pid for member in family)
    # Long enough for the child to sleep in the task's decode.
    time.sleep(2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(family, timeout=120)
    for member in alive:
        member.kill()
    assert alive == []
    # A main module without `if __name__ == "__main__"` would run again in a child of multiprocessing's own making.
    assert printed.read_text() == "main module runs\n"
