"""The recipes of docs/pruning-and-clustering.md, as they stand there, through training, conversion and proof."""

import re
from pathlib import Path

import pytest
import yaml

from components.facts.evaluation import CandidateReport
from edgemill.exit_codes import ExitCode
from tests.ran import Ran
from tests.small_pipeline import TASK, SmallPipeline
from tests.step_inputs import LAYERS

pytestmark = pytest.mark.e2e
PAGE = Path("docs/pruning-and-clustering.md").read_text()
(BLOCK,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    task = TASK.partition("layers.Input")[0] + LAYERS + TASK.partition("        ])")[2]
    small = SmallPipeline(tmp_path_factory.mktemp("combinations"), task)
    small.spec["recipes"] = yaml.safe_load(BLOCK)["recipes"]
    small.spec["baseline"]["epochs"] = 8
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.OK, ran.output
    return ran


def candidates(ran: Ran) -> dict[str, CandidateReport]:
    return {candidate.name: candidate for candidate in ran.summary.evaluation.candidates}


def weights_of(ran: Ran, name: str) -> dict[tuple[int, ...], tuple[float, int]]:
    weights = candidates(ran)[name].outcome.inspection.weights
    return {w.shape: (round(w.sparsity, 2), w.unique_values) for w in weights if len(w.shape) > 1}


def test_every_recipe_is_converted_and_accurate(ran: Ran) -> None:
    for name, candidate in candidates(ran).items():
        assert candidate.outcome.status == "converted", (name, candidate.outcome)
        assert candidate.slices[0].metrics["accuracy"].value >= 0.95, name


def test_every_candidate_that_is_not_float_is_explained(ran: Ran) -> None:
    explained = {one.recipe for one in ran.summary.explanations if not one.unavailable and one.layers}
    assert explained == {name for name, one in candidates(ran).items() if not one.recipe.scheme.is_float}


def test_each_step_is_done_once(ran: Ran) -> None:
    trained = [(training.kind, training.recipe) for training in ran.summary.trainings]
    assert [kind for kind, _ in trained] == ["prune", "prune", "prune", "cluster", "qat"]
    assert {recipe for kind, recipe in trained if kind == "prune"} == {"sparse, together", "blocks", "spread"}
    assert trained[3:] == [("cluster", "together"), ("qat", "together")]


def test_zeros_and_values_are_in_the_files(ran: Ran) -> None:
    convolution, hidden, probabilities = (16, 3, 3, 1), (32, 64), (3, 32)
    assert {shape: zeros for shape, (zeros, _) in weights_of(ran, "sparse").items()} == {
        convolution: 0.75,
        hidden: 0.75,
        probabilities: 0.75,
    }
    together = weights_of(ran, "together")
    assert all(zeros == 0.75 for zeros, _ in together.values())
    assert [values <= most for (_, values), most in zip(together.values(), (8, 8, 4), strict=True)] == [True] * 3
    assert weights_of(ran, "blocks")[hidden][0] == 0.75
    assert weights_of(ran, "blocks")[probabilities][0] == 0
    (spread,) = [training for training in ran.summary.trainings if training.recipe == "spread"]
    zeros = {fact.layer: fact.sparsity for fact in spread.weights}
    assert zeros["hidden"] * 64 * 32 + zeros.get("convolution", 0) * 144 == pytest.approx(0.75 * 2192, abs=2)
    assert set(zeros) <= {"convolution", "hidden"}


def test_what_pruning_claims_is_judged_for_every_pruned_file(ran: Ran) -> None:
    verdicts = {name: one.outcome.sparsity.verdict for name, one in candidates(ran).items()}
    assert set(verdicts) == {"sparse", "blocks", "spread", "together"}
    assert {verdicts[name] for name in ("sparse", "spread", "together")} == {"stored_only"}
    blocks = candidates(ran)["blocks"].outcome.sparsity
    # Too quick to be timed, but encoded in the kernel's blocks, and right.
    assert blocks.verdict in {"stored_only", "proven"}
    assert [tensor.encoding for tensor in blocks.tensors] == ["1x4"]
    assert blocks.difference <= blocks.tolerance


def test_report_shows_each_kernel(ran: Ran) -> None:
    html = (ran.folder / "report.html").read_text()
    assert html.count("Zeros and values of each kernel afterward") == 5
    assert html.count("with one layer alone pruned to each sparsity") == 1
