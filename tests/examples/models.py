"""The examples with other models than classifiers, whole: `make test-examples`. Not part of `make test`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from components.facts.evaluation import CandidateReport
from tests.ran import Ran

pytestmark = pytest.mark.e2e
POINT = 0.01


class Expected(NamedTuple):
    """What a run of an example must reach.

    Attributes:
        metric: Its first metric.
        least, most: Bounds of the float model's value.
        smaller: How many times smaller than float int8 must be, and the smallest recipe.
        smallest: Name of that recipe, and what it may lose.
        less_is_better: Whether a smaller value of the metric is better.
        merged: Layers whose range becomes that of the concatenation that reads them (docs/limits.md).
    """

    metric: str
    least: float
    most: float
    smaller: tuple[float, float]
    smallest: tuple[str, float]
    less_is_better: bool = False
    merged: frozenset[str] = frozenset()


EXPECTED = {
    "anomaly": Expected("auc", 0.88, 1.0, (3.4, 6.0), ("qat_int4", 0.02)),
    "detector": Expected("coco_map", 0.53, 1.0, (3.4, 6.0), ("qat_int4", 0.03)),
    "segmentation": Expected(
        "mean_iou", 0.6, 1.0, (3.0, 4.4), ("qat_int4", 0.03), merged=frozenset({"up_middle", "up_large"})
    ),
    # Zeros make only the compressed file smaller.
    "transcriber": Expected("cer", 0.02, 0.15, (3.1, 3.1), ("pruned_int8", 0.02), less_is_better=True),
}


class Example:
    """One example, run as a user runs it."""

    def __init__(self, name: str, folder: Path) -> None:
        file = Path("pipelines", name, "pipeline.yaml").resolve()
        content = yaml.safe_load(file.read_text())
        content["examples"]["path"] = str(file.parent / content["examples"]["path"])
        content["push"]["root"] = str(folder / "registry")
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(content))
        self.ran = Ran(folder / "pipeline.yaml", name)
        assert self.ran.code == 0, self.ran.output
        self.expected = EXPECTED[name]
        self.evaluation = self.ran.summary.evaluation
        self.by_name: dict[str, CandidateReport] = {one.name: one for one in self.evaluation.candidates}

    def lost(self, recipe: str) -> float:
        """How much worse a candidate's metric is than the float model's."""
        change = self.by_name[recipe].slices[0].change[self.expected.metric].value
        return change if self.expected.less_is_better else -change

    def smaller(self, recipe: str) -> float:
        return self.evaluation.baseline_bytes / self.by_name[recipe].outcome.inspection.file_bytes


@pytest.fixture(scope="module", params=EXPECTED)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return Example(request.param, tmp_path_factory.mktemp(request.param))


def test_float_model_is_good_and_a_release_is_pushed(example: Example) -> None:
    value = example.evaluation.baseline_slices[0].metrics[example.expected.metric].value
    print(example.ran.output)
    assert example.expected.least <= value <= example.expected.most
    (release,) = example.ran.summary.releases
    assert release.pushed
    (decision,) = example.ran.summary.decisions
    assert decision.chosen not in {None, "float32"}


def test_int8_and_trained_int8_are_within_one_point_of_float(example: Example) -> None:
    assert max(example.lost("int8"), example.lost("qat_int8")) <= POINT
    name, most = example.expected.smallest
    assert example.lost(name) <= most


def test_integer_models_have_integers_only_and_are_smaller(example: Example) -> None:
    name, _ = example.expected.smallest
    for recipe in ("int8", "qat_int8", name):
        outcome = example.by_name[recipe].outcome
        assert outcome.status == "converted"
        assert outcome.inspection.integer_only
        assert set(outcome.lost_ranges) <= example.expected.merged
    int8, smallest = example.expected.smaller
    assert min(example.smaller("int8"), example.smaller("qat_int8")) >= int8
    assert example.smaller(name) >= smallest
