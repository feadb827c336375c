import hashlib
import json
import shutil

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import standard_artifacts

from components.core.errors import DataError, TamperedError
from components.evaluate.assess import assess
from components.evaluate.component import Evaluator
from components.evaluate.latency.artifact import latency_of
from components.evaluate.latency.component import LatencyMeasurement
from components.facts.conversion import ConversionFailure, Converted, Inspection
from components.facts.evaluation import EvaluationReport
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.predict.component import Predictor
from components.spec.evaluate import EvaluationSpec
from components.spec.prediction import PredictionSpec
from components.tfx.candidate_inputs import LATENCY, candidate_node
from tests.artifacts import read_manifest
from tests.predicted import write_predictions

SCHEMES = {
    "int8": "static_wi8_ai8",
    "float32": "float32",
    "int16": "static_wi8_ai16",
    "custom": "dynamic_wi8_afp32",
    "other_input": "float32",
}
FAILURE = ConversionFailure(scheme="static_wi8_ai16", cause="refused", message="no kernel", remedy="another scheme")
SPEC = EvaluationSpec.model_validate({"slices": [["label"]]})


def converted(size):
    nothing = {"weight_bytes": 0, "operators": (), "dtype_counts": {}, "inputs": (), "outputs": (), "weights": ()}
    inspection = Inspection(file_bytes=size, float_tensors=(), stateful=False, **nothing)
    return Converted(inspection=inspection, seconds=1.0, peak_memory_bytes=1)


def write_artifacts(root, world):
    """Examples, a baseline and candidates: one failed to convert, the runtime rejects one, one has another input."""
    split = root / "examples" / "Split-eval"
    split.mkdir(parents=True)
    for file in world.files:
        shutil.copy(file, split)
    shutil.copytree(world.saved_model, root / "baseline" / "Format-Serving")
    write_manifest(root / "baseline", "Format-Serving", role="baseline", parents={}, code_version="1")
    contents = {
        "int8": world.tflite["int8"].read_bytes(),
        "float32": world.tflite["float32"].read_bytes(),
        "custom": tflite(lambda image: tf.linalg.cross(image, image + 1.0), [1, 3], "image"),
        "other_input": tflite(lambda sound: sound * 2.0, [1, 8], "sound"),
    }
    for name, scheme in SCHEMES.items():
        folder = root / name
        content = contents.get(name)
        folder.mkdir()
        if content is not None:
            (folder / "Format-Serving").mkdir()
            (folder / "Format-Serving" / "tflite").write_bytes(content)
        outcome = FAILURE if content is None else converted(len(content))
        (folder / "outcome.json").write_text(outcome.model_dump_json())
        write_manifest(
            folder,
            "outcome.json" if content is None else "Format-Serving/tflite",
            role="candidate",
            recipe={"name": name, "scheme": scheme},
            parents={},
            code_version="1",
        )
    return contents


def tflite(function, shape, name):
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec(shape, tf.float32, name=name))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.allow_custom_ops = True
    return converter.convert()


@pytest.fixture(scope="module")
def run(world, task, tmp_path_factory):
    root = tmp_path_factory.mktemp("component")
    contents = write_artifacts(root, world)
    imported = {
        name: Importer(source_uri=str(root / name), artifact_type=standard_artifacts.Model).with_id(name)
        for name in ("baseline", *SCHEMES)
    }
    examples = Importer(
        source_uri=str(root / "examples"),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": json.dumps(["eval"])},
    ).with_id("examples")

    def predictor(name, baseline=None):
        return Predictor(
            examples=examples.outputs["result"],
            model=imported[name].outputs["result"],
            baseline=baseline,
            spec=PredictionSpec(split="eval", batch_size=50).model_dump_json(),
            task=task,
            task_version="1",
            code_version="2",
        ).with_id(f"predict_{name}")

    on_floats = predictor("baseline")
    predictors = {name: predictor(name, on_floats.outputs["predictions"]) for name in SCHEMES}
    timers = {
        name: LatencyMeasurement(
            candidate=imported[name].outputs["result"],
            float_reference=imported["float32"].outputs["result"],
            examples=examples.outputs["result"],
            split="eval",
            task=task,
            task_version="1",
            code_version="2",
            retry="",
        ).with_id(f"latency_{name}")
        for name in SCHEMES
    }
    evaluation = candidate_node(
        Evaluator,
        {name: imported[name].outputs["result"] for name in SCHEMES},
        {name: node.outputs["predictions"] for name, node in predictors.items()},
        {LATENCY: {name: node.outputs["latency"] for name, node in timers.items()}},
        predictions=on_floats.outputs["predictions"],
        examples=examples.outputs["result"],
        baseline=imported["baseline"].outputs["result"],
        float_reference=imported["float32"].outputs["result"],
        spec=SPEC.model_dump_json(),
        task=task,
        label="label",
        task_version="1",
        code_version="2",
    ).with_id("evaluate")
    LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="evaluation",
            pipeline_root=str(root / "out"),
            components=[examples, *imported.values(), on_floats, *predictors.values(), *timers.values(), evaluation],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
        )
    )
    (folder,) = (root / "out" / "evaluate" / "evaluation").iterdir()
    return folder, contents


@pytest.fixture(scope="module")
def report(run):
    return EvaluationReport.model_validate_json((run[0] / "report.json").read_bytes())


