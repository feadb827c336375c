"""Whole runs of a small pipeline, in this process: what a user sees, and what is left behind."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from components.push.folder_releases import current
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.artifacts import read_manifest
from tests.ran import Ran
from tests.small_pipeline import TASK, SmallPipeline

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallPipeline, Ran]:
    small = SmallPipeline(tmp_path_factory.mktemp("first"))
    return small, Ran(small.write(), "small")


@pytest.fixture
def copy_of_first(first: tuple[SmallPipeline, Ran]) -> Iterator[SmallPipeline]:
    """The same folder for a test that runs again; changes to the pipeline file are undone."""
    small, _ = first
    before = json.dumps(small.spec)
    yield small
    small.spec = json.loads(before)
    shutil.rmtree(small.folder / "registry", ignore_errors=True)


def test_first_run_pushes_the_smallest_passing_candidate(first: tuple[SmallPipeline, Ran]) -> None:
    small, ran = first
    assert ran.code == ExitCode.OK, ran.output
    assert set(ran.states().values()) == {"complete"}
    assert ran.summary is not None
    (decision,) = ran.summary.decisions
    (release,) = ran.summary.releases
    sizes = {c.name: c.outcome.inspection.file_bytes for c in ran.summary.evaluation.candidates}
    assert decision.chosen == min(sizes, key=sizes.__getitem__)
    assert release.pushed
    assert release.bytes == sizes[decision.chosen]
    delivered = current(small.folder / "registry", "phone", "small") or current(
        small.folder / "registry", ran.summary.devices[0].device_class, "small"
    )
    assert delivered is not None
    assert delivered.manifest.sha256 == release.sha256 == decision.chosen_sha256


def test_terminal_reports_nodes_table_and_report(first: tuple[SmallPipeline, Ran]) -> None:
    _, ran = first
    for text in ("baseline", "convert__int8", "gate__phone_cpu", "complete", "report: "):
        assert text in ran.output
    assert ran.folder is not None
    html = (ran.folder / "report.html").read_text()
    assert "int8" in html
    assert (ran.folder / "log.txt").stat().st_size > 1000


def test_every_artifact_of_ours_has_a_manifest_whose_digest_holds(first: tuple[SmallPipeline, Ran]) -> None:
    from components.core.files import sha256_of

    _, ran = first
    manifests = sorted((ran.root / "small" / "artifacts").glob("*/*/*/manifest.json"))
    roles = {read_manifest(path.parent).role for path in manifests}
    assert roles == {
        "validation",
        "baseline",
        "calibration",
        "candidate",
        "predictions",
        "latency",
        "evaluation",
        "explanation",
        "changes",
        "decision",
        "chosen",
        "release",
    }
    for path in manifests:
        manifest = read_manifest(path.parent)
        assert sha256_of(path.parent / manifest.content) == manifest.sha256
        assert manifest.parents


def test_lineage_leads_from_pushed_bytes_to_examples(first: tuple[SmallPipeline, Ran]) -> None:
    _small, ran = first
    assert ran.summary is not None
    release = ran.summary.releases[0].path
    assert release is not None
    pushed = ran.summary.releases[0]
    delivered = next(one for one in ran.summary.evaluation.candidates if one.sha256 == pushed.sha256)
    assert Path(release, "model.tflite.gz").stat().st_size == pushed.compressed_bytes == delivered.compressed.gzip
    assert pushed.compressed_bytes < pushed.bytes
    for target in (release, f"{release}/model.tflite", f"{release}/model.tflite.gz"):
        result = CliRunner().invoke(app, ["lineage", target, "--root", str(ran.root), "--json"])
        assert result.exit_code == 0, result.output
        labels = set()
        waiting = [json.loads(result.output)]
        while waiting:
            node = waiting.pop()
            labels.add(node["label"])
            waiting.extend(node["children"])
        assert {
            "push__phone_cpu",
            "gate__phone_cpu",
            "evaluate",
            "predict__int8",
            "predict__baseline",
            "convert__int8",
            "calibrate",
            "baseline",
            "examples",
        } <= (labels)


def test_lineage_of_a_release_is_that_of_its_own_delivery(copy_of_first: SmallPipeline) -> None:
    profile = {"name": "board", "device_class": "board", "description": "a board", "schemes": ["static_wi8_ai8"]}
    (copy_of_first.folder / "board.yaml").write_text(yaml.safe_dump(profile))
    copy_of_first.spec["devices"] = ["phone_cpu", "board.yaml"]
    copy_of_first.spec["recipes"] = [{"name": "int8", "scheme": "static_wi8_ai8"}]
    ran = Ran(copy_of_first.write(), "small")
    assert ran.code == ExitCode.OK, ran.output

    def lineage(target: str) -> dict[str, object]:
        result = CliRunner().invoke(app, ["lineage", target, "--root", str(ran.root), "--json"])
        return json.loads(result.output)

    for release in ran.summary.releases:
        for target in (release.path, f"{release.path}/model.tflite"):
            assert lineage(target)["details"]["device"] == release.device
            assert lineage(target)["details"]["release_path"] == release.path
    copied = copy_of_first.folder / "copied.tflite"
    copied.write_bytes(Path(f"{ran.summary.releases[0].path}/model.tflite").read_bytes())
    devices = {child["details"]["device"] for child in lineage(str(copied))["children"]}
    assert devices == {"phone_cpu", "board"}


def test_lineage_of_unknown_bytes_is_an_error(first: tuple[SmallPipeline, Ran], tmp_path: Path) -> None:
    _, ran = first
    (tmp_path / "x.tflite").write_bytes(b"other bytes")
    result = CliRunner().invoke(app, ["lineage", str(tmp_path / "x.tflite"), "--root", str(ran.root)])
    assert result.exit_code == ExitCode.NODE_FAILED
    assert "the metadata store has no record of a model with these bytes" in result.output


def test_report_is_written_again_from_metadata(first: tuple[SmallPipeline, Ran]) -> None:
    _, ran = first
    assert ran.folder is not None
    before = (ran.folder / "report.html").read_bytes()
    (ran.folder / "report.html").unlink()
    result = CliRunner().invoke(app, ["report", ran.folder.name, "--root", str(ran.root)])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(ran.folder / "report.html")
    assert (ran.folder / "report.html").read_bytes() == before


def test_unchanged_run_executes_only_the_push_and_adds_no_release(
    first: tuple[SmallPipeline, Ran], copy_of_first: SmallPipeline
) -> None:
    again = Ran(copy_of_first.write(), "small")
    assert again.code == ExitCode.OK
    assert again.executed() == {"push__phone_cpu"}
    not_repeated = ["the deep check is skipped" in (ran.folder / "log.txt").read_text() for ran in (first[1], again)]
    assert not_repeated == [False, True]


def test_added_recipe_executes_only_what_depends_on_it(copy_of_first: SmallPipeline) -> None:
    copy_of_first.spec["recipes"].append({"name": "float16", "scheme": "float16"})
    again = Ran(copy_of_first.write(), "small")
    assert again.executed() == {
        *("convert__float16", "predict__float16", "evaluate", "explain__float16", "changes__float16"),
        "latency__float16",
        *("gate__phone_cpu", "push__phone_cpu"),
    }


def test_renamed_recipe_keeps_its_file_and_its_predictions(copy_of_first: SmallPipeline) -> None:
    for recipe in copy_of_first.spec["recipes"]:
        recipe["name"] += "_renamed"
    again = Ran(copy_of_first.write(), "small")
    assert again.executed() == {
        *("explain__int8_renamed", "changes__int8_renamed", "evaluate", "gate__phone_cpu", "push__phone_cpu"),
    }
    assert [one.name for one in again.summary.candidates] == ["float32_renamed", "int8_renamed"]
    assert again.summary.decisions[0].chosen == "int8_renamed"


def test_recipe_that_the_model_rules_out_stops_the_run_or_is_skipped(copy_of_first: SmallPipeline) -> None:
    copy_of_first.spec["recipes"].insert(0, {"name": "dynamic", "scheme": "dynamic_wi8_afp32"})
    stopped = Ran(copy_of_first.write(), "small")
    assert (stopped.code, stopped.summary) == (ExitCode.BAD_INPUT, None)
    reason = "no weight is large enough for dynamic range"
    assert f"recipes[0] (dynamic): scheme: {reason}" in stopped.output
    # The second run recalls the check.
    for _ in range(2):
        ran = Ran(copy_of_first.file, "small", "--skip-impossible")
        assert ran.code == ExitCode.OK, ran.output
        assert ran.executed() == {"push__phone_cpu"}
        (skipped,) = ran.summary.skipped
        assert (skipped.name, skipped.place) == ("dynamic", 0)
        assert reason in skipped.reasons[0]
        assert f"dynamic is skipped: scheme: {reason}" in " ".join(ran.output.split())
        assert reason in (ran.folder / "report.html").read_text()


def test_sample_larger_than_the_split_takes_all_and_says_so(copy_of_first: SmallPipeline) -> None:
    copy_of_first.spec["calibrate"]["samples"] = 5000
    ran = Ran(copy_of_first.write(), "small")
    assert ran.code == ExitCode.OK
    assert (ran.summary.audit.asked, ran.summary.audit.taken) == (5000, 240)
    assert "5000" in " ".join(finding.message for finding in ran.summary.audit.findings if finding.check == "size")
    assert "5000" in ran.output
    assert {"baseline", "convert__float32"}.isdisjoint(ran.executed())


def test_refused_candidates_end_normally_with_a_status_of_their_own(copy_of_first: SmallPipeline) -> None:
    copy_of_first.spec["gate"]["metrics"] = [{"name": "accuracy", "at_least": 0.1, "at_most": 0.2}]
    refused = Ran(copy_of_first.write(), "small")
    assert refused.code == ExitCode.GATE_REFUSED
    assert refused.summary is not None
    assert refused.summary.verdict == "refused"
    assert not (copy_of_first.folder / "registry").exists() or not any(
        (copy_of_first.folder / "registry").rglob("model.tflite")
    )
    assert "at most 0.2" in (refused.folder / "report.html").read_text()


def test_model_that_cannot_be_converted_is_refused_with_every_recipe(tmp_path: Path) -> None:
    text = TASK.replace(
        "layers.Flatten(),", "layers.Flatten(), layers.Lambda(lambda x: x * tf.math.igamma(1.0, tf.abs(x) + 1.0)),"
    )
    ran = Ran(SmallPipeline(tmp_path, text).write(), "small")
    assert ran.code == ExitCode.BAD_INPUT, ran.output
    for recipe in ("float32", "int8"):
        assert f"({recipe}): scheme: TensorFlow Lite has no operator for Igamma" in ran.output
    assert "No recipe can work on this model" in ran.output


def test_recipe_that_cannot_be_converted_does_not_stop_the_others(tmp_path: Path) -> None:
    # After qat, the converter can't quantize the square of what a layer only reshapes (docs/limits.md).
    small = SmallPipeline(
        tmp_path, TASK.replace("layers.Flatten(),", "layers.Flatten(), layers.Lambda(lambda x: x * x),")
    )
    small.spec["recipes"].append(
        {"name": "qat_int8", "steps": [{"kind": "qat", "epochs": 1}], "scheme": "static_wi8_ai8"}
    )
    ran = Ran(small.write(), "small")
    assert ran.summary is not None, ran.output
    outcomes = {one.name: one.outcome for one in ran.summary.evaluation.candidates}
    assert outcomes["qat_int8"].status == "failed" and "tfl.reshape" in outcomes["qat_int8"].message
    assert outcomes["int8"].status == outcomes["float32"].status == "converted"


def bad_in_train(index: int, features: dict[str, object]) -> dict[str, object]:
    if index == 7:
        features["image"][3] = float("nan")  # type: ignore[index]
    return {"image": features["image"]} if index == 8 else features


def bad_in_eval(index: int, features: dict[str, object]) -> dict[str, object]:
    return {**features, "label": 7} if index == 7 else features


def test_anomalies_in_examples_stop_the_run_before_training(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.write_split("train", 240, seed=1, change=bad_in_train)
    small.write_split("eval", 120, seed=2, change=bad_in_eval)
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.NODE_FAILED
    said = " ".join(ran.output.split())
    assert "the examples have anomalies" in said
    # Not a number, no label, and a label out of range.
    for where in ("split 'train', feature 'image'", "split 'train', feature 'label'", "split 'eval', feature 'label'"):
        assert where in said
    assert ran.states()["validate"] == "failed"
    assert ran.states()["baseline"] == "not_run"
    assert not (small.folder / "registry").exists() or not any((small.folder / "registry").rglob("*"))


def test_bad_file_has_a_status_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["gate"]["prefer"] = "tiny"
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.BAD_INPUT
    assert ran.summary is None
    assert not ran.root.exists()


@pytest.mark.parametrize("arguments", [["--runner", "airflow"], ["--metadata", "oracle://x"]])
def test_bad_option_has_the_status_of_bad_input(tmp_path: Path, arguments: list[str]) -> None:
    assert Ran(SmallPipeline(tmp_path).write(), "small", *arguments).code == ExitCode.BAD_INPUT


def test_beam_runner_reaches_the_same_decision(first: tuple[SmallPipeline, Ran], tmp_path: Path) -> None:
    _, local = first
    beam = Ran(SmallPipeline(tmp_path).write(), "small", "--runner", "beam")
    assert beam.code == ExitCode.OK, beam.output
    assert beam.summary is not None
    assert local.summary is not None
    assert beam.summary.decisions[0].chosen == local.summary.decisions[0].chosen
    assert set(beam.states()) == set(local.states())


def test_explain_prints_what_the_run_found_and_names_the_nearest_recipe(first: tuple[SmallPipeline, Ran]) -> None:
    _, ran = first
    assert ran.folder is not None and ran.summary is not None

    def explain(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["explain", *arguments, "--root", str(ran.root)])

    done = explain(ran.folder.name, "int8", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["recipe"], found["source"], found["examples"]) == ("int8", "calibration sample", 32)
    (candidate,) = [one for one in ran.summary.candidates if one.name == "int8"]
    assert found["sha256"] == candidate.sha256
    assert not found["unavailable"] and not found["unmatched"] and found["outputs"]["probabilities"] < 1e-3
    assert [found] == [json.loads(one.model_dump_json()) for one in ran.summary.explanations]
    text = explain(ran.folder.name, "int8").output
    assert "no single layer is bad" in text and "CONV_2D" in text and "signal to noise on 32 examples" in text
    assert "Why candidates differ" in (ran.folder / "report.html").read_text()
    assert (ran.folder / "node_data" / "int8.own.json").is_file()

    (changes,) = ran.summary.changes
    flips = candidate.slices[0].flips["accuracy"]
    # The same as the evaluation counted.
    assert (changes.recipe, changes.examples, changes.lost, changes.gained) == ("int8", 120, flips.lost, flips.gained)
    assert [one.inputs[0].kind for one in changes.worst] == ["image"] * 6
    assert changes.worst == tuple(sorted(changes.worst, key=lambda one: (one.flip == "lost", one.distance))[::-1])

    def refused(*arguments: str) -> str:
        done = explain(*arguments)
        assert done.exit_code != 0
        return done.stderr

    assert "did you mean int8?" in refused(ran.folder.name, "int_8")
    assert "it is float" in refused(ran.folder.name, "float32")
    assert "there is no such run" in refused("20200101-000000-000000", "int8")
