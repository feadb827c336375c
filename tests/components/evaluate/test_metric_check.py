"""Metrics that can be computed are never refused, whatever the first labels happen to be."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from components.core.errors import SpecError
from components.evaluate.eval_config import metric_config
from components.evaluate.evaluation import probability_type
from components.evaluate.means import mean_metrics
from components.evaluate.metric_check import check_computed
from components.metrics.bound_checks import MEANS
from components.spec.metric import SHORT_NAMES, MetricSpec

OF_CLASSES = ("accuracy", "top_5_accuracy", "cross_entropy", "auc")
OF_OUTPUTS = ("binary_accuracy", "auc", "mean_absolute_error", "mean_squared_error")
# Classes of TFMA and Keras that a class number and an output for each class, or one label and one output, go with.
OTHERS = (
    *("BalancedAccuracy", "Calibration", "CalibrationPlot", "ConfusionMatrixPlot"),
    *("ExampleCount", "F1Score", "MatthewsCorrelationCoefficient", "MeanLabel", "MeanPrediction", "Precision"),
    *("Recall", "Specificity", "WeightedExampleCount"),
)


@pytest.mark.parametrize("labels", [np.zeros(4, np.int64), np.arange(4) % 2], ids=["one class", "two classes"])
def test_metrics_that_go_with_labels_and_outputs_are_computed(labels: np.ndarray) -> None:
    short = {name: MetricSpec(name=name, **given) for name, given in SHORT_NAMES.items()}
    others = [MetricSpec(name=name.lower(), class_name=name) for name in OTHERS]
    of_classes = [
        MetricSpec(name="one", class_name="MultiClassConfusionMatrixPlot"),
        *(MetricSpec(name=name, class_name=name, config={"class_id": 6}) for name in ("AUC", "AUCPrecisionRecall")),
    ]
    check_computed([*(short[name] for name in OF_CLASSES), *others, *of_classes], labels, np.full((4, 7), 1 / 7))
    area = MetricSpec(name="area", class_name="AUCPrecisionRecall")
    check_computed([area], np.eye(7)[labels], np.full((4, 7), 1 / 7))
    others.append(area)
    regression = [MetricSpec(name=name, class_name=name) for name in ("R2Score", "SquaredPearsonCorrelation")]
    for outputs in (np.full((4, 1), 0.5), np.full(4, 0.5)):
        check_computed([*(short[name] for name in OF_OUTPUTS), *others, *regression], labels, outputs)


def test_classes_that_a_gate_can_test_are_those_that_are_means_over_examples() -> None:
    names = {*MEANS, *OTHERS, *(name for name in vars(tf_keras.metrics) if name[0].isupper())}
    names.remove("MeanMetricWrapper")  # their base class
    assert {one.class_name for one in mean_metrics([MetricSpec(name=name, class_name=name) for name in names])} == MEANS


def test_metric_that_fails_is_named_with_its_config_and_shapes() -> None:
    metric = MetricSpec(name="mine", class_name="Precision", config={"class_id": 3})
    with pytest.raises(SpecError, match=r"'mine' .*found: {'class_id': 3}, labels \[4\], outputs \[4, 3\]"):
        check_computed([metric], np.zeros(4), np.full((4, 3), 1 / 3))


@pytest.mark.parametrize(
    ("class_name", "config"),
    [("AUC", {"num_thresholds": 200}), ("AUC", {"curve": "PR"}), ("AUCPrecisionRecall", {})],
)
@pytest.mark.parametrize("classes", [2, 5])
def test_area_that_ranks_classes_among_each_other_is_refused(class_name, config, classes) -> None:
    metric = MetricSpec(name="area", class_name=class_name, config=config)
    with pytest.raises(SpecError) as caught:
        check_computed([metric], np.zeros(4, np.int64), np.full((4, classes), 1 / classes))
    said = str(caught.value)
    assert "the metric 'area' ranks the outputs of all classes together" in said
    assert f"write `config: {{class_id: {classes - 1}}}`" in said
    assert "or use `auc`" in said


@tf.keras.utils.register_keras_serializable("fix")
class MaxMiss(tf.keras.metrics.Metric):
    """The largest difference between a label and its output."""

    def __init__(self, name: str = "max_miss", dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.most = self.add_weight("most", initializer="zeros")

    def update_state(self, labels: object, outputs: object, sample_weight: object = None) -> None:
        self.most.assign(tf.maximum(self.most, tf.reduce_max(tf.abs(labels - outputs))))

    def result(self) -> object:
        return self.most


@pytest.mark.parametrize("class_name", ["fix>MaxMiss", "MaxMiss"])
def test_metric_class_that_user_code_registers_is_found_with_and_without_its_package(class_name: str) -> None:
    metric = MetricSpec(name="miss", class_name=class_name, less_is_better=True)
    assert metric_config(metric).class_name == "fix>MaxMiss"
    check_computed([metric], np.zeros(4, np.float32), np.ones((4, 1), np.float32))


def test_probabilities_are_wide_for_ranks_unless_a_class_of_the_user_reads_them() -> None:
    auc = MetricSpec(name="auc", class_name="AUC", output="y")
    miss = MetricSpec(name="miss", class_name="MaxMiss", output="y", less_is_better=True)
    accuracy = MetricSpec(name="accuracy", class_name="BinaryAccuracy", output="y")
    function = MetricSpec(name="own", function="nowhere.own:distance", output="y", less_is_better=True)
    for metrics in ([auc, accuracy], [auc, function]):
        assert probability_type(metrics, "y") is np.float64
    for metrics, output in (([auc, miss], "y"), ([accuracy], "y"), ([auc], "z")):
        assert probability_type(metrics, output) is np.float32


def test_metric_class_of_two_packages_must_be_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tf.keras.utils.get_custom_objects(), "other>MaxMiss", MaxMiss)
    assert metric_config(MetricSpec(name="miss", class_name="MaxMiss")).class_name == "MaxMiss"
    assert metric_config(MetricSpec(name="miss", class_name="fix>MaxMiss")).class_name == "fix>MaxMiss"
