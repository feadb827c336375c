"""The child process of an explanation: what ends it becomes the reason why there is no explanation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.core.files import write_atomically
from components.explain.component import _explanation
from components.explain.job import ExplanationRequest
from components.facts.artifact_paths import OUTCOME_FILE, TFLITE_FILE
from components.facts.conversion import ConversionFailure, Converted
from components.facts.manifest import write_manifest
from components.facts.verified import Verified, verified
from components.model.tflite_file import inspect_model
from components.spec.convert import ConversionLimits
from tests.components.explain.planted import IMAGES, float_file, quantized, sound
from tests.small_pipeline import frame, serialize

TASK = """
import os, signal, time
import tensorflow as tf

class Task:
    def __init__(self, act=lambda: None):
        self.act = act

    def feature_spec(self):
        return {"image": tf.io.FixedLenFeature([192], tf.float32)}

    def decode(self, features):
        self.act()
        return {"image": tf.reshape(features["image"], [-1, 8, 8, 3])}

TASK = Task()
DIES = Task(lambda: os.kill(os.getpid(), signal.SIGSEGV))
SLEEPS = Task(lambda: time.sleep(600))


def bad_alloc():
    os.write(2, b"terminate called after throwing 'std::bad_alloc'\\n2026-01-02 03:04: W a warning\\n")
    os.abort()


LACKS_MEMORY = Task(bad_alloc)
"""
RECIPE = {"name": "int8", "steps": [], "scheme": {"kind": "static_wi8_ai8"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task, examples, a float file, and a candidate."""
    import gzip

    folder = tmp_path_factory.mktemp("explained")
    (folder / "explained_task.py").write_text(TASK)
    records = [frame(serialize({"image": image.reshape(-1)})) for image in IMAGES[:8]]
    (folder / "examples.gz").write_bytes(gzip.compress(b"".join(records)))
    model = sound()
    (folder / "float.tflite").write_bytes(float_file(model))
    content = quantized(model)
    candidate = folder / "candidate"
    write_atomically(candidate / TFLITE_FILE, content)
    outcome = Converted(inspection=inspect_model(content), seconds=1.0, peak_memory_bytes=1)
    write_atomically(candidate / OUTCOME_FILE, outcome.model_dump_json().encode())
    write_manifest(candidate, TFLITE_FILE, role="candidate", parents={}, code_version="1", recipe=RECIPE)
    return folder


def request(place: Path, tmp_path: Path, task: str) -> ExplanationRequest:
    return ExplanationRequest(
        recipe=RECIPE,
        candidate=str(tmp_path / "candidate.tflite"),
        reference=str(place / "float.tflite"),
        serving=str(place / "no_model"),
        examples=32,
        files=(str(place / "examples.gz"),),
        source="calibration sample",
        task=f"explained_task:{task}",
    )


def candidate_in(place: Path) -> Verified:
    return verified(place / "candidate")


def test_candidate_is_explained_and_a_crash_or_a_limit_is_a_reason(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    limits = ConversionLimits(timeout_s=100)
    found, transient = _explanation(request(place, tmp_path, "TASK"), candidate_in(place), limits, tmp_path)
    assert (found.unavailable, found.faults, transient) == ("", (), False)
    assert (found.examples, found.sha256) == (8, candidate_in(place).manifest.sha256)
    assert [one.operator for one in found.layers] == ["INPUT", "CONV_2D", "CONV_2D", "MEAN", *["FULLY_CONNECTED"] * 2]
    lacking = tmp_path / "lacking"
    for folder in (tmp_path / "died", tmp_path / "slept", lacking):
        folder.mkdir()
    died, transient = _explanation(request(place, tmp_path, "DIES"), candidate_in(place), limits, tmp_path / "died")
    assert died.unavailable.startswith("the process died of SIGSEGV while decoding the examples")
    assert not transient
    lacked, transient = _explanation(request(place, tmp_path, "LACKS_MEMORY"), candidate_in(place), limits, lacking)
    assert lacked.unavailable.startswith(
        "the machine ran out of memory while decoding the examples. Its last log lines: "
    )
    assert "std::bad_alloc" in lacked.unavailable
    assert "a warning" not in lacked.unavailable
    assert transient
    short = ConversionLimits(timeout_s=3)
    slept, transient = _explanation(request(place, tmp_path, "SLEEPS"), candidate_in(place), short, tmp_path / "slept")
    # A loaded machine may be in an earlier stage.
    assert slept.unavailable.startswith("timed out while ") and transient


def test_failed_conversion_is_the_reason(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "failed"
    failure = ConversionFailure(scheme="static_wi8_ai8", cause="refused", message="no kernel", remedy="another scheme")
    write_atomically(folder / OUTCOME_FILE, failure.model_dump_json().encode())
    write_manifest(folder, OUTCOME_FILE, role="candidate", parents={}, code_version="1", recipe=RECIPE)
    found, _ = _explanation(request(place, tmp_path, "TASK"), verified(folder), ConversionLimits(), tmp_path)
    assert found.unavailable == "the conversion failed: no kernel"
