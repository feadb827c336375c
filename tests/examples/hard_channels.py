"""The shipped example of heavy-tailed channels: what plain int8 loses, and what wins it back."""

from pathlib import Path

import pytest
import yaml

from tests.ran import Ran

pytestmark = pytest.mark.e2e
EXAMPLE = Path("pipelines/hard_channels/pipeline.yaml").resolve()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("hard")
    content = yaml.safe_load(EXAMPLE.read_text())
    content["examples"]["path"] = str(EXAMPLE.parent / content["examples"]["path"])
    content["baseline"]["path"] = str(EXAMPLE.parent / content["baseline"]["path"])
    content["push"]["root"] = str(folder / "registry")
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(content))
    ran = Ran(folder / "pipeline.yaml", "hard-channels")
    assert ran.code == 0, ran.output
    return ran


def changes(ran: Ran) -> dict[str, float]:
    """Accuracy of each candidate minus the float baseline's."""
    return {one.name: one.slices[0].change["accuracy"].value for one in ran.summary.evaluation.candidates}


def test_plain_int8_loses_at_least_three_points(ran: Ran) -> None:
    assert ran.summary.evaluation.baseline_slices[0].metrics["accuracy"].value > 0.8
    assert changes(ran)["int8"] <= -0.03


@pytest.mark.parametrize("recipe", ["qat_int8", "histogram_int8"])
def test_training_wins_it_back_to_half_a_point_in_integers_only(ran: Ran, recipe: str) -> None:
    assert changes(ran)[recipe] >= -0.005
    candidate = next(one for one in ran.summary.evaluation.candidates if one.name == recipe)
    assert candidate.outcome.inspection.integer_only
    assert candidate.outcome.lost_ranges == ()


def test_fewest_float_layers_win_it_back_without_training(ran: Ran) -> None:
    selective = next(one for one in ran.summary.evaluation.candidates if one.name == "selective_int8")
    plain = next(one for one in ran.summary.evaluation.candidates if one.name == "int8")
    assert changes(ran)["selective_int8"] >= -0.005
    kept = [layer for layer in selective.outcome.sensitivity if layer.kept_float]
    assert 0 < len(kept) < len(selective.outcome.sensitivity)
    # Those that cost most stay float, and they cost bytes.
    assert max(layer.error for layer in selective.outcome.sensitivity) == max(layer.error for layer in kept)
    assert selective.outcome.inspection.file_bytes > plain.outcome.inspection.file_bytes
    assert not selective.outcome.inspection.integer_only


def test_report_shows_the_three_ways_side_by_side(ran: Ran) -> None:
    report = (ran.folder / "report.html").read_text()
    for recipe in ("qat_int8", "histogram_int8", "selective_int8"):
        assert recipe in report


def test_gate_blesses_what_won_it_back_and_not_the_smaller_file(ran: Ran) -> None:
    decision = ran.summary.decision_for("phone_cpu")
    sizes = {one.name: one.outcome.inspection.file_bytes for one in ran.summary.evaluation.candidates}
    assert decision.chosen != "int8"
    assert sizes["int8"] < sizes[decision.chosen]
