import math

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from scipy import stats
from sklearn.metrics import roc_auc_score

from components.core.errors import DataError, SpecError
from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import run_evaluation
from components.evaluate.means import mean_metrics, per_example
from components.metrics.jackknife_error import standard_error
from components.predict.models import FloatPredictor, TFLitePredictor
from components.predict.store import StoredPredictions
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec
from tests.predicted import predict_and_evaluate, reports

SPEC = EvaluationSpec.model_validate(
    {"metrics": ["cross_entropy", "accuracy"], "slices": [["label"], ["label", "site"]]}
)
NAMES = ("float32", "int8", "int16")


def run(world, task, output, spec=SPEC, names=NAMES, **changes):
    arguments = {
        "files": world.files,
        "baseline": world.saved_model,
        "candidates": {name: world.tflite[name] for name in names},
        "spec": spec,
        "label": "label",
        "task": task,
        "output": output,
    }
    predict_and_evaluate(**{**arguments, **changes})
    return load_slices(output, [BASELINE, *names], [metric.name for metric in spec.metrics])


@pytest.fixture(scope="module")
def evaluated(world, task, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluated")
    return output, run(world, task, output)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_equal_the_oracle_bit_for_bit_when_run_in_batches(world, name):
    (predictions,) = TFLitePredictor(world.tflite[name].read_bytes())({"image": world.images}).values()
    assert predictions.dtype == np.float32
    np.testing.assert_array_equal(predictions, world.candidate(name))
    # The images go beyond what int8 and int16 were calibrated for, so clipping is part of it.
    assert world.images.min() < -0.4
    assert world.images.max() > 1.4


def test_metrics_and_counts_equal_the_oracle_when_sliced(world, evaluated):
    predictions = {BASELINE: world.baseline(world.images), **{name: world.candidate(name) for name in NAMES}}
    for model, slices in evaluated[1].items():
        names = [each.slice for each in slices]
        assert names[:5] == ["overall", "label=0", "label=1", "label=2", "label=3"]
        assert names[5:] == [f"label={label}, site={site}" for label in range(4) for site in "ab"]
        for each in slices:
            assert list(each.metrics) == [metric.name for metric in SPEC.metrics]
            chosen = np.ones(240, bool)
            for part in each.slice.split(", ") if each.slice != "overall" else ():
                feature, value = part.split("=")
                chosen &= world.labels == int(value) if feature == "label" else world.sites == value.encode()
            assert each.examples == chosen.sum()
            rows = predictions[model][chosen].astype(np.float64)
            right = rows.argmax(axis=1) == world.labels[chosen]
            assert each.metrics["accuracy"].value == pytest.approx(right.mean(), abs=1e-9)
            likelihood = np.clip(rows, 1e-7, 1 - 1e-7)
            likelihood = (likelihood / likelihood.sum(axis=1, keepdims=True))[
                np.arange(len(rows)), world.labels[chosen]
            ]
            assert each.metrics["cross_entropy"].value == pytest.approx(-np.log(likelihood).mean(), rel=1e-3)
    accuracies = {model: slices[0].metrics["accuracy"].value for model, slices in evaluated[1].items()}
    assert 0.6 < accuracies[BASELINE] < 0.99, "else this test says little"
    assert len({slices[0].metrics["cross_entropy"].value for slices in evaluated[1].values()}) >= 3


def test_change_is_candidate_minus_baseline_when_there_are_candidates(evaluated):
    slices = evaluated[1]
    assert all(each.change == {} for each in slices[BASELINE])
    changed = 0
    for name in NAMES:
        for mine, base in zip(slices[name], slices[BASELINE], strict=True):
            for metric in ("accuracy", "cross_entropy"):
                expected = mine.metrics[metric].value - base.metrics[metric].value
                assert mine.change[metric].value == pytest.approx(expected, abs=1e-12)
                changed += abs(expected) > 1e-6
    assert changed > 20


def test_interval_contains_its_estimate_when_there_is_one(world, evaluated):
    for slices in evaluated[1].values():
        for each in slices:
            for value in (*each.metrics.values(), *each.change.values()):
                assert value.lower <= value.value <= value.upper
    overall = evaluated[1]["int8"][0]
    accuracy = overall.metrics["accuracy"]
    binomial = math.sqrt(accuracy.value * (1 - accuracy.value) / 240)
    assert 0.6 < (accuracy.upper - accuracy.lower) / (2 * 2.09 * binomial) < 1.5
    # Both models mostly err on the same examples, so pairs show the change better than two independent samples would.
    baseline, change = evaluated[1][BASELINE][0].metrics["accuracy"], overall.change["accuracy"]
    assert change.upper - change.lower < 0.9 * math.hypot(
        accuracy.upper - accuracy.lower, baseline.upper - baseline.lower
    )


def test_output_is_read_by_stock_tfma_when_evaluated(evaluated):
    output, slices = evaluated
    result = tfma.load_eval_result(str(output), model_name="int8")
    assert result.config.options.compute_confidence_intervals.value
    assert sorted(spec.name for spec in result.config.model_specs) == sorted([BASELINE, *NAMES])
    by_slice = dict(result.slicing_metrics)
    assert len(by_slice) == 13
    overall = by_slice[()][""][""]
    assert overall["accuracy"]["boundedValue"]["value"] == slices["int8"][0].metrics["accuracy"].value
    assert overall["accuracy_diff"]["boundedValue"]["value"] == slices["int8"][0].change["accuracy"].value
    assert overall["example_count"] == {"doubleValue": 240.0}
    assert len(list(tfma.load_metrics(str(output)))) == 13


def test_slices_are_the_same_when_batches_and_files_are_others(world, task, evaluated, tmp_path):
    spec = SPEC.model_copy(update={"batch_size": 37})
    again = run(world, task, tmp_path, spec, names=("int8",), files=world.files[::-1])
    for mine, other in zip(again["int8"], evaluated[1]["int8"], strict=True):
        assert mine.slice == other.slice
        assert mine.metrics["accuracy"].value == pytest.approx(other.metrics["accuracy"].value, abs=1e-12)
        assert mine.metrics["accuracy"].lower == pytest.approx(other.metrics["accuracy"].lower, abs=1e-9)


def test_metrics_of_tfma_are_computed_when_the_task_is_binary(world, task, tmp_path):
    spec = EvaluationSpec.model_validate({"metrics": ["auc", "binary_accuracy", "mean_squared_error"]})
    slices = run(world, task, tmp_path, spec, ("binary",), baseline=world.binary_model, label="positive")
    (found,) = FloatPredictor(world.binary_model)({"image": world.images}).values()
    scores = found[:, 0].astype(np.float64)
    truth = world.labels >= 2
    (overall,) = slices[BASELINE]
    assert overall.metrics["binary_accuracy"].value == pytest.approx(((scores > 0.5) == truth).mean(), abs=1e-6)
    assert overall.metrics["mean_squared_error"].value == pytest.approx(((scores - truth) ** 2).mean(), rel=1e-4)
    (candidate,) = slices["binary"]
    (found,) = TFLitePredictor(world.tflite["binary"].read_bytes())({"image": world.images}).values()
    integer = found[:, 0]
    for found, ranked in ((overall, scores), (candidate, integer)):
        assert found.metrics["auc"].value == pytest.approx(roc_auc_score(truth, ranked), abs=1e-9)
    for name in ("auc", "binary_accuracy", "mean_squared_error"):
        value, change = candidate.metrics[name], candidate.change[name]
        assert value.lower < value.value < value.upper
        assert change.value == pytest.approx(value.value - overall.metrics[name].value, abs=1e-9)


def test_baseline_is_evaluated_when_no_candidate_is_left(world, task, tmp_path):
    slices = run(world, task, tmp_path, EvaluationSpec(), names=())
    (overall,) = slices[BASELINE]
    right = world.baseline(world.images).argmax(axis=1) == world.labels
    assert (overall.examples, overall.metrics["accuracy"].value) == (240, pytest.approx(right.mean()))


MEANS = (
    ("SparseCategoricalAccuracy", {}),
    ("SparseTopKCategoricalAccuracy", {"k": 2}),
    ("SparseCategoricalCrossentropy", {"from_logits": True}),
    ("CategoricalAccuracy", {}),
    ("Hinge", {}),
    ("LogCoshError", {}),
    ("BinaryAccuracy", {"threshold": 0.4}),
    ("MeanAbsoluteError", {}),
    ("MeanSquaredError", {}),
    ("MeanAbsolutePercentageError", {}),
    ("MeanSquaredLogarithmicError", {}),
)


@pytest.mark.parametrize(("kind", "config"), MEANS)
def test_mean_metrics_equal_keras_when_averaged(kind, config):
    import tf_keras

    random = np.random.default_rng(6)
    predictions = random.uniform(size=(50, 4)).astype(np.float32)
    labels = random.integers(4, size=50) if kind.startswith("Sparse") else np.eye(4)[random.integers(4, size=50)]
    metric = MetricSpec(name="m", class_name=kind, config=config)
    assert mean_metrics([metric]) == (metric,)
    keras = getattr(tf_keras.metrics, kind)(**config)
    keras.update_state(labels[:, None] if labels.ndim == 1 else labels, predictions)
    values = per_example(metric)(labels, predictions)
    assert values.shape == (50,)
    assert values.mean() == pytest.approx(keras.result().numpy(), rel=1e-5)


def test_mean_metrics_leave_metrics_to_tfma_when_they_are_no_means():
    classes = ("AUC", "BalancedAccuracy", "CosineSimilarity", "F1Score", "NoSuchMetric", "Mean")
    metrics = [MetricSpec(name=f"m{i}", class_name=kind) for i, kind in enumerate(classes)]
    metrics.append(MetricSpec(name="of one class", class_name="BinaryAccuracy", config={"class_id": 1}))
    assert [metric.class_name for metric in mean_metrics(metrics)] == ["CosineSimilarity"]


def row(**changes):
    return {"image": np.zeros(64), "label": 1, "positive": 0.0, "site": b"a", **changes}


WITHOUT_IMAGE = {name: value for name, value in row().items() if name != "image"}
BROKEN = (
    ([row(), WITHOUT_IMAGE], "does not have the features that the task declares"),
    ([row(image=np.full(64, np.nan)), row()], "model input 'image': 64 decoded values are NaN"),
    ([row(), row(label=4)], r"a label is not one of the model's classes .*expected: 0 to 3; found: 4 and 0 more of 2"),
    ([row(label=-1)], "a label is not one of the model's classes"),
)


def test_sparse_metric_names_the_binary_one_when_the_model_has_one_output():
    accuracy = per_example(MetricSpec(name="accuracy", class_name="SparseCategoricalAccuracy"))
    for predictions in (np.zeros((2, 1)), np.zeros(2)):
        with pytest.raises(DataError, match=r"expected: 0 to 0; found: 1 .*Remedy: use the metric `binary_accuracy`"):
            accuracy(np.array([0, 1]), predictions)


@pytest.mark.parametrize(("rows", "message"), BROKEN)
def test_evaluation_refuses_when_an_example_is_broken(world, task, write_examples, tmp_path, rows, message):
    files = [write_examples(tmp_path / "examples.gz", rows)]
    with pytest.raises(DataError, match=message):
        run(world, task, tmp_path / "output", names=("int8",), files=files)


def test_evaluation_refuses_when_a_file_is_truncated(world, task, write_examples, tmp_path):
    path = tmp_path / "examples.gz"
    write_examples(path, [row(image=image) for image in np.random.default_rng(8).random((20, 64))])
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DataError, match=r"examples.gz: the TFRecord file is truncated or damaged"):
        run(world, task, tmp_path / "output", names=("int8",), files=[str(path)])


