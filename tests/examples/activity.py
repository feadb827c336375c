"""The pipeline files of `pipelines/activity/`, whole: `make test-examples`. Not part of `make test`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.facts.evaluation import CandidateReport
from edgemill.exit_codes import ExitCode
from pipelines.report.summary import RunSummary

HOUSE = Path(__file__).resolve().parents[2]
FOLDER = HOUSE / "pipelines" / "activity"
CELLS = ("lstm", "gru", "sru")
INTEGER = ("int8", "qat_int8", "pruned_int8")
POINT = 0.01


class Run:
    """One pipeline file, run as a user runs it."""

    def __init__(self, cell: str, folder: Path) -> None:
        spec = yaml.safe_load((FOLDER / f"{cell}.yaml").read_text())
        spec["examples"]["path"] = str(FOLDER / "data")
        spec["push"]["root"] = str(folder / "registry")
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(spec))
        command = [
            sys.executable,
            "-m",
            "edgemill",
            "run",
            str(folder / "pipeline.yaml"),
            "--root",
            str(folder / "root"),
        ]
        done = subprocess.run(command, cwd=HOUSE, check=False, capture_output=True, text=True)
        self.code, self.output = done.returncode, done.stdout + done.stderr
        (summary,) = (folder / "root").glob("*/runs/*/summary.json")
        self.cell, self.summary = cell, RunSummary.model_validate_json(summary.read_bytes())
        assert self.summary.evaluation is not None
        self.by_name = {one.name: one for one in self.summary.evaluation.candidates}

    def accuracy(self, name: str) -> float:
        return self.by_name[name].slices[0].metrics["accuracy"].value

    def bytes(self, name: str) -> int:
        return inspected(self.by_name[name]).file_bytes


def inspected(candidate: CandidateReport):
    assert candidate.outcome.status == "converted", candidate.outcome
    return candidate.outcome.inspection


@pytest.fixture(scope="module", params=CELLS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, tmp_path_factory.mktemp(request.param))


def test_every_recipe_is_converted_and_an_integer_model_is_delivered(run: Run) -> None:
    assert run.code == ExitCode.OK, run.output
    assert list(run.by_name) == ["float32", "dynamic", *INTEGER]
    (decision,) = run.summary.decisions
    assert decision.chosen in INTEGER
    for name in INTEGER:
        assert inspected(run.by_name[name]).integer_only
        assert run.by_name[name].outcome.lost_ranges == ()


def test_integers_are_within_one_point_of_float(run: Run) -> None:
    baseline = run.accuracy("float32")
    assert baseline > 0.75
    lost = {name: round(baseline - run.accuracy(name), 4) for name in INTEGER}
    print(run.cell, f"accuracy {baseline:.3f}, lost", lost)
    assert max(lost["int8"], lost["qat_int8"]) <= POINT
    # Pruning is training: at half of the weights zero it is reported, and not bounded by what rounding may cost.
    assert lost["pruned_int8"] <= 2 * POINT


def test_integers_are_as_much_smaller_as_they_must_be(run: Run) -> None:
    smaller = {name: round(run.bytes("float32") / run.bytes(name), 2) for name in INTEGER}
    print(run.cell, "smaller", smaller)
    assert min(smaller.values()) >= (3.5 if run.cell == "lstm" else 2.5)


def test_every_operator_runs_on_the_npu(run: Run) -> None:
    (device,) = run.summary.on_devices
    for name in INTEGER:
        facts = device.of(name)
        assert facts is not None and facts.vela is not None and facts.vela.status == "measured", facts
        assert facts.vela.cpu_operators == ()
        assert facts.vela.npu_share == 1.0
        assert facts.vela.cycles


def test_error_of_each_time_step_is_reported_and_bounded(run: Run) -> None:
    (decision,) = run.summary.decisions
    for name in INTEGER:
        steps = run.by_name[name].outcome.state_errors
        assert steps is not None
        assert len(steps.rms) == 32
        checks = [one.checks for one in decision.candidates if one.candidate == name]
        assert [check.verdict for check in checks[0] if check.what == "error of the state"] == ["pass"]
