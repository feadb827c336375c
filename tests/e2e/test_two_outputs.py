"""A model with two inputs of equal shape and two outputs, through a whole pipeline."""

import json

import pytest

from components.facts.conversion import Converted
from components.facts.slices import overall
from tests.ran import Ran
from tests.two_outputs import POSTPROCESS, TwoOutputs, with_methods

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoOutputs, Ran]:
    small = TwoOutputs(tmp_path_factory.mktemp("two"), with_methods(POSTPROCESS))
    small.spec["recipes"].append(
        {"name": "qat", "scheme": "static_wi8_ai8", "steps": [{"kind": "qat", "epochs": 2}]},
    )
    # Hundredfold, because of `postprocess`.
    small.spec["gate"]["metrics"][1]["at_most"] = 100.0
    return small, Ran(small.write(), "small")


def test_each_output_is_trained_converted_and_evaluated(ran: tuple[TwoOutputs, Ran]) -> None:
    _, run = ran
    assert run.code == 0, run.output
    assert run.summary is not None
    evaluation = run.summary.evaluation
    assert evaluation is not None
    baseline = overall(evaluation.baseline_slices)
    assert baseline is not None
    # The targets are fractions, and what the metric reads is their hundredfold.
    assert baseline.metrics["kinds"].value > 0.9
    assert 40 < baseline.metrics["error"].value < 50
    assert {name: reading.kind for name, reading in evaluation.readings.items()} == {
        "kind": "probabilities",
        "shift": "values",
    }
    for candidate in evaluation.candidates:
        assert isinstance(candidate.outcome, Converted), candidate.name
        inspection = candidate.outcome.inspection
        assert {fact.signature for fact in inspection.inputs} == {"left", "right"}
        assert {fact.signature for fact in inspection.outputs} == {"kind", "shift"}
        whole = overall(candidate.slices)
        assert whole is not None
        assert whole.metrics["kinds"].value > 0.9, candidate.name
        assert abs(whole.change["error"].value) < 1.5, candidate.name
        assert {each.slice for each in candidate.slices} == {"overall", "label=0", "label=1", "label=2"}


def test_gate_bounds_both_outputs_and_release_names_them(ran: tuple[TwoOutputs, Ran]) -> None:
    small, _ = ran
    (file,) = small.folder.glob("registry/**/manifest.json")
    manifest = json.loads(file.read_bytes())
    checked = {(check["quantity"], check["scope"]) for check in manifest["checks"]}
    assert {("kinds", "overall"), ("error", "overall"), ("error", "label=1")} <= checked
    assert {one["name"]: one["shape"] for one in manifest["inputs"]} == {"left": [1, 8], "right": [1, 8]}
    ends = {one["name"]: one for one in manifest["outputs"]}
    assert {name: one["dtype"] for name, one in ends.items()} == {"kind": "INT8", "shift": "INT8"}
    assert (ends["kind"]["scale"], ends["kind"]["zero_point"]) == (1 / 256, -128)