UNKNOWN = (
    ({"metrics": [{"name": "m", "class_name": "NoSuchMetric"}]}, "label", "rejects a metric: .*NoSuchMetric"),
    ({"metrics": [{"name": "m", "class_name": "SparseTopKCategoricalAccuracy", "config": {"q": 1}}]}, "label", "'q'"),
    ({"metrics": ["accuracy", "accuracy"]}, "label", "the metric name 'accuracy' is used twice"),
    ({"metrics": ["accuracy"], "slices": [["town"]]}, "label", "no dense feature 'town' .*found: no such feature"),
    (
        {"metrics": ["accuracy"], "group_by": "clip"},
        "label",
        "evaluate.group_by: the task has no dense feature 'clip' .*found: no such feature",
    ),
    ({"metrics": ["accuracy"]}, "notes", "label: the task has no dense feature 'notes' .*found: VarLenFeature"),
)


@pytest.mark.parametrize(("spec", "label", "message"), UNKNOWN)
def test_evaluation_refuses_before_it_reads_when_the_spec_is_wrong(world, task, tmp_path, spec, label, message):
    spec = EvaluationSpec.model_validate(spec)
    with pytest.raises(SpecError, match=message):
        run_evaluation(
            files=["no such file"],
            baseline=world.saved_model,
            predictions={name: StoredPredictions((), world.tflite.get, "") for name in (BASELINE, "int8")},
            spec=spec,
            label=label,
            task=task,
            output=tmp_path,
        )


