import io

import pytest
from rich.console import Console

from edgemill.progress import RunProgress
from pipelines.history.durations import remaining_seconds, usual_seconds
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
