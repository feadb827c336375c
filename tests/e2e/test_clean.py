"""Removal of old runs, and what TFX's cache makes of it."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e


def clean(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["clean", "--root", str(root), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_removed_artifacts_are_made_again_and_kept_ones_come_from_the_cache(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    small.spec["baseline"]["epochs"] = 4
    first = Ran(small.write(), "small")
    small.spec["baseline"]["epochs"] = 5
    status = tmp_path / "status.json"
    second = Ran(small.write(), "small", "--summary-json", str(status), "--log-format", "json")
    assert (first.code, second.code) == (ExitCode.OK, ExitCode.OK), second.output
    written = json.loads(status.read_text())
    assert (written["state"], written["exit_status"], written["run_id"]) == ("ended", 0, second.folder.name)
    assert second.summary is not None
    ids = {node.id: node.state for node in second.summary.nodes}
    assert {node["id"]: node["state"] for node in written["nodes"]} == ids
    lines = [json.loads(line) for line in (second.folder / "log.jsonl").read_text().splitlines()]
    # Nodes after the training too: unless that is prevented, training silences absl's log.
    assert set(ids) <= {line["node"] for line in lines}

    assert "small: would remove 0 of 2 runs and 0 artifacts, 0 bytes" in clean(
        second.root, "--keep-runs", "1", "--dry-run"
    )
    shutil.rmtree(first.summary.releases[0].path)
    would = json.loads(clean(second.root, "--keep-runs", "1", "--dry-run", "--json"))
    (plan,) = would["pipelines"]
    before = size(second.root / "small")
    said = clean(second.root, "--keep-runs", "1")
    assert f"small: removes 1 of 2 runs and {len(plan['artifacts'])} artifacts, {plan['freed_bytes']:,} bytes" in said
    assert before - size(second.root / "small") == plan["freed_bytes"] > 50_000
    assert not first.folder.exists()

    again = Ran(small.file, "small")
    assert again.executed() == {"push__phone_cpu"}
    small.spec["baseline"]["epochs"] = 4
    again = Ran(small.write(), "small")
    assert again.code == ExitCode.OK, again.output
    assert {"baseline", "evaluate"} <= again.executed()
    cached = {node for node, state in again.states().items() if state == "cached"}
    assert cached == {"examples", "statistics", "schema", "validate"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no rule says which runs are old"),
        (["--keep-runs", "1", "--pipeline", "other"], "no pipeline of this name has run here"),
        (["--keep-runs", "0"], "Invalid value for '--keep-runs'"),
    ],
)
def test_wrong_options_are_reported_and_nothing_is_removed(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "small" / "runs" / "a").mkdir(parents=True)
    result = CliRunner().invoke(app, ["clean", "--root", str(tmp_path), *arguments])
    assert result.exit_code == ExitCode.BAD_INPUT
    assert words in " ".join(result.output.split())
    assert (tmp_path / "small" / "runs" / "a").is_dir()
