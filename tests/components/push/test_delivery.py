import hashlib
import json
from pathlib import Path

import pytest

from components.core.errors import TamperedError, UnblessedError
from components.core.files import sha256_of
from components.facts.decision import Decision
from components.facts.evaluation import CandidateReport
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.push.delivery import PushRequest, deliver, read_blessing
from components.push.folder_releases import current, find_release
from components.spec.card import CardSpec

MODEL = b"a tflite file"
SHA256 = hashlib.sha256(MODEL).hexdigest()
DECIDED = "d" * 64


def decision(**changes):
    checks = [{"what": "accuracy", "where": "overall", "bound": "at least 0.8", "measured": "0.9", "verdict": "pass"}]
    base = {
        "device": "phone_cpu",
        "verdict": "pass",
        "chosen": "int8",
        "chosen_sha256": SHA256,
        "why": "int8 is the smallest",
        "candidates": [{"candidate": "int8", "verdict": "pass", "checks": checks}],
    }
    return Decision.model_validate(base | changes)


REFUSED = {"verdict": "fail", "chosen": None, "chosen_sha256": None, "why": "no candidate passes"}


def request(root):
    return PushRequest.model_validate(
        {
            "registries": [{"root": str(root)}],
            "device": {
                "name": "phone_cpu",
                "device_class": "phone",
                "description": "any",
                "schemes": ["static_wi8_ai8"],
            },
            "name": "shoes",
        }
    )


@pytest.fixture
def chosen(tmp_path):
    folder = tmp_path / "chosen"
    (folder / "Format-Serving").mkdir(parents=True)
    (folder / "Format-Serving" / "tflite").write_bytes(MODEL)
    facts = CandidateReport.model_validate(
        {
            "recipe": {"name": "int8", "scheme": "static_wi8_ai8"},
            "outcome": {"status": "failed", "scheme": "x", "cause": "refused", "message": "unused", "remedy": ""},
            "sha256": SHA256,
            "slices": [
                {"slice": "label=1", "examples": 9, "metrics": {"accuracy": {"value": 0.1}}},
                {
                    "slice": "overall",
                    "examples": 100,
                    "metrics": {"accuracy": {"value": 0.9, "lower": 0.85, "upper": 0.95}},
                    "change": {"accuracy": {"value": -0.01}},
                },
            ],
        }
    )
    (folder / "facts.json").write_text(facts.model_dump_json())
    write_manifest(
        folder, "Format-Serving/tflite", role="chosen", parents={"candidate": "c" * 64}, code_version="1", recipe=None
    )
    return folder


def test_release_reports_metrics_checks_and_parents_when_delivered(tmp_path, chosen):
    outcome = deliver(request(tmp_path / "registry"), verified(chosen), decision(), DECIDED)
    assert (outcome.pushed, outcome.sha256, outcome.bytes, outcome.version) == (True, SHA256, 13, SHA256[:16])
    release = find_release(Path(outcome.path))
    assert release == current(tmp_path / "registry", "phone", "shoes").model_copy(update={"path": release.path})
    assert release.model_path.read_bytes() == MODEL
    assert release.manifest.metrics["accuracy"].lower == 0.85
    assert release.manifest.change["accuracy"].value == -0.01
    assert release.manifest.checks == decision().candidates[0].checks
    assert release.manifest.parents == {"candidate": "c" * 64, "decision": DECIDED}
    assert outcome.manifest_sha256 == sha256_of(Path(outcome.path) / "manifest.json")
    # Another decision for the same bytes is what the same release says then.
    again = deliver(request(tmp_path / "registry"), verified(chosen), decision(), "e" * 64)
    assert (again.path, again.version) == (outcome.path, outcome.version)
    assert again.manifest_sha256 == sha256_of(Path(outcome.path) / "manifest.json") != outcome.manifest_sha256
    assert find_release(Path(outcome.path)).manifest.parents == {"candidate": "c" * 64, "decision": "e" * 64}


