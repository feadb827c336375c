"""Releases one after the other: what a device runs is what the next candidates are compared with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemill.exit_codes import ExitCode
from pipelines.file.environment import environment
from pipelines.report.summary import LineageNode
from pipelines.runs.lineage import trace_target
from pipelines.storage.metadata_connection import open_store
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e

PREDICTS = "predict__champion__phone_cpu"
NODES = {"champion__phone_cpu", PREDICTS, "challenge__phone_cpu"}
DECIDES = {"gate__phone_cpu", "push__phone_cpu"}


def write_model(path: Path, never: int | None = None) -> None:
    """Write a classifier by mean brightness that is right on every example, except that it never answers `never`."""
    import numpy as np
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input([4, 4, 1], name="image"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ]
    )
    centers = np.array([0.2, 0.5, 0.8])
    biases = -50 * centers**2
    if never is not None:
        biases[never] = -100
    model.layers[-1].set_weights([(100 * centers)[None], biases])
    model.save(path)


def champion_of(ran: Ran) -> dict[str, object]:
    assert ran.summary is not None, ran.output
    (decision,) = ran.summary.decisions
    assert decision.champion is not None
    (against,) = decision.champion.candidates
    changes = {check.scope: (round(check.measured or 0.0, 6), check.verdict) for check in against.checks}
    return {"state": decision.champion.state, "version": decision.champion.version, "is": against.verdict, **changes}


def pushed(ran: Ran) -> str:
    assert ran.summary is not None
    assert ran.summary.releases[0].version is not None, ran.output
    return ran.summary.releases[0].version


def walk(node: LineageNode) -> Iterator[LineageNode]:
    yield node
    for child in node.children:
        yield from walk(child)


def test_candidate_that_is_worse_than_the_last_release_is_refused_and_on_request_only_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    write_model(tmp_path / "good.keras")
    write_model(tmp_path / "bad.keras", never=2)
    small.spec["baseline"] = {"kind": "pretrained", "path": "good.keras"}
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    small.spec.pop("calibrate")
    small.spec["gate"] = {
        "champion": "require",
        "metrics": [
            {"name": "accuracy", "at_least": 0.5, "max_drop_from_champion": 0.01},
            {"name": "accuracy", "max_drop_from_champion": 0.5, "slices": ["label"]},
        ],
    }
    first = Ran(small.write(), "small")
    assert first.code == ExitCode.OK, first.output
    assert champion_of(first) == {"state": "none", "version": None, "is": None}
    good = pushed(first)

    # The champion is the candidate now: nothing is predicted or compared, and the same candidate is blessed.
    again = Ran(small.file, "small")
    assert (again.code, again.executed()) == (ExitCode.OK, (NODES - {PREDICTS}) | DECIDES), again.output
    assert again.states()[PREDICTS] == "cached"
    assert champion_of(again) == {"state": "found", "version": good, "is": "same"}
    assert pushed(again) == good
    assert Ran(small.file, "small").executed() == {"push__phone_cpu"}

    small.spec["baseline"]["path"] = "bad.keras"
    refused = Ran(small.write(), "small")
    assert refused.code == ExitCode.GATE_REFUSED, refused.output
    compared = {
        "overall": (-0.333333, "fail"),
        **dict.fromkeys(("label=0", "label=1"), (0.0, "pass")),
        "label=2": (-1.0, "fail"),
    }
    assert champion_of(refused) == {"state": "found", "version": good, "is": "fail", **compared}
    assert "change of accuracy from the champion" in refused.output

    # The champion has not changed, so the comparison is not repeated.
    del small.spec["gate"]["champion"]
    reported = Ran(small.write(), "small")
    assert (reported.code, reported.executed()) == (ExitCode.OK, DECIDES), reported.output
    assert champion_of(reported) == champion_of(refused)
    assert f"phone_cpu: the champion is {good}" in reported.output and "worse: float32" in reported.output
    bad = pushed(reported)
    assert bad != good

    # Lineage leads from the release to what it was compared with.
    assert reported.summary is not None
    path = reported.summary.releases[0].path
    nodes = list(walk(trace_target(open_store(environment(reported.root, None).metadata_url), str(path))))
    (champion,) = [node for node in nodes if node.label.endswith(" as champion") and "sha256" in node.details]
    assert champion.details["sha256"].startswith(good) and champion.details["verified"] == "yes"
    assert champion.details["version"] == good
    assert {"champion__phone_cpu", "challenge__phone_cpu"} <= {node.label for node in nodes}

    small.spec["baseline"]["path"] = "good.keras"
    better = champion_of(Ran(small.write(), "small"))
    assert (better["version"], better["is"], better["label=2"]) == (bad, "pass", (1.0, "pass"))

    # Another recipe runs its own nodes, and evaluations of what is stored. The champion is not predicted again.
    assert Ran(small.file, "small").code == ExitCode.OK
    small.spec["recipes"].append({"name": "half", "scheme": "float16"})
    added = Ran(small.write(), "small")
    own = {f"{kind}__half" for kind in ("convert", "predict", "latency", "explain", "changes")}
    assert added.executed() == own | {"evaluate", "challenge__phone_cpu"} | DECIDES, added.output
