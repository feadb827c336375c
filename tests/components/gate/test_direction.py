import json
from pathlib import Path

import pytest

from components.gate.component import GateRequest
from pipelines.file.environment import environment
from pipelines.file.load import load_pipeline
from pipelines.graph.build import build_pipeline
from tests.small_pipeline import SmallPipeline


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"name": "mine", "class_name": "MeanAbsoluteError"}, True),
        ({"name": "mine", "class_name": "AUC"}, False),
        ({"name": "mine", "class_name": "MeanLabel"}, None),
    ],
)
def test_gate_gets_the_direction_of_its_first_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: dict[str, str], expected: bool | None
) -> None:
    small = SmallPipeline(tmp_path)
    monkeypatch.syspath_prepend(str(small.folder))
    small.spec["evaluate"]["metrics"] = ["accuracy", metric]
    small.spec["gate"]["metrics"] = [{"name": "mine", "at_least": 0.1, "at_most": 0.5}]
    built = build_pipeline(load_pipeline(small.write()), environment(tmp_path / "root", None), "1")
    (gate,) = (node for node in built.components if node.id == "gate__phone_cpu")
    assert GateRequest.model_validate(json.loads(gate.exec_properties["spec"])).less_is_better is expected
