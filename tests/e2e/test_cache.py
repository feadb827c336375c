"""What a second run may take from the first: chance failures and edited schemas it may not."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.core.files import sha256_of
from edgemill.exit_codes import ExitCode
from pipelines.file.environment import environment
from pipelines.report.summary import LineageNode
from pipelines.runs.lineage import trace_target
from pipelines.storage.metadata_connection import open_store
from tests.ran import Ran
from tests.small_pipeline import TASK, SmallPipeline

pytestmark = pytest.mark.e2e

AFTER_CONVERSION = {"evaluate", "gate__phone_cpu", "push__phone_cpu"}


def dying_task(orders: Path) -> str:
    """A task whose conversion is killed as long as a file exists: no input of the pipeline, and so not in any key."""
    return TASK.replace(
        "    def decode(self, features):\n",
        f"""    def decode(self, features):
        import os, pathlib
        orders = pathlib.Path({str(orders)!r})
        if os.getpid() != {os.getpid()} and orders.exists():
            os.kill(os.getpid(), 9)
""",
    )


def outcome_of_int8(ran: Ran) -> str:
    assert ran.summary is not None
    (outcome,) = [c.outcome for c in ran.summary.evaluation.candidates if c.name == "int8"]
    return outcome.status if outcome.status == "converted" else outcome.cause


def test_conversion_is_tried_again_after_a_failure_by_chance_and_success_is_kept(tmp_path: Path) -> None:
    orders = tmp_path / "orders"
    small = SmallPipeline(tmp_path, dying_task(orders))
    orders.touch()
    first = Ran(small.write(), "small")
    assert (first.code, outcome_of_int8(first)) == (ExitCode.OK, "out_of_memory"), first.output
    orders.unlink()
    fixed = Ran(small.file, "small")
    assert (fixed.executed(), outcome_of_int8(fixed)) == (
        {"convert__int8", "explain__int8", "predict__int8", "changes__int8", "latency__int8", *AFTER_CONVERSION},
        "converted",
    )
    assert Ran(small.file, "small").executed() == {"push__phone_cpu"}


def test_audit_is_in_the_report_when_it_stops_the_run_and_an_edited_schema_is_read_again(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    # Two in a hundred calibration examples are evaluation examples, and one in a hundred of these may be.
    held_out: list[dict[str, Any]] = []
    small.write_split("eval", 240, seed=2, change=lambda _, features: held_out.append(features) or features)
    small.write_split("few", 100, seed=7, change=lambda index, features: held_out[index] if index < 2 else features)
    small.spec["examples"]["splits"]["patterns"]["few"] = "few*"
    small.spec["calibrate"]["split"] = "few"
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.NODE_FAILED
    states = ran.states()
    assert (states["calibrate"], states["audit"]) == ("complete", "failed")
    assert {states["convert__float32"], states["convert__int8"]} == {"not_run"}
    assert ran.summary is not None and ran.folder is not None
    (finding,) = [each for each in ran.summary.audit.findings if each.check == "leak"]
    assert (finding.severity, finding.check) == ("error", "leak")
    assert finding.message in (ran.folder / "report.html").read_text()
    assert any(error.startswith("audit: ") and finding.message in error for error in ran.summary.errors)

    (inferred,) = (ran.root / "small" / "artifacts" / "schema" / "schema").glob("*/schema.pbtxt")
    (tmp_path / "mine.pbtxt").write_bytes(inferred.read_bytes())
    small.spec["examples"]["schema_file"] = "mine.pbtxt"
    assert Ran(small.write(), "small").executed() == {"schema", "validate"}
    assert Ran(small.file, "small").executed() == set()
    with (tmp_path / "mine.pbtxt").open("a") as file:
        file.write('feature { name: "weight" type: FLOAT presence { min_fraction: 1.0 min_count: 1 } }\n')
    edited = Ran(small.file, "small")
    # The run does not start: the first records contradict the schema.
    assert edited.code == ExitCode.BAD_INPUT
    assert "feature 'weight'" in edited.output


def test_labels_changed_under_the_same_size_and_time_are_evaluated_and_not_served_from_cache(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    first = Ran(small.write(), "small")
    assert first.code == ExitCode.OK, first.output
    assert accuracy(first) > 0.9
    data = small.folder / "data" / "eval.tfrecord"
    before, released_from = data.stat(), sha256_of(data)
    small.write_split(
        "eval", 120, seed=2, change=lambda _, features: {**features, "label": (features["label"] + 1) % 3}
    )
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = data.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second = Ran(small.file, "small")
    assert second.code == ExitCode.GATE_REFUSED, second.output
    assert "examples" in second.executed()
    assert accuracy(second) < 0.1

    # What was released was made from the labels as they were before; the training split has not changed.
    assert first.summary is not None
    lineage = trace_target(open_store(environment(first.root, None).metadata_url), first.summary.releases[0].path)
    digests = {name: digest for node in walk(lineage) for name, digest in node.files.items()}
    assert digests == {
        "eval.tfrecord": f"sha256 {released_from}",
        "train.tfrecord": f"sha256 {sha256_of(small.folder / 'data' / 'train.tfrecord')}",
    }


def walk(node: LineageNode) -> Iterator[LineageNode]:
    yield node
    for child in node.children:
        yield from walk(child)


def accuracy(ran: Ran) -> float:
    assert ran.summary is not None
    (outcome,) = [c for c in ran.summary.evaluation.candidates if c.name == "float32"]
    return outcome.slices[0].metrics["accuracy"].value
