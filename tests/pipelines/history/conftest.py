"""A root with past runs, written as `edgemill run` writes them, without running anything."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipelines.report.render import write_report
from pipelines.runs.run import PLAN_NAME, RunPlan
from tests.pipelines.report.conftest import make_summary

FIRST = datetime(2026, 7, 1, 2, 0, tzinfo=timezone.utc)


class PastRoot:
    """A root, and the folders of the runs that tests add to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, night, pipeline="fashion-mnist", *, changes=(), ended=True, report=True):
        """One run in the night with this number. `changes` are (recipe, change of accuracy, bytes)."""
        started = FIRST + timedelta(days=night)
        run_id = f"{started:%Y%m%d-%H%M%S}-{night:06x}"
        summary = make_summary(changes).model_copy(update={"pipeline": pipeline, "run_id": run_id, "started": started})
        folder = self.root / pipeline / "runs" / run_id
        folder.mkdir(parents=True)
        plan = RunPlan(
            pipeline=pipeline,
            run_id=run_id,
            started=started,
            nodes=(),
            devices=summary.devices,
            errors={} if ended else None,
        )
        (folder / PLAN_NAME).write_text(plan.model_dump_json())
        if ended and report:
            write_report(summary, folder)
        elif ended:
            (folder / "summary.json").write_text(summary.model_dump_json())
        return run_id

    def folder(self, run_id, pipeline="fashion-mnist"):
        return self.root / pipeline / "runs" / run_id

    def change_summary(self, run_id, **fields):
        path = self.folder(run_id) / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def past(tmp_path):
    return PastRoot(tmp_path / "root")
