"""All candidates of a pipeline under one device's tools, as the TFX node asks them."""

import hashlib
import json

import pytest
from tfx.types import standard_artifacts

from components.core.errors import DataError, TamperedError
from components.device_check.check import check_candidates
from components.device_check.component import DeviceCheckExecutor
from components.facts.conversion import ConversionFailure, Converted, Inspection, OperatorUse
from components.facts.device import DeviceReport
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.spec.devices.device_tools import TflmEvaluator, VelaEvaluator
from tests.artifacts import read_manifest

VELA = VelaEvaluator(accelerator="ethos-u55-64", system_config="Ethos_U55_Deep_Embedded")
FAILURE = ConversionFailure(scheme="static_wi8_ai16", cause="refused", message="no kernel", remedy="another scheme")
TASK = """
import tensorflow as tf

class Images:
    def feature_spec(self):
        return {"image": tf.io.FixedLenFeature([64], tf.float32)}

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
    report = check_candidates("board", evaluators, candidates, {"x": examples["image"][:4]})
    assert [one.name for one in report.candidates] == ["int8", "dynamic"]
    int8, dynamic = report.candidates
    assert int8.sha256 == hashlib.sha256(files["int8"]).hexdigest()
    assert int8.vela.operators == 4 and int8.tflm.examples == 4 and int8.failures == ()
    assert dynamic.tflm.cause == "refused" and dynamic.failures == (dynamic.tflm,)
    assert report.of("dynamic") is dynamic and report.of("int16") is None


def test_tools_that_are_not_declared_are_not_asked(candidates):
    report = check_candidates("board", (VELA,), candidates, None)
    assert all(one.tflm is None and one.vela.status == "measured" for one in report.candidates)
    with pytest.raises(DataError, match="has no examples to run"):
        check_candidates("board", (TflmEvaluator(),), candidates, None)


def test_damaged_file_is_reported_and_reaches_no_tool(candidates):
    path = candidates["int8"].folder / "Format-Serving" / "tflite"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TamperedError, match=r"artifact \(candidate 'int8'\) is not the one that was written"):
        check_candidates("board", (VELA,), candidates, None)


def test_input_that_the_model_does_not_have_is_a_reason(candidates, examples):
    report = check_candidates("board", (TflmEvaluator(),), candidates, {"sound": examples["image"][:2]})
    assert report.of("int8").tflm.message == "the desktop runtime: the model's input 'x' is missing"


def test_node_writes_report_manifest_and_figures(candidates, examples, tmp_path, monkeypatch):
    import tensorflow as tf

    (tmp_path / "device_check_test_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    split = tmp_path / "examples" / "Split-eval"
    split.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(split / "part.gz"), options) as writer:
        for image in examples["image"]:
            floats = tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))
            features = tf.train.Features(feature={"image": floats})
            writer.write(tf.train.Example(features=features).SerializeToString())

    def artifact(kind, folder):
        made = kind()
        made.uri = str(folder)
        return made

    inputs = {f"candidate_{name}": [artifact(standard_artifacts.Model, one.folder)] for name, one in candidates.items()}
    inputs["examples"] = [artifact(standard_artifacts.Examples, tmp_path / "examples")]
    facts = artifact(standard_artifacts.ModelEvaluation, tmp_path / "facts")
    spec = {"device": "board", "evaluators": [VELA.model_dump(), {"kind": "tflm", "examples": 5}], "split": "eval"}
    DeviceCheckExecutor().Do(
        inputs,
        {"facts": [facts]},
        {
            "spec": json.dumps(spec),
            "recipes": json.dumps(["int8", "int16", "dynamic"]),
            "task": "device_check_test_task:TASK",
            "code_version": "7",
        },
    )
    report = DeviceReport.model_validate_json((tmp_path / "facts" / "device_report.json").read_bytes())
    assert [one.name for one in report.candidates] == ["int8", "dynamic"]
    assert report.of("int8").tflm.examples == 5
    manifest = read_manifest(tmp_path / "facts")
    assert (manifest.role, manifest.content) == ("device_check", "device_report.json")
    assert manifest.parents["int8"] == report.of("int8").sha256
    assert set(manifest.parents) == {"int8", "int16", "dynamic", "examples"}
    assert facts.get_int_custom_property("int8.npu_cycles") == report.of("int8").vela.cycles > 0
    assert facts.get_int_custom_property("int8.arena_bytes") == report.of("int8").tflm.arena_bytes > 0
    assert facts.get_int_custom_property("dynamic.cpu_operators") == 4
    assert (facts.get_int_custom_property("failures"), facts.get_int_custom_property("transient")) == (1, 0)
