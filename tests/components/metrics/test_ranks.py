import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from components.core.errors import DataError, SpecError
from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.metrics.ranks import exact_auc, macro_auc
from components.spec.evaluate import EvaluationSpec
from tests.predicted import predict_and_evaluate


@pytest.mark.parametrize("steps", [256, 8, 2**24], ids=["int8", "3 bits", "float"])
def test_auc_equals_scikit_learn_when_scores_tie(steps):
    random = np.random.default_rng(3)
    labels = random.integers(2, size=3000)
    # Of a rare, crowded range: where thresholds lump scores together.
    scores = np.round(random.beta(1 + labels, 9) * steps) / steps
    assert exact_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert exact_auc(labels, -50 * scores) == pytest.approx(roc_auc_score(labels, -scores), abs=1e-12)


def test_auc_of_weighted_examples_equals_scikit_learn():
    random = np.random.default_rng(6)
    labels, weights = random.integers(2, size=3000), random.integers(0, 5, size=3000) / 2
    scores = np.round(random.beta(1 + labels, 9) * 64) / 64
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert exact_auc(labels, scores, weights) == pytest.approx(expected, abs=1e-12)
    assert abs(exact_auc(labels, scores) - expected) > 1e-4
    numbers, wide = random.integers(3, size=600), random.random((600, 3))
    areas = [roc_auc_score(numbers == each, wide[:, each], sample_weight=weights[:600]) for each in range(3)]
    assert macro_auc(numbers, wide, weights[:600]) == pytest.approx(np.mean(areas), abs=1e-12)
    # Without any weight, there are no pairs.
    assert np.isnan(exact_auc(labels, scores, np.zeros(3000)))


def test_auc_is_unknown_when_a_class_is_missing():
    assert np.isnan(exact_auc(np.ones(4), np.arange(4)))
    with pytest.raises(DataError, match=r"a label is neither .*expected: 0 to 1; found: 2 and 0 more of 2"):
        exact_auc(np.array([0, 2]), np.zeros(2))
    with pytest.raises(DataError, match="1 of 2 predictions are NaN"):
        exact_auc(np.array([0, 1]), np.array([0.1, np.nan]))


def test_auc_of_classes_is_the_mean_of_each_against_all_others():
    random = np.random.default_rng(8)
    # Of unequal numbers of examples and scales of scores: what ranks all outputs together is far off.
    numbers = random.choice(4, size=600, p=[0.7, 0.2, 0.08, 0.02])
    scores = softmax(random.normal(size=(600, 4)) + 2 * np.eye(4)[numbers] + [-2, 1, 0, 3])
    expected = roc_auc_score(numbers, scores, multi_class="ovr")
    assert macro_auc(numbers, scores) == pytest.approx(expected, abs=1e-9)
    assert abs(roc_auc_score(np.eye(4)[numbers], scores, average="micro") - expected) > 0.01
    # One label per class is the same; so is one number per step of a sequence.
    assert macro_auc(np.eye(4)[numbers], scores) == pytest.approx(expected, abs=1e-9)
    assert macro_auc(numbers.reshape(60, 10), scores.reshape(60, 10, 4)) == pytest.approx(expected, abs=1e-9)


def test_auc_of_classes_leaves_out_those_without_examples():
    random = np.random.default_rng(9)
    numbers, scores = random.integers(3, size=200), random.random((200, 5))
    assert macro_auc(numbers, scores) == pytest.approx(
        np.mean([roc_auc_score(numbers == each, scores[:, each]) for each in range(3)]), abs=1e-12
    )
    assert np.isnan(macro_auc(np.ones(4), scores[:4]))
    with pytest.raises(DataError, match=r"not one of the model's .*expected: 0 to 4; found: 5 and 0 more of 200"):
        macro_auc(np.where(np.arange(200) == 7, 5, numbers), scores)
    with pytest.raises(SpecError, match=r"expected: 200 or 1000 labels; found: labels \[400\], outputs \[200, 5\]"):
        macro_auc(np.zeros(400), scores)


TASK = """
import tensorflow as tf

class Scores:
    def feature_spec(self):
        return {"score": tf.io.FixedLenFeature([%d], tf.float32), "label": tf.io.FixedLenFeature([%s], tf.int64)}

    def decode(self, features):
        return {"score": features["score"]}

TASK = Scores()
"""


def auc_of(folder, monkeypatch, scores, labels):
    """The evaluation's AUC of a model that returns its input."""
    outputs = scores.shape[1]
    shape = "" if labels.ndim == 1 else str(labels.shape[1])
    module = f"ranks_task_{outputs}_{shape or 'sparse'}"
    (folder / f"{module}.py").write_text(TASK % (outputs, shape))
    monkeypatch.syspath_prepend(str(folder))
    serve = tf.function(
        lambda score: {"same": tf.identity(score)},
        input_signature=[tf.TensorSpec([None, outputs], tf.float32, name="score")],
    )
    tf.saved_model.save(tf.Module(), str(folder / "model"), signatures={"serving_default": serve})
    with tf.io.TFRecordWriter(str(folder / "data.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for score, label in zip(scores, labels, strict=True):
            features = {
                "score": tf.train.Feature(float_list=tf.train.FloatList(value=score)),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(label))),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    predict_and_evaluate(
        files=[str(folder / "data.gz")],
        baseline=folder / "model",
        candidates={},
        spec=EvaluationSpec.model_validate({"metrics": ["auc"]}),
        label="label",
        task=f"{module}:TASK",
        output=folder / "output",
    )
    (overall,) = load_slices(folder / "output", [BASELINE], ["auc"])[BASELINE]
    return overall.metrics["auc"]


def softmax(values):
    powers = np.exp(values)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", ["binary", "logits", "two outputs", "multi-class", "multi-label"])
def test_evaluation_has_the_auc_of_scikit_learn(tmp_path, monkeypatch, kind):
    random = np.random.default_rng(4)
    if kind == "binary":
        labels = random.integers(2, size=400)
        scores = np.round(random.beta(1 + labels, 9) * 256)[:, None].astype(np.float32) / 256
        expected = roc_auc_score(labels, scores[:, 0])
    elif kind == "logits":
        # float32 has no number between their sigmoids and 1.
        labels = random.integers(2, size=400)
        scores = (18 + 2 * random.normal(size=400) + labels)[:, None].astype(np.float32)
        expected = roc_auc_score(labels, scores[:, 0])
    elif kind == "two outputs":
        labels = random.integers(2, size=400)
        scores = softmax(random.normal(size=(400, 2)) + np.eye(2)[labels])
        expected = roc_auc_score(labels, scores[:, 1])
    elif kind == "multi-class":
        labels = random.integers(3, size=400)
        scores = softmax(random.normal(size=(400, 3)) + np.eye(3)[labels])
        expected = roc_auc_score(labels, scores, multi_class="ovr")
    else:
        labels = random.integers(2, size=(400, 3))
        scores = random.beta(1 + labels, 3).astype(np.float32)
        expected = roc_auc_score(labels, scores)
    auc = auc_of(tmp_path, monkeypatch, scores, labels)
    assert auc.value == pytest.approx(expected, abs=1e-9)
    assert auc.lower < auc.value < auc.upper
