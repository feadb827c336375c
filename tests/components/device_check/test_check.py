"""All candidates of a pipeline under one device's tools, as the TFX node asks them."""

import hashlib
import json

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from tfx.types import standard_artifacts

from components.core.errors import DataError, SpecError, TamperedError
from components.data.examples import split_files
from components.device_check.check import check_candidates
from components.device_check.component import DeviceCheckExecutor, DeviceCheckRequest
from components.device_check.measure.component import DeviceMeasurement
from components.device_check.measure.measurement import Measurement, MeasurementRequest
from components.facts.conversion import ConversionFailure, Converted, Inspection, OperatorUse
from components.facts.device import DeviceReport
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.predict.artifact import predict_model
from components.predict.digests import digests_of
from components.spec.devices.device_tools import RuntimesEvaluator, TflmEvaluator, VelaEvaluator
from components.spec.evaluate import EvaluationSpec
from components.spec.prediction import MAX_BYTES, PredictionSpec
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

    shared = {"examples": [artifact(standard_artifacts.Examples, tmp_path / "examples")]}
    baseline = artifact(standard_artifacts.Model, tmp_path / "baseline")
    predictions = artifact(standard_artifacts.InferenceResult, tmp_path / "predictions")
    predict_model(
        verified(baseline),
        baseline=None,
        files=split_files(str(tmp_path / "examples"), "eval"),
        request=PredictionSpec(split="eval", batch_size=7),
        task="device_check_test_task:TASK",
        task_version="",
        output=tmp_path / "predictions",
        make_pipeline=beam.Pipeline,
    )
    parents = {"model": read_manifest(tmp_path / "baseline").sha256}
    write_manifest(tmp_path / "predictions", "predictions", role="predictions", parents=parents, code_version="1")
    facts = artifact(standard_artifacts.ModelEvaluation, tmp_path / "facts")

    def run(*also, max_bytes=MAX_BYTES, **evaluator):
        evaluators = (VELA, TflmEvaluator.model_validate(evaluator), *also)
        asked = {"task": "device_check_test_task:TASK", "task_version": "", "code_version": "7", "retry": ""}
        inputs = {**shared, "baseline": [baseline], "predictions": [predictions]}
        for name, candidate in candidates.items():
            model = artifact(standard_artifacts.Model, candidate.folder)
            measured = artifact(standard_artifacts.InferenceResult, tmp_path / "measured" / name)
            spec = MeasurementRequest(evaluators=evaluators, split="eval", batch_size=7, max_bytes=max_bytes)
            DeviceMeasurement.EXECUTOR_SPEC.executor_class().Do(
                {**shared, "candidate": [model], "baseline": [predictions]},
                {"measurement": [measured]},
                {**asked, "device": "board", "recipe": name, "spec": spec.model_dump_json()},
            )
            inputs |= {f"candidate_{name}": [model], f"predictions_{name}": [measured]}
        spec = DeviceCheckRequest(device="board", evaluators=evaluators, evaluation=EvaluationSpec(), label="label")
        recipes = json.dumps(["int8", "int16", "dynamic"])
        DeviceCheckExecutor().Do(
            inputs, {"facts": [facts]}, {**asked, "spec": spec.model_dump_json(), "recipes": recipes}
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
    measured = {f"predictions_{name}" for name in ("int8", "int16", "dynamic")}
    assert set(manifest.parents) == {"int8", "int16", "dynamic", "examples", "baseline", *measured}
    assert manifest.parents["predictions_int8"] == read_manifest(tmp_path / "measured" / "int8").sha256
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


def test_measurement_stores_what_each_runtime_answered_by_the_digest_of_the_example(node, files, examples, tmp_path):
    node(RuntimesEvaluator(kernels=("reference",), examples=9), examples="all")
    measurement = Measurement(verified(tmp_path / "measured" / "int8"))
    assert measurement.report.asked == 24
    assert measurement.report.runs == {"": 24, "-desktop": 24, "-on-desktop": 9, "-on-litert_reference": 9}
    records = tf_records(tmp_path / "examples" / "Split-eval" / "part.gz")
    # A step of a softmax in int8 is 1/256.
    expected = (on_tflm(files["int8"], examples["image"]).astype(np.float32) + 128) / 256
    stored = measurement.stored[""].rows(0, 0, digests_of(records))
    np.testing.assert_array_equal(stored["y"], expected)
    for number in range(len(measurement.report.runs)):
        (path,) = (tmp_path / "measured" / "int8" / "measurement" / str(number)).glob("*.arrow")
        with pa.ipc.open_file(path) as opened:
            # One byte for each value, and a dictionary of the 256 real ones.
            kind = opened.schema.field("output:y").type.value_type
        assert kind == pa.dictionary(pa.uint8(), pa.float32())
    nine = measurement.stored["-on-desktop"].rows(0, 0, digests_of(records[:9]))
    np.testing.assert_array_equal(nine["y"], measurement.stored["-desktop"].rows(0, 0, digests_of(records))["y"][:9])
    assert (
        measurement.report.stored_bytes > 24 * 16
        and Measurement(verified(tmp_path / "measured" / "int16")).stored == {}
    )


def test_measurement_that_would_take_more_bytes_than_allowed_ends_the_run(node):
    with pytest.raises(SpecError, match=r"evaluate\.max_prediction_bytes: .*at most 50 bytes.* of y \[4\]"):
        node(examples=3, max_bytes=50)


def test_device_check_refuses_the_measurement_of_another_file(node, tmp_path):
    node(examples=3)
    measured = tmp_path / "measured"
    (measured / "int8").rename(measured / "other")
    (measured / "dynamic").rename(measured / "int8")
    measurement = Measurement(verified(measured / "int8"))
    candidate = read_manifest(tmp_path / "int8").sha256
    with pytest.raises(TamperedError, match=rf"\(measurement\) .*candidate with sha256 {candidate}"):
        measurement.check_made_from("candidate", candidate)


def tf_records(path):
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(str(path), compression_type="GZIP").as_numpy_iterator())
