"""The shipped example on its real images, as `make run` runs it, without the recipes that prune or cluster.

The guide to pruning and clustering runs those on small data (test_combinations.py), and `make benchmark` on these.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from edgemill.exit_codes import ExitCode
from tests.ran import Ran

pytestmark = pytest.mark.e2e
EXAMPLE = Path("pipelines/fashion_mnist/pipeline.yaml").resolve()


def kinds(recipe: dict[str, Any]) -> set[str]:
    return {step["kind"] for step in recipe.get("steps", ())}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("fashion")
    content = yaml.safe_load(EXAMPLE.read_text())
    content["examples"]["path"] = str(EXAMPLE.parent / content["examples"]["path"])
    content["push"]["root"] = str(folder / "registry")
    content["recipes"] = [one for one in content["recipes"] if not {"prune", "cluster"} & kinds(one)]
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(content))
    return Ran(folder / "pipeline.yaml", "fashion-mnist")


def test_example_pushes_to_both_devices(ran: Ran) -> None:
    assert ran.code == ExitCode.OK, ran.output
    assert {release.device: release.pushed for release in ran.summary.releases} == {
        "phone_cpu": True,
        "cortex_m55": True,
    }


def test_int8_is_within_a_point_of_float_and_three_and_a_half_times_smaller(ran: Ran) -> None:
    evaluation = ran.summary.evaluation
    int8 = next(candidate for candidate in evaluation.candidates if candidate.name == "int8")
    assert evaluation.baseline_slices[0].examples == 1000
    assert evaluation.baseline_slices[0].metrics["accuracy"].value > 0.8
    assert abs(int8.slices[0].change["accuracy"].value) <= 0.01
    assert evaluation.baseline_bytes / int8.outcome.inspection.file_bytes >= 3.5
    assert int8.outcome.inspection.integer_only


def test_training_under_quantization_holds_half_a_point_at_eight_bits_and_six_times_smaller_at_four(ran: Ran) -> None:
    evaluation = ran.summary.evaluation
    int8, int4 = (next(one for one in evaluation.candidates if one.name == name) for name in ("qat_int8", "qat_int4"))
    assert int8.slices[0].change["accuracy"].value >= -0.005
    assert int4.slices[0].change["accuracy"].value >= -0.01
    assert evaluation.baseline_bytes / int4.outcome.inspection.file_bytes >= 6
    assert int8.outcome.inspection.integer_only
    assert int4.outcome.inspection.integer_only
    assert int8.outcome.lost_ranges == int4.outcome.lost_ranges == ()
    errors = {
        one.recipe: max(layer.weights for layer in one.layers)
        for one in ran.summary.explanations
        if not one.unavailable
    }
    # Rounding of the trained weights to 4 bits loses more than to 8, and both lose something.
    assert errors["qat_int4"] > 16 * errors["qat_int8"] > 0


def test_all_recipes_convert_and_are_evaluated_on_ten_slices(ran: Ran) -> None:
    for candidate in ran.summary.evaluation.candidates:
        assert candidate.outcome.status == "converted", candidate.outcome
        assert len(candidate.slices) == 11
        for result in candidate.slices:
            accuracy = result.metrics["accuracy"]
            assert accuracy.lower <= accuracy.value <= accuracy.upper


def test_microcontroller_takes_integers_within_its_budget_only(ran: Ran) -> None:
    decision = ran.summary.decision_for("cortex_m55")
    verdicts = {candidate.candidate: candidate.verdict for candidate in decision.candidates}
    assert verdicts["float32"] == verdicts["float16"] == verdicts["dynamic"] == "fail"
    assert verdicts["int8"] == "pass"
    assert ran.summary.release_for("cortex_m55").bytes <= 65_536
