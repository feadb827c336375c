"""Metrics that are functions, in the same pass as all others: values, slices, intervals, and changes."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.evaluate.function_metric import FunctionValues
from components.metrics.metric_outputs import with_outputs
from components.metrics.ready_made.embeddings import recall_at_k, unit_vectors
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec
from tests.predicted import predict_and_evaluate

OWN = """
import numpy as np

def right(predictions, targets):
    return predictions["probabilities"].argmax(axis=-1) == targets["probabilities"]

def at_site(predictions, targets, features):
    return features["site"] == b"a"

class F1:
    def create(self):
        return np.zeros(3)

    def add(self, counts, predictions, targets):
        found, there = predictions["probabilities"].argmax(axis=-1) == 0, targets["probabilities"] == 0
        return counts + [(found & there).sum(), found.sum(), there.sum()]

    def merge(self, counts, other):
        return counts + other

    def result(self, counts):
        return 2 * counts[0] / (counts[1] + counts[2]) if counts[1:].any() else float("nan")
"""

METRICS = [
    "accuracy",
    {"name": "own_accuracy", "function": "own_evaluated:right"},
    {"name": "f1", "function": "own_evaluated:F1"},
    {"name": "at_a", "function": "own_evaluated:at_site", "features": ["site"]},
    "recall_at_1",
    "step_accuracy",
    {"name": "precision", "function": "precision", "config": {"class_id": 0}},
    {"name": "own_f1", "function": "f1", "config": {"class_id": 0}},
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_evaluated.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


def evaluate(world, task, output, metrics, slices, names):
    spec = EvaluationSpec.model_validate({"metrics": metrics, "slices": slices})
    predict_and_evaluate(
        files=world.files,
        baseline=world.saved_model,
        candidates={name: world.tflite[name] for name in names},
        spec=spec,
        label="label",
        task=task,
        output=output,
    )
    return load_slices(output, [BASELINE, *names], [metric.name for metric in spec.metrics])


def test_functions_are_evaluated_like_all_metrics(world, task, own, tmp_path):
    slices = evaluate(world, task, tmp_path / "out", METRICS, [["site"]], ["int8"])
    for model, predictions in ((BASELINE, world.baseline(world.images)), ("int8", world.candidate("int8"))):
        found = predictions.argmax(axis=-1)
        assert [each.slice for each in slices[model]] == ["overall", "site=a", "site=b"]
        for each in slices[model]:
            chosen = np.ones(240, bool) if each.slice == "overall" else world.sites == each.slice[-1].encode()
            metrics = each.metrics
            # The values, intervals, and changes of TFMA's class.
            for same in ("own_accuracy", "step_accuracy"):
                assert metrics[same].model_dump() == pytest.approx(metrics["accuracy"].model_dump(), abs=1e-9)
                if model != BASELINE:
                    change = each.change["accuracy"].model_dump()
                    assert each.change[same].model_dump() == pytest.approx(change, abs=1e-9)
            f1 = f1_score(world.labels[chosen] == 0, found[chosen] == 0)
            assert metrics["f1"].value == pytest.approx(f1, abs=1e-9)
            assert metrics["f1"].lower < f1 < metrics["f1"].upper
            assert metrics["own_f1"].model_dump() == pytest.approx(metrics["f1"].model_dump(), abs=1e-9)
            precision = precision_score(world.labels[chosen] == 0, found[chosen] == 0)
            assert metrics["precision"].value == pytest.approx(precision, abs=1e-9)
            assert each.samples["precision"].terms[1].sum() == (found[chosen] == 0).sum()
            recall = recall_at_k(unit_vectors(predictions[chosen]), world.labels[chosen], 1)
            assert metrics["recall_at_1"].value == pytest.approx(recall, abs=1e-9)
            assert metrics["recall_at_1"].lower < recall < metrics["recall_at_1"].upper
            assert metrics["at_a"].value == pytest.approx((world.sites[chosen] == b"a").mean())


def test_functions_alone_need_no_other_metric(world, task, own, tmp_path):
    (overall,) = evaluate(world, task, tmp_path / "out", METRICS[1:2], [], [])[BASELINE]
    right = world.baseline(world.images).argmax(axis=-1) == world.labels
    assert overall.metrics["own_accuracy"].value == pytest.approx(right.mean())
    assert list(overall.metrics) == ["own_accuracy"]


def test_weights_multiply_means_and_ratios_of_sums(own):
    metrics = [MetricSpec(name="own", function="own_evaluated:right"), MetricSpec(name="auc", function="anomaly_auc")]
    outputs, targets = {"probabilities": np.eye(3)[:, :1]}, {"": np.array([0, 0, 1])}
    kept = FunctionValues(metrics, "label").of(outputs, targets, {}, np.array([3.0, 2, 1], np.float32))
    np.testing.assert_array_equal(np.stack(kept["own"]), [[3, 3], [2, 2], [0, 1]])
    assert [list(each) for each in kept["auc"]] == [[(0, 1, 3)], [(0, 0, 2)], [(1, 0, 1)]]


def test_output_chooses_predictions_and_targets():
    metric = MetricSpec(name="own", function="step_accuracy", output="steps")
    outputs, targets = {"steps": np.eye(2), "other": np.ones(2)}, {"steps": np.array([0, 0]), "more": np.ones(2)}
    kept = FunctionValues([metric], "label").of(outputs, targets, {}, None)
    np.testing.assert_array_equal(np.stack(kept["own"]), [[1, 1], [0, 1]])


def test_output_without_a_target_is_compared_with_a_feature():
    (metric,) = with_outputs(
        [MetricSpec(name="own", function="word_error_rate", output="text", config={"reference": "spoken"})],
        ["text", "other"],
        ["other"],
    )
    texts = [np.array(each, object) for each in ([b"a b", b"c"], [b"a", b"c"])]
    outputs, features = {"text": texts[0], "other": np.ones(2)}, {"spoken": texts[1]}
    kept = FunctionValues([metric], "label").of(outputs, {"other": np.ones(2)}, features, None)
    np.testing.assert_array_equal(np.stack(kept["own"]), [[1, 1], [0, 1]])