@pytest.mark.parametrize(("batch", "sizes"), [(None, [256, 256, 88]), (1, [1] * 600)], ids=["open batch", "batch of 1"])
def test_saved_model_is_run_in_parts_when_there_are_many_examples(tmp_path, batch, sizes):
    import tensorflow as tf

    seen = []

    def serve(image):
        size = tf.numpy_function(lambda rows: seen.append(len(rows)) or np.float32(len(rows)), [image], tf.float32)
        return {"doubled": image * 2.0 + 0.0 * size}

    module = tf.Module()
    spec = tf.TensorSpec([batch, 4], tf.float32, name="image")
    module.serve = tf.function(serve, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    images = np.random.default_rng(9).random((600, 4), np.float32)
    (found,) = FloatPredictor(tmp_path)({"": images}).values()
    np.testing.assert_array_equal(found, images * 2)
    assert seen == sizes


def test_flips_are_counted_by_slice_when_answers_are_right_or_wrong(world, evaluated):
    base = world.baseline(world.images).argmax(axis=1) == world.labels
    for name in NAMES:
        right = world.candidate(name).argmax(axis=1) == world.labels
        for each in evaluated[1][name]:
            chosen = np.ones(240, bool)
            for part in each.slice.split(", ") if each.slice != "overall" else ():
                feature, value = part.split("=")
                chosen &= world.labels == int(value) if feature == "label" else world.sites == value.encode()
            lost, gained = (base & ~right & chosen).sum(), (right & ~base & chosen).sum()
            # Cross entropy is neither right nor wrong.
            assert {key: value.model_dump() for key, value in each.flips.items()} == {
                "accuracy": {"lost": lost, "gained": gained}
            }
            assert sum(each.parts) == each.examples
    assert any(each.flips["accuracy"].lost for each in evaluated[1]["int8"]), "else this test says little"
    assert all(each.flips == {} for each in evaluated[1][BASELINE])


def test_interval_follows_from_values_without_each_part_when_a_slice_has_several(evaluated):
    checked = 0
    for base, mine in zip(evaluated[1][BASELINE], evaluated[1]["int8"], strict=True):
        for metric, change in mine.change.items():
            deleted = np.subtract(mine.without[metric], base.without[metric])
            error = standard_error(change.value, deleted, mine.parts)
            half = stats.t.ppf(0.975, len(mine.parts) - 1) * error
            assert (change.lower, change.upper) == pytest.approx((change.value - half, change.value + half), abs=1e-12)
            checked += half > 0
    assert checked > 10


def test_whole_groups_are_left_out_when_examples_are_grouped(world, task, tmp_path):
    spec = EvaluationSpec.model_validate({"metrics": ["accuracy"], "slices": [["site"]], "group_by": "label"})
    slices = run(world, task, tmp_path, spec, names=("int8",))
    right = {
        BASELINE: world.baseline(world.images).argmax(axis=1) == world.labels,
        "int8": world.candidate("int8").argmax(axis=1) == world.labels,
    }
    for model, results in slices.items():
        for each in results:
            chosen = np.ones(240, bool) if each.slice == "overall" else world.sites == each.slice[-1:].encode()
            assert each.groups == 4
            parts = {
                int((chosen & (world.labels == label)).sum()): right[model][chosen & (world.labels != label)].mean()
                for label in range(4)
            }
            assert dict(zip(each.parts, each.without["accuracy"], strict=True)) == pytest.approx(parts, abs=1e-12)
            value = each.metrics["accuracy"]
            half = stats.t.ppf(0.975, 3) * standard_error(
                value.value, each.without["accuracy"], each.parts, grouped=True
            )
            assert (value.lower, value.upper) == pytest.approx((value.value - half, value.value + half), abs=1e-12)


def test_figures_are_the_same_if_only_classes_are_stored_and_metrics_of_scores_are_refused(world, task, tmp_path):
    candidates = {"int8": world.tflite["int8"]}

    def evaluation(name, metrics, bound=None):
        spec = EvaluationSpec.model_validate({"metrics": metrics, "slices": [["label"]], "batch_size": 50})
        if bound is not None:
            spec = spec.model_copy(update={"max_prediction_bytes": bound})
        files = {"files": world.files, "baseline": world.saved_model, "candidates": candidates}
        predict_and_evaluate(**files, spec=spec, label="label", task=task, output=tmp_path / name)
        return load_slices(tmp_path / name, [BASELINE, "int8"], ["accuracy"])

    whole = evaluation("whole", ["accuracy"])
    # The scores of the candidate take as little as classes, because they have 8 bits.
    bound = reports(tmp_path / "whole")[BASELINE].stored_bytes - 1
    assert evaluation("classes", ["accuracy"], bound) == whole
    stored = {name: one.stored_bytes for name, one in reports(tmp_path / "classes").items()}
    assert stored[BASELINE] < bound
    with pytest.raises(SpecError, match=r"a metric reads the scores of the output 'probabilities'"):
        evaluation("scores", ["accuracy", "cross_entropy"], bound)