def test_report_has_all_candidates_in_order_when_some_failed(report, run):
    assert [candidate.name for candidate in report.candidates] == list(SCHEMES)
    assert report.baseline_bytes == len(run[1]["float32"])
    assert [candidate.outcome.status for candidate in report.candidates] == [
        "converted",
        "converted",
        *["failed"] * 3,
    ]


def test_report_has_what_was_measured_when_a_candidate_runs(report, run, world):
    int8, float32 = report.candidates[:2]
    assert int8.sha256 == hashlib.sha256(run[1]["int8"]).hexdigest()
    right = world.candidate("int8").argmax(axis=1) == world.labels
    overall = int8.slices[0]
    assert (overall.slice, overall.examples) == ("overall", 240)
    assert overall.metrics["accuracy"].value == pytest.approx(right.mean())
    assert [each.slice for each in int8.slices[1:]] == [f"label={label}" for label in range(4)]
    assert [each.examples for each in int8.slices[1:]] == np.bincount(world.labels).tolist()
    assert float32.slices[0].change["accuracy"].value == 0.0
    assert float32.slices[0].metrics == report.baseline_slices[0].metrics
    assert all(candidate.latency is not None for candidate in (int8, float32))


def test_time_of_another_candidate_is_refused(run):
    root = run[0].parents[3]
    (timed,) = (root / "out" / "latency_int8" / "latency").iterdir()
    candidates = {name: verified(root / name) for name in ("int8", "float32")}
    assert latency_of(verified(timed), candidates["int8"]) is not None
    with pytest.raises(TamperedError, match="latency"):
        latency_of(verified(timed), candidates["float32"])


def test_failed_candidate_is_passed_through_when_its_conversion_failed(report):
    int16 = report.candidates[2]
    assert int16.outcome == FAILURE
    assert (int16.sha256, int16.slices, int16.latency) == (None, (), None)


def test_candidate_is_reported_as_failed_when_it_cannot_be_run(report):
    custom, other = report.candidates[3:]
    assert "Encountered unresolved custom op: Cross" in custom.outcome.message
    assert (other.outcome.cause, other.outcome.message) == ("broken_promise", "the model's input 'sound' is missing")
    assert other.outcome.remedy.startswith("make the task's decode()")


def assess_int8(root, world, task, make_pipeline=beam.Pipeline, spec=SPEC, files=None):
    files = files or [str(file) for file in world.files]
    given = {"files": files, "spec": spec, "task": task}
    on_floats = write_predictions(root / "on_floats", verified(root / "baseline"), **given)
    on_int8 = write_predictions(
        root / "on_int8", verified(root / "int8"), baseline=on_floats, make_pipeline=make_pipeline, **given
    )
    return assess(
        files=files,
        baseline=verified(root / "baseline"),
        float_reference=verified(root / "float32"),
        candidates={"int8": verified(root / "int8")},
        predictions=[on_floats, on_int8],
        latencies={"int8": None},
        spec=spec,
        label="label",
        task=task,
        output=root / "out",
        make_pipeline=beam.Pipeline,
    )


def test_evaluation_ends_before_a_torn_file_is_loaded(tmp_path, world, task):
    write_artifacts(tmp_path, world)
    path = tmp_path / "int8" / "Format-Serving" / "tflite"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(TamperedError, match=r"int8/Format-Serving/tflite: this artifact \(candidate 'int8'\)"):
        assess_int8(tmp_path, world, task)


@pytest.mark.parametrize("restored", [False, True])
def test_evaluation_ends_when_a_file_is_swapped_while_it_runs(tmp_path, world, task, restored):
    write_artifacts(tmp_path, world)
    path = tmp_path / "int8" / "Format-Serving" / "tflite"
    before = path.read_bytes()

    class Swapped(beam.Pipeline):
        def run(self, *arguments, **options):
            path.write_bytes(world.tflite["float32"].read_bytes())
            try:
                return super().run(*arguments, **options)
            finally:
                path.write_bytes(before if restored else path.read_bytes())

    with pytest.raises(TamperedError, match=r"int8/Format-Serving/tflite: this artifact \(candidate 'int8'\)"):
        assess_int8(tmp_path, world, task, Swapped)


def test_manifest_names_all_parents_when_evaluated(run):
    folder, contents = run
    manifest = read_manifest(folder)
    assert (manifest.role, manifest.content, manifest.code_version) == ("evaluation", "report.json", "2")
    assert set(manifest.parents) == {
        *("examples", "baseline", "float_reference", "predictions", *SCHEMES),
        *(f"predictions_{name}" for name in SCHEMES),
        *(f"latency_{name}" for name in SCHEMES),
    }
    assert manifest.parents["int8"] == hashlib.sha256(contents["int8"]).hexdigest()


def test_evaluation_is_refused_when_all_examples_belong_to_one_group(tmp_path, world, task, write_examples):
    write_artifacts(tmp_path, world)
    rows = [
        {"image": image, "label": label, "positive": 0.0, "site": b"a"}
        for label, image in enumerate(np.random.default_rng(5).random((4, 64)))
    ]
    file = write_examples(tmp_path / "one_site.gz", rows)
    spec = EvaluationSpec.model_validate({"group_by": "site"})
    message = "evaluate.group_by: all 4 examples of the split 'eval' belong to the same group"
    with pytest.raises(DataError, match=message):
        assess_int8(tmp_path, world, task, spec=spec, files=[file])
