"""All candidates of a pipeline under one device's tools, as the TFX node asks them."""

import hashlib
import json

import numpy as np
import pytest
from tfx.types import standard_artifacts

from components.core.errors import DataError, TamperedError
from components.device_check.check import check_candidates
from components.device_check.component import DeviceCheckExecutor, DeviceCheckRequest
from components.facts.conversion import ConversionFailure, Converted, Inspection, OperatorUse
from components.facts.device import DeviceReport
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.spec.devices.device_tools import RuntimesEvaluator, TflmEvaluator, VelaEvaluator
from components.spec.evaluate import EvaluationSpec
from tests.artifacts import read_manifest

VELA = VelaEvaluator(accelerator="ethos-u55-64", system_config="Ethos_U55_Deep_Embedded")
FAILURE = ConversionFailure(scheme="static_wi8_ai16", cause="refused", message="no kernel", remedy="another scheme")
TASK = """
import tensorflow as tf

class Images:
    def feature_spec(self):
        return {
            "image": tf.io.FixedLenFeature([64], tf.float32),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }

    def decode(self, features):
        return {"x": tf.reshape(features["image"], [-1, 8, 8, 1])}

TASK = Images()
"""


def write_candidate(folder, name, scheme, content=None):
    folder.mkdir(parents=True)
    outcome = FAILURE
    if content is not None:
        (folder / "Format-Serving").mkdir()
        (folder / "Format-Serving" / "tflite").write_bytes(content)
        nothing = {"weight_bytes": 0, "dtype_counts": {}, "inputs": (), "outputs": (), "weights": ()}
        operators = tuple(OperatorUse(name=one, version=1, count=2) for one in ("CONV_2D", "SOFTMAX"))
        inspection = Inspection(
            file_bytes=len(content), operators=operators, float_tensors=(), stateful=False, **nothing
        )
        outcome = Converted(inspection=inspection, seconds=1.0, peak_memory_bytes=1)
    (folder / "outcome.json").write_text(outcome.model_dump_json())
    write_manifest(
        folder,
        "outcome.json" if content is None else "Format-Serving/tflite",
        role="candidate",
        recipe={"name": name, "scheme": scheme},
        parents={},
        code_version="1",
    )
    return folder


@pytest.fixture
def candidates(files, tmp_path):
    made = (
        ("int16", "static_wi8_ai16", None),
        ("int8", "static_wi8_ai8", files["int8"]),
        ("dynamic", "dynamic_wi8_afp32", files["dynamic"]),
    )
    return {name: verified(write_candidate(tmp_path / name, name, scheme, content)) for name, scheme, content in made}


def test_each_tool_sees_each_file_that_was_converted_and_a_refusal_stops_nothing(candidates, files, examples):
    evaluators = (VELA, TflmEvaluator())
    report, _ = check_candidates("board", evaluators, candidates, {"x": examples["image"][:4]})
    assert [one.name for one in report.candidates] == ["int8", "dynamic"]
    int8, dynamic = report.candidates
    assert int8.sha256 == hashlib.sha256(files["int8"]).hexdigest()
    assert int8.vela.operators == 4 and int8.tflm.examples == 4 and int8.failures == ()
    assert dynamic.tflm.cause == "refused" and dynamic.failures == (dynamic.tflm,)
    assert report.of("dynamic") is dynamic and report.of("int16") is None


def test_tools_that_are_not_declared_are_not_asked(candidates):
    report, _ = check_candidates("board", (VELA,), candidates, None)
    assert all(one.tflm is None and one.vela.status == "measured" for one in report.candidates)
    with pytest.raises(DataError, match="has no examples to run"):
        check_candidates("board", (TflmEvaluator(),), candidates, None)


def test_damaged_file_is_reported_and_reaches_no_tool(candidates):
    path = candidates["int8"].folder / "Format-Serving" / "tflite"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TamperedError, match=r"artifact \(candidate 'int8'\) is not the one that was written"):
        check_candidates("board", (VELA,), candidates, None)


def test_input_that_the_model_does_not_have_is_a_reason(candidates, examples):
    report, _ = check_candidates("board", (TflmEvaluator(),), candidates, {"sound": examples["image"][:2]})
    assert report.of("int8").tflm.message == "the desktop runtime: the model's input 'x' is missing"


def on_tflm(content, images):
    """One example at a time, written without the code under test."""
    from tflite_micro import runtime

    model = runtime.Interpreter.from_bytes(content, arena_size=1 << 20)
    source, sink = (model.get_input_details(0), model.get_output_details(0))
    rows = []
    for image in images:
        steps = np.round(image[None] / source["quantization_parameters"]["scales"][0])
        steps = steps + source["quantization_parameters"]["zero_points"][0]
        model.set_input(np.clip(steps, -128, 127).astype(np.int8), 0)
        model.invoke()
        rows.append(np.array(model.get_output(0))[0])
    assert sink["dtype"] == np.int8
    return np.array(rows)


