"""Each level of docs/quantization-aware-training.md, as it stands there, through conversion and audit."""

import re
from pathlib import Path

import pytest
import yaml

from components.facts.evaluation import CandidateReport
from edgemill.exit_codes import ExitCode
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e
PAGE = Path("docs/quantization-aware-training.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(folder: Path, module: str, recipes: str) -> Ran:
    levels, own_layer = blocks("python")
    small = SmallPipeline(folder)
    (folder / "levels.py").write_text(levels)
    (folder / "own_layer.py").write_text(own_layer)
    small.spec |= {"task": f"{module}:TASK", "recipes": yaml.safe_load(recipes)["recipes"]}
    return Ran(small.write(), "small")


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    ran = run(tmp_path_factory.mktemp("levels"), "levels", blocks("yaml")[0])
    assert ran.code == ExitCode.OK, ran.output
    return ran


def candidates(ran: Ran) -> dict[str, CandidateReport]:
    return {candidate.name: candidate for candidate in ran.summary.evaluation.candidates}


def test_every_level_is_converted_accurate_and_keeps_its_trained_ranges(levels: Ran) -> None:
    for name, candidate in candidates(levels).items():
        assert candidate.outcome.status == "converted", (name, candidate.outcome)
        assert candidate.outcome.lost_ranges == (), name
        assert candidate.slices[0].metrics["accuracy"].value >= 0.95, name


def test_every_level_but_that_with_fallback_is_of_integers_only(levels: Ran) -> None:
    floats = {name for name, one in candidates(levels).items() if not one.outcome.inspection.integer_only}
    assert floats == {"some_float"}
    inspection = candidates(levels)["some_float"].outcome.inspection
    by_shape = {weight.shape: weight.dtype for weight in inspection.weights}
    assert by_shape[12, 32] == by_shape[3, 12] == "INT8"
    assert by_shape[8, 3, 3, 1] == "FLOAT32"


def weights_of(ran: Ran, name: str) -> dict[tuple[int, ...], tuple[str, int]]:
    weights = candidates(ran)[name].outcome.inspection.weights
    return {weight.shape: (weight.dtype, weight.scales) for weight in weights if len(weight.shape) > 1}


def test_weights_have_the_bits_and_scales_that_were_asked_for(levels: Ran) -> None:
    convolution, head, probabilities = (8, 3, 3, 1), (12, 32), (3, 12)
    assert weights_of(levels, "whole") == {convolution: ("INT8", 8), head: ("INT8", 1), probabilities: ("INT8", 1)}
    assert weights_of(levels, "int4") == {convolution: ("INT4", 8), head: ("INT4", 1), probabilities: ("INT4", 1)}
    assert weights_of(levels, "own_scheme") == {
        convolution: ("INT8", 8),
        head: ("INT4", 1),
        probabilities: ("INT4", 1),
    }
    within = weights_of(levels, "within")
    assert within[head] == ("INT4", 1)
    # The converter folds the batch normalization into the weights, which gives each channel a scale.
    assert within[convolution][0] == "INT8"
    assert candidates(levels)["int16"].outcome.inspection.dtype_counts["INT16"] > 5


def test_ranges_are_those_of_the_quantizers_that_were_asked_for(levels: Ran) -> None:
    ranges = {training.recipe: {one.tensor: one for one in training.ranges} for training in levels.summary.trainings}
    assert ranges["within"]["probabilities"].zero_point == 0
    assert ranges["whole"]["probabilities"].zero_point != 0
    histogram = ranges["within"]["conv_relu"]
    assert histogram.seen is not None
    assert histogram.high < histogram.seen[1]
    assert ranges["own_quantizer"] == {}  # its ranges are its own business
    assert {one.zero_point for one in ranges["int16"].values()} == {0}


def test_layers_that_are_not_trained_are_reported(levels: Ran) -> None:
    modes = {
        training.recipe: {layer.layer: layer.mode for layer in training.layers} for training in levels.summary.trainings
    }
    assert set(modes["whole"].values()) == {"trained"}
    assert modes["some"]["conv"] == "observed"
    assert modes["some_float"]["conv"] == "float"
    assert modes["some_float"]["head"] == modes["some"]["head"] == "trained"


def test_report_shows_each_training(levels: Ran) -> None:
    html = (levels.folder / "report.html").read_text()
    for text in ("<h2>Training</h2>", "conv_norm", "folded into the convolution&#39;s weights", "int4 per"):
        assert text in html
    assert html.count("Loss per epoch</strong>") == len(levels.summary.trainings) == 9


def test_own_layer_with_a_config_becomes_integers_only(tmp_path: Path) -> None:
    ran = run(tmp_path, "own_layer", blocks("yaml")[1])
    assert ran.code == ExitCode.OK, ran.output
    inspection = candidates(ran)["own_layer"].outcome.inspection
    assert inspection.integer_only
    assert "MUL" in {use.name for use in inspection.operators}


def test_own_layer_without_a_config_is_trained_as_what_it_calls(tmp_path: Path) -> None:
    ran = run(tmp_path, "own_layer", "recipes: [{name: a, steps: [{kind: qat, epochs: 1}], scheme: static_wi8_ai8}]")
    assert ran.code == ExitCode.OK, ran.output
    outcome = candidates(ran)["a"].outcome
    assert outcome.inspection.integer_only
    assert outcome.lost_ranges == ()
    assert "MUL" in {use.name for use in outcome.inspection.operators}
