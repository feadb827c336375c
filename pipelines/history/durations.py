"""How long the nodes of a run take, according to earlier runs, and how much time remains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from pipelines.report.render import SUMMARY_NAME
from pipelines.report.summary import RunSummary

# Enough runs that every node has executed in one of them, unless the pipeline is new or has changed.
_MOST_RUNS = 10
# These nodes can execute in every run, and take about a second.
_SHORT = ("champion__", "gate__", "push__")


def usual_seconds(root: Path, pipeline: str) -> dict[str, float]:
    """Node ID -> how long the node took when it last executed. Empty for a pipeline that has never run."""
    found: dict[str, float] = {}
    folders = sorted((root / pipeline / "runs").glob(f"[!.]*/{SUMMARY_NAME}"), reverse=True)[:_MOST_RUNS]
    for file in folders:
        try:
            summary = RunSummary.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            continue
        for node in summary.nodes:
            if node.state == "complete" and node.seconds is not None:
                found.setdefault(node.id, node.seconds)
    return found


def remaining_seconds(
    nodes: Sequence[str], usual: Mapping[str, float], ended: Mapping[str, float], running: Mapping[str, float]
) -> float | None:
    """Estimate the remaining time of a run; None if an unfinished node has never executed before.

    Args:
        nodes: All nodes of the run.
        usual: Node -> how long it usually takes.
        ended: Node -> how long it took in this run.
        running: Node -> how long it has been running.
    """
    left = 0.0
    for node in nodes:
        if node in ended or node.startswith(_SHORT):
            continue
        if node not in usual:
            return None
        left += max(0.0, usual[node] - running.get(node, 0.0))
    return left
