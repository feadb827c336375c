from pathlib import Path

from typer.testing import CliRunner

from edgemill.main import app
from pipelines.report.summary import RunSummary


class Ran:
    """One `edgemill run` in this process, and what it left."""

    def __init__(self, file: Path, name: str, *arguments: str) -> None:
        self.file, self.root = file, file.parent / "root"
        before = self._summaries(name)
        result = CliRunner().invoke(app, ["run", str(file), "--root", str(self.root), *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.output = result.exit_code, result.output
        # Not the last by name: two runs from cache may begin within one second.
        runs = sorted(self._summaries(name) - before)
        self.summary = RunSummary.model_validate_json(runs[-1].read_bytes()) if runs else None
        self.folder = runs[-1].parent if runs else None

    def _summaries(self, name: str) -> set[Path]:
        return set((self.root / name / "runs").glob("*/summary.json"))

    def states(self) -> dict[str, str]:
        assert self.summary is not None
        return {node.label: node.state for node in self.summary.nodes}

    def executed(self) -> set[str]:
        return {node for node, state in self.states().items() if state == "complete"}
