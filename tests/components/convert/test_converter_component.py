import hashlib
import json
import shutil

import pytest
from tfx.types.standard_artifacts import Examples, Model

from components.convert.component import TFLiteConverter
from components.core.errors import SpecError
from components.core.files import sha256_of
from components.facts.artifact_paths import OUTCOME_FILE
from components.facts.conversion import outcome_of
from components.facts.manifest import write_manifest
from tests.artifacts import read_manifest


@pytest.fixture
def baseline(convnet, tmp_path):
    shutil.copytree(convnet.saved_model, tmp_path / "baseline" / "Format-Serving")
    write_manifest(tmp_path / "baseline", "Format-Serving", role="baseline", parents={}, code_version="1")
    artifact = Model()
    artifact.uri = str(tmp_path / "baseline")
    return artifact


@pytest.fixture
def sample(calibration, tmp_path):
    shutil.copytree(calibration, tmp_path / "sample")
    write_manifest(tmp_path / "sample", "Split-calibration", role="calibration", parents={}, code_version="1")
    artifact = Examples()
    artifact.uri = str(tmp_path / "sample")
    return artifact


@pytest.fixture
def execute(baseline, task_module, tmp_path):
    def execute(scheme, *samples, task="TASK"):
        candidate = Model()
        candidate.uri = str(tmp_path / "candidate")
        inputs = {"model": [baseline], **({"calibration": list(samples)} if samples else {})}
        parameters = {
            "spec": json.dumps({"recipe": {"name": "small", "scheme": scheme}, "limits": {"timeout_s": 100}}),
            "task": f"{task_module}:{task}",
            "task_version": "t",
            "code_version": "c",
        }
        TFLiteConverter.EXECUTOR_SPEC.executor_class().Do(inputs, {"candidate": [candidate]}, parameters)
        return candidate, tmp_path / "candidate"

    return execute


def properties(artifact):
    return {
        name: value.string_value or value.int_value for name, value in artifact.mlmd_artifact.custom_properties.items()
    }


def test_component_writes_file_outcome_and_manifest_when_converted(execute, baseline, sample, tmp_path):
    candidate, folder = execute("static_wi8_ai8", sample)
    content = (folder / "Format-Serving" / "tflite").read_bytes()
    outcome, manifest = outcome_of((folder / OUTCOME_FILE).read_bytes()), read_manifest(folder)
    assert outcome.status == "converted"
    assert outcome.inspection.file_bytes == len(content) == manifest.content_bytes
    assert manifest.sha256 == hashlib.sha256(content).hexdigest()
    assert manifest.parents == {
        "model": read_manifest(tmp_path / "baseline").sha256,
        "calibration": read_manifest(tmp_path / "sample").sha256,
    }
    assert (manifest.role, manifest.recipe_name, manifest.code_version) == ("candidate", "small", "c")
    assert properties(candidate) == {
        "role": "candidate",
        "sha256": manifest.sha256,
        "manifest_sha256": sha256_of(folder / "manifest.json"),
        "content_bytes": len(content),
        "recipe": "small",
        "scheme": "static_wi8_ai8",
        "status": "converted",
        "cause": 0,
        "transient": 0,
        "file_bytes": len(content),
        "integer_only": 1,
    }


def test_component_writes_the_reason_and_no_file_when_conversion_crashes(execute, sample):
    candidate, folder = execute("static_wi8_ai8", sample, task="SEGFAULTS")
    assert sorted(path.name for path in folder.rglob("*")) == ["manifest.json", "outcome.json"]
    outcome = outcome_of((folder / OUTCOME_FILE).read_bytes())
    assert (outcome.status, outcome.cause, outcome.scheme) == ("failed", "crashed", "static_wi8_ai8")
    assert read_manifest(folder).content == "outcome.json"
    known = properties(candidate)
    assert (known["status"], known["cause"], known["file_bytes"], known["integer_only"]) == ("failed", "crashed", 0, 0)
    assert known["transient"] == 0


def test_component_raises_when_a_static_scheme_has_no_calibration(execute, tmp_path):
    with pytest.raises(SpecError, match=r"recipes\.small\.scheme: the scheme static_wi8_ai16 needs a calibration"):
        execute("static_wi8_ai16")
    assert not (tmp_path / "candidate").exists()