def test_release_has_labels_card_and_runtime_floor_when_they_are_known(tmp_path, chosen):
    nothing = {"weight_bytes": 0, "operators": (), "dtype_counts": {}, "inputs": (), "outputs": (), "weights": ()}
    inspection = {
        "file_bytes": len(MODEL),
        "float_tensors": (),
        "stateful": False,
        "runtime_floor": "2.11.0",
        **nothing,
    }
    outcome = {"status": "converted", "inspection": inspection, "seconds": 1.0, "peak_memory_bytes": 1}
    slices = [{"slice": "overall", "examples": 100, "metrics": {"accuracy": {"value": 0.9}}}]
    recipe = {"name": "int8", "scheme": "static_wi8_ai8"}
    facts = {"recipe": recipe, "outcome": outcome, "sha256": SHA256, "slices": slices}
    (chosen / "facts.json").write_text(CandidateReport.model_validate(facts).model_dump_json())
    baseline = {"slices": [{"slice": "overall", "examples": 100, "metrics": {"accuracy": {"value": 0.91}}}]}
    (chosen / "baseline.json").write_text(json.dumps(baseline))
    write_manifest(chosen, "Format-Serving/tflite", role="chosen", parents={}, code_version="1", recipe=None)
    asked = request(tmp_path / "registry").model_copy(
        update={"classes": ("T-shirt", "ankle\nboot"), "card": CardSpec(license="apache-2.0")}
    )
    delivered = deliver(asked, verified(chosen), decision(), DECIDED)
    manifest = find_release(Path(delivered.path)).manifest
    assert manifest.runtime_floor == "2.11.0"
    files = {name: Path(delivered.path, one.path(name)).read_text() for name, one in manifest.files.items()}
    assert set(files) == {"labels.txt", "model_card.json", "model_card.md"}
    assert files["labels.txt"] == "T-shirt\nankle boot\n"
    for said in ("license: apache-2.0", "shoes", "0.91", SHA256):
        assert said in files["model_card.md"]


def test_nothing_is_pushed_when_the_gate_refused(tmp_path, chosen):
    outcome = deliver(request(tmp_path / "registry"), verified(chosen), decision(**REFUSED), DECIDED)
    assert (outcome.pushed, outcome.version, outcome.reason) == (False, None, "no candidate passes")
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "other"}, "for another device"),
        ({"chosen_sha256": "0" * 64}, "for other bytes"),
        ({"chosen_sha256": None}, "for other bytes"),
        ({"chosen": "float32"}, "facts are for another model"),
    ],
)
def test_nothing_is_pushed_when_the_blessing_is_for_something_else(tmp_path, chosen, changes, words):
    with pytest.raises(UnblessedError, match=words):
        deliver(request(tmp_path / "registry"), verified(chosen), decision(**changes), DECIDED)
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("name", ["Format-Serving/tflite", "facts.json", "manifest.json"])
def test_nothing_is_pushed_when_the_chosen_model_is_incomplete(tmp_path, chosen, name):
    (chosen / name).unlink()
    with pytest.raises(TamperedError, match=name.rpartition("/")[2]):
        deliver(request(tmp_path / "registry"), verified(chosen), decision(), DECIDED)
    assert not (tmp_path / "registry").exists()


def test_nothing_is_pushed_when_the_bytes_were_swapped(tmp_path, chosen):
    before = verified(chosen)
    (chosen / "Format-Serving" / "tflite").write_bytes(MODEL + b"!")
    with pytest.raises(TamperedError, match=r"this artifact \(chosen\) is not the one that was written"):
        deliver(request(tmp_path / "registry"), before, decision(), DECIDED)
    assert not (tmp_path / "registry").exists()


def write_blessing(folder, verdict, *marks):
    folder.mkdir()
    (folder / "decision.json").write_text(decision(**({} if verdict == "pass" else REFUSED)).model_dump_json())
    for mark in marks:
        (folder / mark).touch()
    return blessing_of(folder)


def blessing_of(folder):
    write_manifest(folder, "decision.json", role="decision", parents={}, code_version="1")
    return verified(folder)


def test_blessing_is_read_when_mark_property_and_decision_agree(tmp_path):
    yes = write_blessing(tmp_path / "yes", "pass", "BLESSED")
    no = write_blessing(tmp_path / "no", "fail", "NOT_BLESSED")
    assert read_blessing(yes, blessed=1) == decision()
    assert read_blessing(no, blessed=0).verdict == "fail"


@pytest.mark.parametrize(
    ("verdict", "marks", "blessed"),
    [
        ("pass", [], 1),
        ("pass", ["NOT_BLESSED"], 1),
        ("pass", ["BLESSED", "NOT_BLESSED"], 1),
        ("pass", ["BLESSED"], 0),
        ("fail", ["BLESSED"], 1),
        ("fail", ["NOT_BLESSED"], 1),
        ("fail", [], 0),
    ],
)
def test_blessing_is_refused_when_it_contradicts_itself(tmp_path, verdict, marks, blessed):
    folder = write_blessing(tmp_path / "blessing", verdict, *marks)
    with pytest.raises(UnblessedError, match="contradicts itself"):
        read_blessing(folder, blessed=blessed)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"device": "phone_cpu"'])
def test_blessing_is_refused_when_its_decision_cannot_be_read(tmp_path, content):
    blessing = write_blessing(tmp_path / "blessing", "pass", "BLESSED")
    (blessing.folder / "decision.json").write_bytes(content)
    with pytest.raises(TamperedError, match=r"blessing/decision\.json"):
        read_blessing(blessing, blessed=1)
    with pytest.raises(UnblessedError, match=r"decision cannot be read.*run the gate again"):
        read_blessing(blessing_of(blessing.folder), blessed=1)
