"""Runs the shipped examples as a user would, and prints the tables of docs/benchmarks.md, a row for each candidate.

    python benchmarks/examples.py [FILE...]

Prints for each pipeline file: the first metric with its 95 % interval, the bytes of the file and under gzip, how many
times smaller it is than the float32 file, and Vela's figures of one inference if a device has Vela (of one frame for a
streaming model).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOUSE))

from components.facts.conversion import Converted  # noqa: E402
from pipelines.report.summary import RunSummary  # noqa: E402

EXAMPLES = (
    "fashion_mnist/pipeline.yaml",
    "hard_channels/pipeline.yaml",
    "activity/lstm.yaml",
    "activity/gru.yaml",
    "activity/sru.yaml",
    "anomaly/pipeline.yaml",
    "detector/pipeline.yaml",
    "segmentation/pipeline.yaml",
    "transcriber/pipeline.yaml",
)


def run(file: Path, root: Path) -> RunSummary:
    """Run a pipeline file in an empty root. Exit status 3, a device that refuses every candidate, is also a result."""
    command = [sys.executable, "-m", "edgemill", "run", str(file), "--root", str(root)]
    done = subprocess.run(command, cwd=HOUSE, check=False, capture_output=True, text=True)
    if done.returncode not in {0, 3}:
        raise SystemExit(done.stdout + done.stderr)
    (summary,) = root.glob("*/runs/*/summary.json")
    return RunSummary.model_validate_json(summary.read_bytes())


def rows(summary: RunSummary) -> list[tuple[str, ...]]:
    """A header and one row for each candidate."""
    assert summary.evaluation is not None
    baseline = summary.evaluation
    metric = next(iter(baseline.baseline_slices[0].metrics))
    found = [("recipe", f"{metric} [95 %]", "bytes", "gzip", "smaller", "Vela: cycles", "on the CPU")]
    cycles = {}
    for device in summary.on_devices:
        for one in device.candidates:
            if one.vela is not None and one.vela.status == "measured" and one.vela.cycles is not None:
                cycles[one.name] = (f"{one.vela.cycles:,}", str(len(one.vela.cpu_operators)))
    for candidate in baseline.candidates:
        if not isinstance(candidate.outcome, Converted) or not candidate.slices:
            found.append((candidate.name, "not converted", "", "", "", "", ""))
            continue
        value = candidate.slices[0].metrics[metric]
        size = candidate.outcome.inspection.file_bytes
        found.append(
            (
                candidate.name,
                f"{value.value:.3f} [{value.lower:.3f}, {value.upper:.3f}]",
                f"{size:,}",
                f"{candidate.compressed.gzip:,}" if candidate.compressed else "",
                f"{baseline.baseline_bytes / size:.2f}" if baseline.baseline_bytes else "",
                *cycles.get(candidate.name, ("", "")),
            )
        )
    return found


def main(arguments: list[str]) -> None:
    """Run the named files, or all examples."""
    for file in [Path(name).resolve() for name in arguments] or [HOUSE / "pipelines" / name for name in EXAMPLES]:
        with tempfile.TemporaryDirectory() as root:
            summary = run(file, Path(root))
        print(f"\n{file.relative_to(HOUSE) if file.is_relative_to(HOUSE) else file}", flush=True)
        for row in rows(summary):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
