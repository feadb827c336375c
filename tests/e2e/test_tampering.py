"""A finished run of which one file was changed: an error that names the artifact, or the honest result; no other."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallPipeline, Ran]:
    small = SmallPipeline(tmp_path_factory.mktemp("finished"))
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.OK, ran.output
    return small, ran


@pytest.fixture
def artifacts(finished: tuple[SmallPipeline, Ran]) -> Iterator[Path]:
    """The artifacts' folder for a test that changes some; undone afterwards, with the registry emptied before."""
    small, ran = finished
    folder, kept = ran.root / "small" / "artifacts", small.folder / "kept"
    shutil.copytree(folder, kept)
    spec = json.dumps(small.spec)
    shutil.rmtree(small.folder / "registry", ignore_errors=True)
    yield folder
    small.spec = json.loads(spec)
    shutil.rmtree(folder)
    kept.rename(folder)


def only(artifacts: Path, node: str, output: str) -> Path:
    return min((artifacts / node / output).iterdir(), key=lambda path: int(path.name))


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_verify_and_lineage_name_every_file_that_was_changed(
    finished: tuple[SmallPipeline, Ran], artifacts: Path
) -> None:
    _, ran = finished
    assert ran.folder is not None
    root = ("--root", str(ran.root))
    code, said = invoke("verify", ran.folder.name, *root)
    assert (code, "NOT" in said) == (0, False), said
    ours = [path.parent for path in artifacts.glob("*/*/*/manifest.json")]
    assert said.count(": verified") == len(ours)
    for folder in ours:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            before = path.read_bytes()
            path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]) if before else b"x")
            code, said = invoke("verify", ran.folder.name, *root)
            path.write_bytes(before)
            assert (code, said.count("NOT what was written")) == (ExitCode.NODE_FAILED, 1), (path, said)
            assert str(path) in said


def run_again(finished: tuple[SmallPipeline, Ran]) -> Ran:
    small, _ = finished
    return Ran(small.write(), "small")


def assert_names(ran: Ran, role: str, path: Path, registry: Path) -> None:
    assert ran.code == ExitCode.NODE_FAILED, ran.output
    said = "".join(ran.output.split())
    assert f"thisartifact({role}" in said, ran.output
    assert "".join(str(path).split()) in said
    assert not registry.exists()


def test_baseline_of_other_weights_is_not_converted(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    small, _ = finished
    path = next(only(artifacts, "baseline", "model").rglob("variables.data*"))
    path.write_bytes(bytes(path.stat().st_size))
    small.spec["recipes"].append({"name": "int16", "scheme": "static_wi8_ai16"})
    assert_names(run_again(finished), "baseline", path, small.folder / "registry")


def test_calibration_sample_cut_to_nothing_is_not_used(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    small, _ = finished
    path = next(only(artifacts, "calibrate", "sample").rglob("*.gz"))
    path.write_bytes(path.read_bytes()[:60])
    small.spec["recipes"].append({"name": "int16", "scheme": "static_wi8_ai16"})
    assert_names(run_again(finished), "calibration", path, small.folder / "registry")


def test_report_of_better_figures_passes_no_gate(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    small, _ = finished
    path = only(artifacts, "evaluate", "evaluation") / "report.json"
    path.write_text(path.read_text().replace('"value": 1.0', '"value": 0.99'))
    small.spec["gate"]["metrics"][0]["at_least"] = 0.81
    assert_names(run_again(finished), "evaluation", path, small.folder / "registry")


def test_decision_facts_and_model_changed_together_do_not_ship(
    finished: tuple[SmallPipeline, Ran], artifacts: Path
) -> None:
    from components.files import sha256_of
    from components.manifest import Manifest, digests_of, serialized

    small, first = finished
    assert first.summary is not None
    chosen, blessing = (only(artifacts, "gate__phone_cpu", name) for name in ("chosen", "blessing"))
    (chosen / "Format-Serving" / "tflite").write_bytes(b"another model")
    old, new = str(first.summary.decisions[0].chosen_sha256), sha256_of(chosen / "Format-Serving" / "tflite")
    for folder in (chosen, blessing):
        for path in folder.glob("*.json"):
            path.write_text(path.read_text().replace(old, new))
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        whole = manifest.model_copy(
            update={"files": digests_of(folder), "sha256": sha256_of(folder / manifest.content)}
        )
        (folder / "manifest.json").write_bytes(serialized(whole))
    # The push refuses the one, the report the other.
    assert_names(run_again(finished), "decision", blessing / "manifest.json", small.folder / "registry")


def test_what_is_missing_is_produced_again(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    _, first = finished
    assert first.summary is not None
    for node, output in (("evaluate", "evaluation"), ("gate__phone_cpu", "chosen")):
        shutil.rmtree(only(artifacts, node, output))
    ran = run_again(finished)
    assert ran.code == ExitCode.OK, ran.output
    assert ran.summary is not None
    assert ran.summary.releases[0].sha256 == first.summary.releases[0].sha256
