"""Users' metrics: functions and accumulators, and what is reported when they are wrong."""

import numpy as np
import pytest

from components.core.errors import DataError, SpecError
from components.metrics.functions import CLASSES, check_function, load_metric, total
from components.spec.metric import READY_MADE, SHORT_NAMES, MetricSpec

OWN = """
import sys
import numpy as np

def errors(predictions, targets, times=1):
    return times * np.abs(predictions["y"] - targets["y"])

def weighted(predictions, targets, features):
    return features["weight"] * np.abs(predictions["y"] - targets["y"])[:, None]

def mean(predictions, targets):
    return errors(predictions, targets).mean()

def short(predictions, targets):
    return errors(predictions, targets)[1:]

def text(predictions, targets):
    return np.array(["a"] * 4)

def nothing(predictions, targets):
    return None

def unknown(predictions, targets):
    return np.where(np.arange(4) == 2, np.nan, 1.0)

def fails(predictions, targets):
    return predictions["x"]

def exits(predictions, targets):
    sys.exit(3)

def changes(predictions, targets):
    predictions["y"] *= 2
    return predictions["y"]

class Ratio:
    def __init__(self, scale=1):
        self.scale = scale

    def create(self):
        return [0.0, 0.0]

    def add(self, sums, predictions, targets):
        return self.merge(sums, [self.scale * np.abs(predictions["y"] - targets["y"]).sum(), targets["y"].sum()])

    def merge(self, sums, other):
        return [a + b for a, b in zip(sums, other)]

    def result(self, sums):
        return sums[0] / sums[1] if sums[1] else float("nan")

class Weighed(Ratio):
    def add(self, sums, predictions, targets, weights):
        errors = weights * np.abs(predictions["y"] - targets["y"])
        return self.merge(sums, [errors.sum(), (weights * targets["y"]).sum()])

class Greatest(Ratio):
    def add(self, sums, predictions, targets, features):
        return [max(sums[0], float(features["weight"].max())), 0.0]

    def merge(self, sums, other):
        other[0] += 1
        return [max(sums[0], other[0]), 0.0]

    def result(self, sums):
        return sums[0]

class Texts(Ratio):
    def result(self, sums):
        return "0.5"

class Half:
    def create(self):
        return 0

    def add(self, sums, predictions, targets):
        return sums

HALF = Half()
RATIO = Ratio(10)
"""

PREDICTIONS, TARGETS = {"y": np.array([1.0, 2, 3, 4])}, {"y": np.array([1.0, 1, 1, 2])}
FEATURES = {"weight": np.array([[1.0], [2], [3], [4]])}


@pytest.fixture(autouse=True)
def _own(tmp_path, monkeypatch):
    (tmp_path / "own_metric.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "own_metric", raising=False)


def own(name, **given):
    return MetricSpec(name="mine", function=f"own_metric:{name}", **given)


def value(metric):
    computed = load_metric(metric)
    return total(computed, computed.examples(PREDICTIONS, TARGETS, FEATURES))


def test_function_is_averaged_over_examples() -> None:
    assert value(own("errors")) == pytest.approx((0 + 1 + 2 + 2) / 4)
    assert value(own("errors", config={"times": 2})) == pytest.approx(5 / 2)
    assert value(own("weighted", features=["weight"])) == pytest.approx((0 + 2 + 6 + 8) / 4)


def test_accumulator_is_a_ratio_of_sums() -> None:
    assert value(own("Ratio")) == pytest.approx(5 / 5)
    assert value(own("Ratio", config={"scale": 3})) == pytest.approx(3)
    assert value(own("RATIO")) == pytest.approx(10)
    computed = load_metric(own("Ratio"))
    assert np.isnan(total(computed, []))


WEIGHTS = np.array([3, 0, 1, 0.5], np.float32)


def weighed(metric):
    computed = load_metric(metric)
    return total(computed, computed.examples(PREDICTIONS, TARGETS, FEATURES, WEIGHTS))


def test_weights_multiply_what_each_example_adds() -> None:
    # Errors 0, 1, 2, 2.
    assert weighed(own("errors")) == pytest.approx((0 + 0 + 2 + 1) / 4.5)
    assert weighed(own("Weighed")) == pytest.approx((0 + 0 + 2 + 1) / (3 + 0 + 1 + 1))
    # Without weights, all count once.
    assert value(own("Weighed")) == pytest.approx(5 / 5)


@pytest.mark.parametrize("name", ["recall_at_1", "anomaly_auc", "coco_map", "mean_iou", "character_error_rate"])
def test_every_kind_of_ready_made_metric_weighs_examples(name) -> None:
    targets, weights = np.array([0, 0, 1, 1]), np.array([2.0, 0, 1, 1])
    boxes = np.array([[[0.0, 0, 1, 1]]] * 4)
    predictions, targets = {
        "recall_at_1": ({"y": np.eye(2)[[0, 1, 1, 0]]}, {"y": targets}),
        "anomaly_auc": ({"y": np.array([0.1, 0.9, 0.2, 0.8])}, {"y": targets}),
        "coco_map": (
            {"boxes": boxes, "scores": np.full((4, 1), 0.5), "classes": np.array([[0], [1], [0], [0]])},
            {"boxes": boxes, "classes": np.zeros((4, 1), int)},
        ),
        "mean_iou": ({"y": np.eye(2)[[[0], [1], [1], [0]]]}, {"y": targets[:, None]}),
        "character_error_rate": (
            {"y": np.array([b"a", b"xyz", b"c", b"x"], object)},
            {"y": np.array([b"a", b"b", b"c", b"d"], object)},
        ),
    }[name]
    computed = load_metric(MetricSpec(name="m", **SHORT_NAMES[name]))
    assert computed.weighable
    # An example that counts twice is there twice, except among the neighbors of others; one that counts 0 times isn't.
    rows = [0, 2, 3] if name == "recall_at_1" else [0, 0, 2, 3]
    kept = computed.examples(
        *({key: each[rows] for key, each in named.items()} for named in (predictions, targets)), {}
    )
    expected = total(computed, kept)
    found = total(computed, computed.examples(predictions, targets, {}, weights))
    assert found == pytest.approx(expected)
    assert found != pytest.approx(total(computed, computed.examples(predictions, targets, {})))


def test_accumulator_without_weights_is_refused_if_examples_have_them() -> None:
    assert not load_metric(own("Ratio")).weighable
    message = (
        r"the task weights examples, but the metric 'mine' \(own_metric:Ratio\) counts every example once .*`weights`"
    )
    for check in (
        lambda: weighed(own("Ratio")),
        lambda: check_function(own("Ratio"), PREDICTIONS, TARGETS, {}, WEIGHTS),
    ):
        with pytest.raises(SpecError, match=message):
            check()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean", r"does not return one number per example .*finite numbers \[4\], .*found: float64 1.25"),
        ("short", r"does not return one number per example .*shape \[3\] and type float64"),
        ("text", r"does not return one number per example .*shape \[4\] and type <U1"),
        ("nothing", r"does not return one number per example .*found: NoneType None"),
        ("unknown", r"returns nan for 1 of 4 examples .*found: nan for example 2 of a batch"),
        (
            "fails",
            r"predictions y \[4\]: KeyError: 'x' .*output name -> array.*found: .*own_metric.py, fails",
        ),
        ("exits", r"user code exits with SystemExit\(3\)"),
        ("changes", r"fails with predictions y \[4\]: ValueError: output array is read-only"),
        ("Texts", r"does not return a number .*from result\(\).*found: '0.5'"),
        (
            "Greatest",
            r"fails with predictions y \[4\]: TypeError: .*missing 1 required positional argument",
        ),
        ("HALF", r"is neither a function nor an accumulator: it lacks merge, result .*found: own_metric:HALF: Half"),
    ],
)
def test_error_names_metric_and_function_and_what_was_expected(name, message) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        check_function(own(name), PREDICTIONS, TARGETS, FEATURES)
    said = str(caught.value)
    assert said.startswith("evaluate.metrics: the metric 'mine' ")
    assert f"own_metric:{name}" in said
    assert "Remedy: " in said


