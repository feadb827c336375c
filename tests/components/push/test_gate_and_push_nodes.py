"""Gate and Pusher as nodes of a real pipeline: importers -> gate -> Pusher, by the local runner."""

import hashlib
import shutil
from pathlib import Path

import pytest
from tfx.components.evaluator import constants
from tfx.components.util import model_utils
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import standard_artifacts

from components.core.errors import TamperedError
from components.facts.conversion import ConversionFailure, Converted, Inspection
from components.facts.decision import Decision
from components.facts.evaluation import CandidateReport, EvaluationReport, MetricValue, SliceResult
from components.facts.manifest import write_manifest
from components.gate.component import Gate, GateRequest
from components.push.component import Pusher
from components.push.delivery import PushOutcome, PushRequest
from components.push.folder_releases import current
from components.tfx.candidate_inputs import candidate_node
from pipelines.runs.metadata import run_records
from pipelines.runs.pushing import finish_pushes
from tests.artifacts import read_manifest

MODELS = {"float32": b"f" * 400, "int8": b"i" * 100}
DEVICE = {"name": "phone_cpu", "device_class": "phone", "description": "any", "schemes": ["static_wi8_ai8"]}


def converted(size):
    nothing = {"weight_bytes": 0, "operators": (), "dtype_counts": {}, "inputs": (), "outputs": (), "weights": ()}
    inspection = Inspection(file_bytes=size, float_tensors=(), stateful=False, **nothing)
    return Converted(inspection=inspection, seconds=1.0, peak_memory_bytes=1)


FAILURE = ConversionFailure(scheme="static_wi8_ai16", cause="refused", message="no kernel.", remedy="another scheme")


def write_artifacts(root, accuracy):
    """An evaluation and three candidates, one of which failed to convert, as the components before the gate do."""
    candidates = []
    for name, scheme in (("float32", "float32"), ("int8", "static_wi8_ai8"), ("int16", "static_wi8_ai16")):
        folder = root / f"candidate_{name}"
        recipe = {"name": name, "scheme": scheme}
        if name in MODELS:
            (folder / "Format-Serving").mkdir(parents=True)
            (folder / "Format-Serving" / "tflite").write_bytes(MODELS[name])
        folder.mkdir(exist_ok=True)
        outcome = converted(len(MODELS[name])) if name in MODELS else FAILURE
        (folder / "outcome.json").write_text(outcome.model_dump_json())
        report = CandidateReport(
            recipe=recipe,
            outcome=outcome,
            sha256=hashlib.sha256(MODELS[name]).hexdigest() if name in MODELS else None,
            slices=(SliceResult(slice="overall", examples=100, metrics={"accuracy": MetricValue(value=accuracy)}),),
        )
        candidates.append(report)
        write_manifest(
            folder,
            "Format-Serving/tflite" if name in MODELS else "outcome.json",
            role="candidate",
            recipe=report.recipe.model_dump(),
            parents={"model": "b" * 64},
            code_version="1",
        )
    evaluation = root / "evaluation"
    evaluation.mkdir()
    (evaluation / "report.json").write_text(
        EvaluationReport(baseline_slices=(), baseline_bytes=400, candidates=tuple(candidates)).model_dump_json()
    )
    write_manifest(evaluation, "report.json", role="evaluation", parents={"examples": "e" * 64}, code_version="1")


def run(root, attempt="1"):
    imported = {
        path.name: Importer(
            source_uri=str(path),
            artifact_type=standard_artifacts.ModelEvaluation if path.name == "evaluation" else standard_artifacts.Model,
        ).with_id(f"import_{path.name}")
        for path in sorted(root.iterdir())
        if path.name == "evaluation" or path.name.startswith("candidate_")
    }
    policy = {"metrics": [{"name": "accuracy", "at_least": 0.8}]}
    decided = candidate_node(
        Gate,
        {
            name.removeprefix("candidate_"): node.outputs["result"]
            for name, node in imported.items()
            if name != "evaluation"
        },
        evaluation=imported["evaluation"].outputs["result"],
        spec=GateRequest.model_validate({"device": DEVICE, "policy": policy}).model_dump_json(),
        code_version="1",
    ).with_id("gate__phone_cpu")
    request = {"registries": [{"root": str(root / "registry")}], "device": DEVICE, "name": "shoes"}
    pushed = Pusher(
        chosen=decided.outputs["chosen"],
        blessing=decided.outputs["blessing"],
        spec=PushRequest.model_validate(request).model_dump_json(),
        attempt=attempt,
        code_version="1",
    ).with_id("push__phone_cpu")
    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="shoes",
            pipeline_root=str(root / "pipeline"),
            components=[*imported.values(), decided, pushed],
            metadata_connection_config=connection,
            enable_cache=True,
        )
    )
    with metadata.Metadata(connection) as store:
        return {kind: store.store.get_artifacts_by_type(kind) for kind in ("ModelBlessing", "PushedModel", "Model")}


def properties(artifact):
    return {
        name: value.int_value if value.HasField("int_value") else value.string_value
        for name, value in artifact.custom_properties.items()
    }