@pytest.fixture
def node(candidates, image_model, examples, files, tmp_path, monkeypatch):
    """Runs the node on 24 examples. TFLM is right on all but two, the float model not on the same."""
    import tensorflow as tf

    (tmp_path / "device_check_test_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    split = tmp_path / "examples" / "Split-eval"
    split.mkdir(parents=True)
    labels = on_tflm(files["int8"], examples["image"]).argmax(1)
    labels[[3, 20]] = (labels[[3, 20]] + 1) % 4
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(split / "part.gz"), options) as writer:
        for image, label in zip(examples["image"], labels, strict=True):
            example = tf.train.Example()
            example.features.feature["image"].float_list.value.extend(image.ravel())
            example.features.feature["label"].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
    serving = tmp_path / "baseline" / "Format-Serving"
    holder = tf.Module()
    holder.kernel, holder.weights = image_model.kernel, image_model.weights
    signature = tf.function(lambda x: {"y": image_model(x)}).get_concrete_function(
        tf.TensorSpec((None, 8, 8, 1), tf.float32, name="x")
    )
    tf.saved_model.save(holder, str(serving), signatures=signature)
    write_manifest(tmp_path / "baseline", "Format-Serving", role="baseline", parents={}, code_version="1")

    def artifact(kind, folder):
        made = kind()
        made.uri = str(folder)
        return made

    inputs = {f"candidate_{name}": [artifact(standard_artifacts.Model, one.folder)] for name, one in candidates.items()}
    inputs["examples"] = [artifact(standard_artifacts.Examples, tmp_path / "examples")]
    inputs["baseline"] = [artifact(standard_artifacts.Model, tmp_path / "baseline")]
    facts = artifact(standard_artifacts.ModelEvaluation, tmp_path / "facts")

    def run(*also, **evaluator):
        evaluators = (VELA, TflmEvaluator.model_validate(evaluator), *also)
        spec = DeviceCheckRequest(device="board", evaluators=evaluators, evaluation=EvaluationSpec(), label="label")
        DeviceCheckExecutor().Do(
            inputs,
            {"facts": [facts]},
            {
                "spec": spec.model_dump_json(),
                "recipes": json.dumps(["int8", "int16", "dynamic"]),
                "task": "device_check_test_task:TASK",
                "code_version": "7",
            },
        )
        report = DeviceReport.model_validate_json((tmp_path / "facts" / "device_report.json").read_bytes())
        return facts, report, labels

    return run


def test_node_writes_report_manifest_figures_and_metrics(node, image_model, examples, tmp_path):
    facts, report, labels = node(examples="all")
    assert [one.name for one in report.candidates] == ["int8", "dynamic"]
    found = report.of("int8").tflm
    assert found.examples == 24
    float_right = image_model(examples["image"]).numpy().argmax(1) == labels
    (baseline,), (there,), (here,) = report.baseline_slices, found.slices, found.desktop_slices
    assert (there.slice, there.examples, baseline.examples, here.examples) == ("overall", 24, 24, 24)
    assert there.metrics["accuracy"].value == pytest.approx(22 / 24)
    assert baseline.metrics["accuracy"].value == pytest.approx(float_right.mean())
    assert there.change["accuracy"].value == pytest.approx(22 / 24 - float_right.mean())
    # The float model is right where the label was changed, or not; the flips are those of TFLM.
    device_right = np.ones(24, bool)
    device_right[[3, 20]] = False
    flips = there.flips["accuracy"]
    assert (flips.lost, flips.gained) == ((float_right & ~device_right).sum(), (device_right & ~float_right).sum())
    manifest = read_manifest(tmp_path / "facts")
    assert (manifest.role, manifest.content) == ("device_check", "device_report.json")
    assert manifest.parents["int8"] == report.of("int8").sha256
    assert set(manifest.parents) == {"int8", "int16", "dynamic", "examples", "baseline"}
    assert facts.get_int_custom_property("int8.npu_cycles") == report.of("int8").vela.cycles > 0
    assert facts.get_int_custom_property("int8.arena_bytes") == found.arena_bytes > 0
    assert facts.get_int_custom_property("dynamic.cpu_operators") == 4
    assert (facts.get_int_custom_property("failures"), facts.get_int_custom_property("transient")) == (1, 0)


def test_metrics_are_evaluated_under_each_runtime_on_the_examples_that_all_of_them_ran(node):
    facts, report, _ = node(RuntimesEvaluator(kernels=("builtin", "reference"), examples=9), examples="all")
    found = report.of("int8")
    assert [row.name for row in found.runtimes] == ["desktop", "litert_builtin", "litert_reference"]
    for row in found.runtimes:
        (whole,) = row.outcome.slices
        assert (row.outcome.examples, whole.examples, report.baseline_slices[0].examples) == (9, 9, 9)
        assert whole.change.keys() == whole.metrics.keys() == {"accuracy"}
    # TensorFlow Lite Micro ran 24, but the others only nine.
    assert found.tflm.slices[0].examples == 9
    assert found.runtimes[0].outcome.slices[0].metrics == found.tflm.desktop_slices[0].metrics
    assert facts.get_int_custom_property("failures") == 1  # the dynamic file on TensorFlow Lite Micro


def test_metrics_cover_the_first_examples_and_the_baseline_on_the_same(node, image_model, examples):
    _, report, labels = node(examples=5)
    found = report.of("int8").tflm
    assert found.examples == found.slices[0].examples == report.baseline_slices[0].examples == 5
    assert found.slices[0].metrics["accuracy"].value == pytest.approx(4 / 5)
    right = image_model(examples["image"][:5]).numpy().argmax(1) == labels[:5]
    assert report.baseline_slices[0].metrics["accuracy"].value == pytest.approx(right.mean())