def test_config_that_is_not_accepted_is_reported_before_examples_are_read() -> None:
    for name in ("errors", "Ratio"):
        with pytest.raises(SpecError, match=r"'mine' \(own_metric:.*fails with its config: TypeError: .*'tims'"):
            load_metric(own(name, config={"tims": 2}))
    with pytest.raises(SpecError, match=r"'mine' \(mean_iou\) fails with its config: TypeError: .*'tims'"):
        load_metric(MetricSpec(name="mine", function="mean_iou", config={"tims": 2}))
    with pytest.raises(SpecError, match=r"evaluate.metrics: metric: the metric 'own_metric:no' cannot be imported"):
        load_metric(own("no"))


def test_merge_that_changes_its_second_argument_is_reported() -> None:
    with pytest.raises(SpecError, match=r"Greatest\) has a different value when the same .*do not change the second"):
        check_function(own("Greatest", features=["weight"]), PREDICTIONS, TARGETS, FEATURES)


def test_error_of_a_ready_made_metric_names_it() -> None:
    metric = MetricSpec(name="mine", function="step_accuracy")
    with pytest.raises(DataError, match=r"the metric 'mine' \(step_accuracy\): a label is not one of"):
        check_function(metric, {"y": np.zeros((2, 3, 2))}, {"y": np.full((2, 3), 5)}, {})
    with pytest.raises(SpecError, match=r"the metric 'mine' \(step_accuracy\): this metric compares one output"):
        check_function(metric, {"y": np.zeros((2, 3, 2)), "z": np.zeros(2)}, {"y": np.zeros((2, 3))}, {})


def test_ready_made_functions_are_known_to_the_pipeline_file() -> None:
    assert set(CLASSES) == set(READY_MADE)
    short = {name: MetricSpec(name=name, **given) for name, given in SHORT_NAMES.items() if "function" in given}
    for metric in short.values():
        assert load_metric(metric).create() is not None
        assert metric.less_is_better is READY_MADE[metric.function].less_is_better
        assert metric.range == READY_MADE[metric.function].range
    assert {metric.function for metric in short.values()} == set(READY_MADE)
    assert {name for name, metric in short.items() if metric.less_is_better} == {
        "word_error_rate",
        "character_error_rate",
        "keypoint_error",
    }


def test_features_of_ready_made_functions_come_from_their_config() -> None:
    assert MetricSpec(name="m", function="step_accuracy", config={"mask": "valid"}).features == ("valid",)
    assert MetricSpec(name="m", function="word_error_rate", config={"reference": "text"}).features == ("text",)
    assert MetricSpec(name="m", function="mean_iou").features == ()
