import io
from pathlib import Path

import pytest
from rich.console import Console

from components.core.remembered_digests import digests_of
from components.push.several import publish
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.mirror import mirror
from components.push.upkeep.repair import repair
from components.push.upkeep.retention import Retention
from components.spec.registry import LocalRegistry
from edgemill.progress import RunProgress, WorkProgress
from pipelines.history.durations import remaining_seconds, usual_seconds
from tests.components.push.places import MODEL, manifest_of
from tests.pipelines.history.conftest import PastRoot

NODES = ("examples", "train", "convert__int8", "gate__phone")
USUAL = {"examples": 10.0, "train": 100.0, "convert__int8": 20.0}


def test_remaining_time_is_what_nodes_took_before_less_what_has_run() -> None:
    assert remaining_seconds(NODES, USUAL, {}, {}) == 130
    assert remaining_seconds(NODES, USUAL, {"examples": 0.1}, {"train": 30.0}) == 90
    # A node that takes longer than usual takes nothing from the others.
    assert remaining_seconds(NODES, USUAL, {"examples": 0.1}, {"train": 400.0}) == 20


def test_remaining_time_is_unknown_while_a_new_node_has_not_ended() -> None:
    nodes = (*NODES, "convert__new")
    assert remaining_seconds(nodes, USUAL, {}, {}) is None
    assert remaining_seconds(nodes, USUAL, {"convert__new": 3.0}, {}) == 130


def test_usual_time_is_that_of_the_last_execution(tmp_path) -> None:
    past = PastRoot(tmp_path / "root")
    older, newer = past.run(0, report=False), past.run(1, report=False)
    nodes = [
        {"id": "train", "state": "complete", "seconds": 40.0},
        {"id": "evaluate", "state": "complete", "seconds": 9},
    ]
    past.change_summary(older, nodes=nodes)
    past.change_summary(newer, nodes=[{"id": "train", "state": "cached", "seconds": 0.1}, {**nodes[1], "seconds": 7}])
    assert usual_seconds(past.root, "fashion-mnist") == {"train": 40.0, "evaluate": 7.0}
    assert usual_seconds(past.root, "another") == {}
    past.folder(newer).joinpath("summary.json").write_text("{")
    assert usual_seconds(past.root, "fashion-mnist") == {"train": 40.0, "evaluate": 9.0}


def test_line_counts_nodes_and_rounds_the_time() -> None:
    progress = RunProgress(Console(file=io.StringIO()), USUAL, "starting")
    assert progress.left() == ""
    progress.planned(NODES)
    assert progress.left() == "0 of 4 nodes, about 2 min 10 s left"
    progress.ended("examples", 0.1)
    progress.ended("train", 0.1)
    assert progress.left() == "2 of 4 nodes, about 20 s left"
    progress.ended("convert__int8", 0.1)
    assert progress.left() == "3 of 4 nodes, less than 5 s left"
    progress.ended("gate__phone", 0.1)
    assert progress.left() == "4 of 4 nodes"


@pytest.mark.parametrize("terminal", [True, False])
def test_line_is_for_terminals_only(terminal: bool) -> None:
    written = io.StringIO()
    with RunProgress(Console(file=written, force_terminal=terminal, width=120), USUAL, "starting [x]") as progress:
        progress.planned(NODES)
        progress.started("train")
        progress._bar.refresh()
    assert ("train is running" in written.getvalue()) == terminal
    assert ("0 of 4 nodes" in written.getvalue()) == terminal
    assert terminal or written.getvalue() == ""


def test_other_work_shows_a_bar_with_the_time_that_is_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen = io.StringIO()
    with WorkProgress(Console(file=screen, force_terminal=True, width=120), "listing") as watch:
        assert watch.left() == ""
        watch(0, 200, "reading phone/shoes/a")
        assert watch.left() == "0 of 200"
        now = 10.0
        watch(50, 200, "reading phone/shoes/b")
        assert watch.left() == "50 of 200, about 30 s left"
        watch._bar.refresh()
        # Another kind of step begins.
        watch(0, 3, "removing x")
        assert watch.left() == "0 of 3"
        now = 14.0
        watch(2, 3, "removing y")
        assert watch.left() == "2 of 3, less than 5 s left"
    assert "reading phone/shoes/b" in screen.getvalue() and "━" in screen.getvalue()


def test_other_work_prints_lines_elsewhere_and_none_if_it_is_short() -> None:
    said = io.StringIO()
    with WorkProgress(Console(file=said, width=120), "listing", between_s=0.0) as watch:
        watch(1, 2, "reading [bold]x")
    assert said.getvalue() == "reading [bold]x: 1 of 2, less than 5 s left\n"
    said = io.StringIO()
    with WorkProgress(Console(file=said, width=120), "listing") as watch:
        watch(1, 2, "reading x")
    assert said.getvalue() == ""


def test_upkeep_reports_how_many_releases_are_done(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    for model in (MODEL, MODEL[::-1], MODEL * 2):
        publish([LocalRegistry(root=str(root))], "phone", "shoes", model, manifest_of(model))
    calls: list[tuple[int, int]] = []

    def watch(done: int, total: int, what: str) -> None:
        assert "phone/shoes" in what
        calls.append((done, total))

    for work, expected in (
        (lambda: verify(str(root), watch=watch), [(0, 3), (1, 3), (2, 3)]),
        (lambda: mirror(str(root), str(tmp_path / "copy"), watch=watch), [(0, 3), (1, 3), (2, 3)]),
        (lambda: repair(str(root), watch=watch), [(0, 3), (1, 3), (2, 3)]),
        (lambda: collect(str(root), Retention(keep_last=1), 0.0, watch=watch), [(0, 1)]),
    ):
        calls.clear()
        work()
        assert calls == expected


def test_deep_check_and_digests_report_what_they_do(tmp_path: Path) -> None:
    calls = []
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    files = [tmp_path / "a", tmp_path / "b"]
    digests_of(files, tmp_path / "memory", watch=lambda *said: calls.append(said))
    assert calls == [(0, 2, "reading a"), (1, 2, "reading b")]
    screen = io.StringIO()
    with RunProgress(Console(file=screen, force_terminal=True, width=120), {}, "starting") as progress:
        progress.watch(1, 6, "importing the task")
        progress._bar.refresh()
    assert "importing the task (1 of 6)" in screen.getvalue()


def test_line_names_a_node_that_still_runs_and_none_that_has_ended() -> None:
    screen = io.StringIO()
    progress = RunProgress(Console(file=screen, force_terminal=True, width=120), USUAL, "starting")

    def line() -> str:
        return str(progress._bar.tasks[0].description)

    progress.planned(NODES)
    progress.started("examples")
    progress.started("convert__int8", "convert int8")
    progress.ended("convert__int8", 1.0)
    assert line() == "examples is running"
    progress.ended("gate__phone", 0.0)  # from the cache
    assert line() == "examples is running"
    progress.ended("examples", 1.0)
    assert line() == "examples has ended"
