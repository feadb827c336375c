"""Zeros and shared values from step to step, into the integers of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.cluster.clustering import preview, targets
from components.cluster.training import train_clustered
from components.convert.job import ConversionRequest, run
from components.convert.tensorflow.converter import convert
from components.core.errors import ModelError, SpecError
from components.facts.artifact_paths import OUTCOME_FILE, SERVING_FOLDER
from components.facts.conversion import Converted, outcome_of
from components.facts.training import TrainingReport
from components.model.keras_model import load_kept
from components.model.tflite_weights import WeightUse, weight_uses
from components.prune.training import train_pruned
from components.quantize.training import train_quantized
from components.spec.scheme import StaticWi8Ai8
from components.spec.steps.cluster import ClusterStep
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.prune import PruneStep
from components.spec.steps.qat import QatStep
from tests.step_inputs import TrainedBaseline

PRUNE = PruneStep(kind="prune", epochs=2, sparsity=0.75, learning_rate=0.01, schedule="constant")
CLUSTER = ClusterStep(kind="cluster", epochs=2, num_clusters=8, learning_rate=0.01)
QAT = QatStep(kind="qat", epochs=2, learning_rate=0.01)
INT8 = StaticWi8Ai8()
KERNELS = {(16, 3, 3, 1), (32, 64), (3, 32)}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> TrainedBaseline:
    return TrainedBaseline(tmp_path_factory.mktemp("baseline"))


@pytest.fixture(scope="module")
def pruned(baseline: TrainedBaseline) -> Path:
    return baseline.do("pruned", None, train_pruned, PRUNE)[0]


@pytest.fixture(scope="module")
def clustered(baseline: TrainedBaseline) -> tuple[Path, TrainingReport]:
    return baseline.do("clustered", None, train_clustered, CLUSTER, WeightInvariants())


@pytest.fixture(scope="module")
def both(baseline: TrainedBaseline, pruned: Path) -> Path:
    return baseline.do("both", pruned, train_clustered, CLUSTER, WeightInvariants(zeros=True))[0]


def uses(folder: Path) -> list[WeightUse]:
    found = list(weight_uses(convert(folder / SERVING_FOLDER, INT8, None)))
    assert {use.fact.shape for use in found} == KERNELS
    return found


def proven(folder: Path, report: TrainingReport) -> Converted:
    outcome = folder / "converted"
    outcome.mkdir()
    request = ConversionRequest(
        name="a",
        scheme=INT8,
        saved_model=str(folder / SERVING_FOLDER),
        trained=report.ranges,
        sparse=report.sparsity_target,
    )
    run(request, outcome)
    converted = outcome_of((outcome / OUTCOME_FILE).read_bytes())
    assert isinstance(converted, Converted), converted
    return converted


def test_training_under_quantization_keeps_every_zero(baseline: TrainedBaseline, pruned: Path) -> None:
    folder, report = baseline.do("pqat", pruned, train_quantized, QAT, INT8, WeightInvariants(zeros=True))
    found = uses(folder)
    assert [use.fact.sparsity for use in found] == pytest.approx([0.75] * 3, abs=0.02)
    assert max(use.fact.unique_values or 0 for use in found) > 100
    assert [(fact.layer, fact.sparsity) for fact in report.weights] == [
        ("convolution", 0.75),
        ("hidden", 0.75),
        ("probabilities", 0.75),
    ]
    proof = proven(folder, report).sparsity
    assert proof is not None
    assert proof.verdict == "stored_only"
    assert len(proof.tensors) == 3


def test_zeros_that_training_does_not_keep_are_reported_as_lost(baseline: TrainedBaseline, pruned: Path) -> None:
    folder, report = baseline.do("plain", pruned, train_quantized, QAT, INT8, WeightInvariants())
    # Weights behind a unit that never fires have no gradient: some zeros stay by chance.
    assert all(fact.sparsity < 0.5 for fact in report.weights)
    proof = proven(folder, report).sparsity
    assert proof is not None
    assert proof.verdict == "lost"
    assert "zeros were lost" in " ".join(proof.reasons)


def test_clustered_kernels_have_no_more_values_than_asked_for(clustered: tuple[Path, TrainingReport]) -> None:
    folder, report = clustered
    assert [(fact.layer, fact.unique_values, fact.wanted_values) for fact in report.weights] == [
        ("convolution", 8, 8),
        ("hidden", 8, 8),
        ("probabilities", 8, 8),
    ]
    kernel = load_kept(folder).get_layer("hidden").kernel.numpy()
    assert len(np.unique(kernel)) == 8
    assert report.sparsity_target is None


def test_training_under_quantization_keeps_shared_values_as_so_many_integers(
    baseline: TrainedBaseline, clustered: tuple[Path, TrainingReport]
) -> None:
    kept, _ = baseline.do("cqat", clustered[0], train_quantized, QAT, INT8, WeightInvariants(num_clusters=8))
    # The converter has folded the normalization into the convolution, with a scale for each channel.
    found = uses(kept)
    assert [use.fact.scales for use in found] == [16, 1, 1]
    assert all((use.fact.unique_values or 99) <= 8 for use in found)
    lost, report = baseline.do("unkept", clustered[0], train_quantized, QAT, INT8, WeightInvariants())
    assert all((use.fact.unique_values or 0) > 20 for use in uses(lost))
    assert max(fact.unique_values for fact in report.weights) > 500


def test_all_three_together_keep_zeros_and_values(baseline: TrainedBaseline, both: Path) -> None:
    folder, report = baseline.do(
        "pcqat", both, train_quantized, QAT, INT8, WeightInvariants(zeros=True, num_clusters=8)
    )
    found = uses(folder)
    assert [use.fact.sparsity for use in found] == pytest.approx([0.75] * 3, abs=0.02)
    assert all((use.fact.unique_values or 99) <= 8 for use in found)
    assert report.sparsity_target is not None
    assert report.sparsity_target.sparsity == 0.75
    proof = proven(folder, report).sparsity
    assert proof is not None
    assert proof.verdict == "stored_only"


def test_values_are_trained_and_zero_is_not(baseline: TrainedBaseline, pruned: Path, both: Path) -> None:
    before = load_kept(pruned).get_layer("hidden").kernel.numpy()
    after = load_kept(both).get_layer("hidden").kernel.numpy()
    assert np.array_equal(before == 0, after == 0)
    from components.cluster.clustering import clustered as at_once

    untrained = at_once(before, 8, "linear", zeros=True)
    assert len(np.unique(after)) == 8
    assert np.abs(np.unique(after) - np.unique(untrained)).max() > 1e-3


def test_layers_with_more_values_than_weights_are_refused_with_a_fix(baseline: TrainedBaseline) -> None:
    step = CLUSTER.model_copy(update={"num_clusters": 200})
    with pytest.raises(ModelError) as caught:
        targets(baseline.model, step)
    said = str(caught.value)
    assert said.startswith("layer convolution, probabilities: there are at least as many centroids as weights")
    assert "found: convolution: 200 of 144; probabilities: 200 of 96" in said
    assert "`except: [convolution, probabilities]`, or lower `num_clusters`" in said


def test_layers_have_the_values_of_the_last_target_that_names_them(baseline: TrainedBaseline) -> None:
    step = ClusterStep.model_validate(
        {**CLUSTER.model_dump(), "except": ["hidden"], "targets": [{"layers": ["prob*"], "num_clusters": 4}]}
    )
    plans = {plan.layer: (plan.mode, plan.weights) for plan in preview(baseline.model, step)}
    assert plans["convolution"] == ("clustered", "8 values")
    assert plans["probabilities"] == ("clustered", "4 values")
    assert plans["hidden"] == ("as it is", "")


@pytest.mark.parametrize(
    ("said", "message"),
    [({"layers": ("hiden",)}, "did you mean hidden"), ({"except_layers": ("*",)}, "the step clusters nothing")],
)
def test_step_that_fits_no_layer_is_refused(baseline: TrainedBaseline, said: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        targets(baseline.model, CLUSTER.model_copy(update=said))
    assert message in str(caught.value)


RECURRENT = """layers.Input([4, 4, 1], name="image"),
            layers.Reshape([4, 4]),
            layers.GRU(16, name="cell"),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ])"""


def test_gates_of_a_recurrent_layer_keep_zeros_and_values_into_the_integers_of_the_file(tmp_path):
    baseline = TrainedBaseline(tmp_path, RECURRENT)
    source, report = baseline.do("pruned", None, train_pruned, PRUNE)
    assert {(4, 48), (4, 16), (16, 48), (16, 16)} <= set(report.sparsity_target.kernels)
    source, _ = baseline.do("clustered", source, train_clustered, CLUSTER, WeightInvariants(zeros=True))
    folder, _ = baseline.do(
        "trained", source, train_quantized, QAT, INT8, WeightInvariants(zeros=True, num_clusters=8), "sequence"
    )
    gates = [use.fact for use in weight_uses(convert(folder / SERVING_FOLDER, INT8, None)) if 3 not in use.fact.shape]
    assert {gate.shape for gate in gates} == {(16, 4), (16, 16)}
    for gate in gates:
        assert gate.sparsity >= 0.74
        assert gate.unique_values <= 8