def test_winner_is_blessed_and_pushed_once_when_it_passes(tmp_path):
    write_artifacts(tmp_path, accuracy=0.9)
    artifacts = run(tmp_path)
    digest = hashlib.sha256(MODELS["int8"]).hexdigest()

    (blessing,) = artifacts["ModelBlessing"]
    found = properties(blessing)
    assert (found["blessed"], found["device"], found["verdict"], found["chosen"]) == (1, "phone_cpu", "pass", "int8")
    assert found["current_model"] == str(tmp_path / "candidate_int8")
    decision = Decision.model_validate_json(Path(blessing.uri, "decision.json").read_bytes())
    assert {one.candidate: one.verdict for one in decision.candidates} == {
        "float32": "fail",
        "int8": "pass",
        "int16": "fail",
    }

    (chosen,) = [artifact for artifact in artifacts["Model"] if properties(artifact).get("role") == "chosen"]
    assert found["current_model_id"] in {artifact.id for artifact in artifacts["Model"]} - {chosen.id}
    assert Path(chosen.uri, "Format-Serving", "tflite").read_bytes() == MODELS["int8"]
    manifest = read_manifest(Path(chosen.uri))
    assert (manifest.role, manifest.recipe_name, manifest.sha256) == ("chosen", "int8", digest)
    assert manifest.parents == {
        "examples": "e" * 64,
        "model": "b" * 64,
        "candidate": digest,
        "evaluation": read_manifest(tmp_path / "evaluation").sha256,
    }

    (pushed,) = artifacts["PushedModel"]
    recorded = properties(pushed)
    assert (recorded["pushed"], recorded["version"], recorded["model_sha256"]) == (1, digest[:16], digest)
    release = current(tmp_path / "registry", "phone", "shoes")
    assert release.path == recorded["release_path"]
    assert release.model_path.read_bytes() == MODELS["int8"]

    # A new attempt pushes again although the gate comes from the cache, and brings back what was lost outside.
    shutil.rmtree(release.path)
    again = run(tmp_path, attempt="2")
    assert current(tmp_path / "registry", "phone", "shoes") == release
    assert len(again["ModelBlessing"]) == 1
    assert len(again["PushedModel"]) == 2


def test_run_ends_normally_and_nothing_is_pushed_when_nobody_passes(tmp_path):
    write_artifacts(tmp_path, accuracy=0.7)
    artifacts = run(tmp_path)
    (blessing,) = artifacts["ModelBlessing"]
    assert properties(blessing)["blessed"] == 0
    assert sorted(path.name for path in Path(blessing.uri).iterdir()) == [
        "NOT_BLESSED",
        "decision.json",
        "manifest.json",
    ]
    (chosen,) = [artifact for artifact in artifacts["Model"] if properties(artifact).get("role") == "chosen"]
    assert sorted(path.name for path in Path(chosen.uri).iterdir()) == ["decision.json", "manifest.json"]
    (pushed,) = artifacts["PushedModel"]
    assert properties(pushed)["pushed"] == 0
    outcome = PushOutcome.model_validate_json(Path(pushed.uri, "push.json").read_bytes())
    assert not outcome.pushed
    assert "int8 (accuracy on overall)" in outcome.reason
    assert not (tmp_path / "registry").exists()


def test_gate_refuses_to_bless_when_the_file_is_not_the_one_evaluated(tmp_path):
    write_artifacts(tmp_path, accuracy=0.9)
    (tmp_path / "candidate_int8" / "Format-Serving" / "tflite").write_bytes(b"swapped")
    with pytest.raises(TamperedError, match=r"artifact \(candidate 'int8'\) is not the one that was written"):
        run(tmp_path)
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize(("accuracy", "blessed"), [(0.9, True), (0.7, False)])
def test_stock_tfx_reads_the_blessing_when_it_is_written(tmp_path, accuracy, blessed):
    write_artifacts(tmp_path, accuracy)
    (stored,) = run(tmp_path)["ModelBlessing"]
    artifact = standard_artifacts.ModelBlessing()
    artifact.set_mlmd_artifact(stored)
    assert model_utils.is_model_blessed(artifact) is blessed
    assert Path(stored.uri, constants.BLESSED_FILE_NAME).exists() is blessed
    assert Path(stored.uri, constants.NOT_BLESSED_FILE_NAME).exists() is not blessed
    assert artifact.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == int(blessed)
    model = artifact.get_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY)
    assert bool(model) is blessed


def test_staged_release_of_a_real_run_is_finished(tmp_path):
    write_artifacts(tmp_path, accuracy=0.9)
    (tmp_path / "registry").write_text("a mount point without its mount")
    (staged,) = run(tmp_path)["PushedModel"]
    assert (properties(staged)["pushed"], properties(staged)["staged"]) == (0, 1)
    (tmp_path / "registry").unlink()
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))) as opened:
        store = opened.store
        (context,) = store.get_contexts_by_type("pipeline_run")
        (outcome,) = finish_pushes(store, "shoes", context.name)
        assert (outcome.pushed, list(finish_pushes(store, "shoes", context.name))) == (True, [])
        found = run_records(store, "shoes", context.name)["push__phone_cpu"].outputs["pushed"]
    release = current(tmp_path / "registry", "phone", "shoes")
    recorded = properties(found)
    assert (recorded["release_path"], recorded["model_sha256"]) == (release.path, release.manifest.sha256)
    assert read_manifest(Path(found.uri)).parents == read_manifest(Path(staged.uri)).parents
