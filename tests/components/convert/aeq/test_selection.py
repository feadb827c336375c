"""Which layers stay float: the search by itself, and on a model with one layer that eight bits cannot hold."""

import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf

from components.convert.aeq.layers import float_tensors_of, matching, read_graph
from components.convert.aeq.metric import keras_metric, score, scorer
from components.convert.aeq.recover import recover
from components.convert.aeq.selection import UnmetBoundError, fewest_float, relative_error
from components.convert.checks.scheme_check import scheme_violations
from components.convert.representative import Sample
from components.convert.tensorflow.converter import convert
from components.core.errors import SpecError
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.convert import AccuracyBound
from components.spec.ranges import AutoKeepFloat, KeepLayersFloat
from components.spec.scheme import Float32, StaticWi8Ai8, StaticWi8Ai16

AUTO = StaticWi8Ai8(keep_float=AutoKeepFloat())


@pytest.fixture(scope="module")
def hard(save):
    """A float file of three dense layers; the weights of the second have one huge column for an input that is 0."""
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input([12], name="x"),
            layers.Dense(16, "relu", name="first"),
            layers.Dense(16, "relu", name="hard"),
            layers.Dense(4, name="last"),
        ],
        name="net",
    )
    kernel, bias = (value.numpy() for value in model.get_layer("first").weights)
    kernel[:, 0], bias[0] = 0.0, -1.0
    model.get_layer("first").set_weights([kernel, bias])
    kernel, bias = (value.numpy() for value in model.get_layer("hard").weights)
    kernel[0] = 300.0
    model.get_layer("hard").set_weights([kernel, bias])
    spec = tf.TensorSpec([None, 12], name="x")
    return convert(save(lambda x: {"logits": model(x)}, spec, variables=model.variables), Float32(), None)


@pytest.fixture(scope="module")
def sample(hard):
    values = np.random.default_rng(4).normal(size=(300, 12)).astype(np.float32)
    # What the float model says is right: it scores 1.0.
    return Sample({"x": values}, TFLiteModel(hard).predict({"x": values})["logits"].argmax(axis=1))


def bound(max_drop, **other):
    metric = {"metric": "accuracy", "class_name": "SparseCategoricalAccuracy", "less_is_better": False, "label": "y"}
    return AccuracyBound.model_validate({**metric, "max_drop": max_drop, **other})


def accuracy(content, sample):
    return float(np.mean(TFLiteModel(content).predict(sample.inputs)["logits"].argmax(axis=1) == sample.labels))


def test_layers_are_called_by_their_paths(hard):
    graph = read_graph(hard)
    assert [layer.name for layer in graph.layers] == ["net/first", "net/hard", "logits"]
    assert [[one.kind for one in layer.operators] for layer in graph.layers] == [["FULLY_CONNECTED"]] * 3


def test_what_only_moves_values_belongs_to_the_layer_before_it(convnet):
    graph = read_graph(convert(convnet.saved_model, Float32(), None))
    kinds = [[one.kind for one in layer.operators] for layer in graph.layers]
    assert kinds == [["CONV_2D", "RESHAPE"], ["FULLY_CONNECTED"]]


def test_weights_of_the_sample_decide_which_layers_stay_float(hard, sample):
    # Where the examples that int8 gets wrong count nothing, no layer has to stay float.
    made = recover(hard, AUTO, sample, bound(1.0)).content
    right = TFLiteModel(made).predict(sample.inputs)["logits"].argmax(axis=1) == sample.labels
    assert 0 < right.sum() < len(right)
    weighted = Sample(sample.inputs, sample.labels, right.astype(np.float32))
    assert recover(hard, AUTO, weighted, bound(0.0)).search.drops == (0.0,)
    # Without weights, one layer has to: see the next test.


def test_hard_layer_alone_is_most_sensitive_and_kept(hard, sample):
    made = recover(hard, AUTO, sample, bound(0.02))
    assert made.sensitivity[0].layer == "net/hard"
    errors = {one.layer: one.error for one in made.sensitivity}
    assert errors["net/hard"] > 100 * max(errors["net/first"], errors["logits"])
    assert made.sensitivity[0].decibels < 10
    assert made.sensitivity[1].decibels > 25
    assert [one.kept_float for one in made.sensitivity] == [True, False, False]
    # All integer it fails, with one layer float it holds: not one more is kept.
    assert made.search.drops[0] > 0.2
    assert made.search.drops[1] <= 0.02
    assert len(made.search.drops) == 2
    assert (made.search.float_value, made.search.examples) == (1.0, 300)
    assert made.search.drops[-1] == pytest.approx(1 - accuracy(made.content, sample))
    inspection = inspect_model(made.content)
    assert {use.name: use.count for use in inspection.operators}["FULLY_CONNECTED"] == 3
    assert sorted(weight.dtype for weight in inspection.weights if len(weight.shape) == 2) == [
        "FLOAT32",
        "INT8",
        "INT8",
    ]
    assert scheme_violations(AUTO, inspection, made.kept_tensors) == []


def test_sensitivity_is_what_a_file_with_only_that_layer_in_integers_shows(hard, sample):
    made = recover(hard, StaticWi8Ai8(keep_float=KeepLayersFloat(names=("net/first",))), sample)
    others = KeepLayersFloat(names=("net/hard", "logits"))
    only_first = recover(hard, StaticWi8Ai8(keep_float=others, float_io=True), sample).content
    first = {name: values[:128] for name, values in sample.inputs.items()}
    expected, found = (TFLiteModel(content).predict(first)["logits"].astype(float) for content in (hard, only_first))
    by_hand = ((found - expected) ** 2).sum() / (expected**2).sum()
    assert {one.layer: one.error for one in made.sensitivity}["net/first"] == pytest.approx(by_hand, rel=1e-6)


def test_nothing_is_kept_when_the_bound_is_wide(hard, sample):
    made = recover(hard, AUTO, sample, bound(1.0))
    assert not any(one.kept_float for one in made.sensitivity)
    assert len(made.search.drops) == 1
    assert inspect_model(made.content).integer_only


def test_sixteen_bit_activations_keep_the_hard_layer_too(hard, sample):
    scheme = StaticWi8Ai16(keep_float=AutoKeepFloat())
    made = recover(hard, scheme, sample, bound(0.02))
    assert [one.layer for one in made.sensitivity if one.kept_float] == ["net/hard"]
    assert scheme_violations(scheme, inspect_model(made.content), made.kept_tensors) == []


def test_bound_that_nothing_meets_is_reported_with_figures(hard, sample):
    # Integers at the border alone are further from the float model than nothing at all.
    exact = Sample(sample.inputs, TFLiteModel(hard).predict(sample.inputs)["logits"])
    mean_squared = bound(0.0, class_name="MeanSquaredError", metric="mse", less_is_better=True)
    with pytest.raises(
        UnmetBoundError, match=r"at most 0 worse; found: [0-9.e-]+ worse with 3 of 3 layers float.*max_"
    ):
        recover(hard, AUTO, exact, mean_squared)


def test_patterns_match_by_shell_rules_and_unknown_ones_name_the_nearest(hard):
    layers = read_graph(hard).layers
    assert [layer.name for layer in matching(layers, ["net/*", "logits"])] == ["net/first", "net/hard", "logits"]
    with pytest.raises(
        SpecError, match=r"no layer of the model matches 'net/hrad'.*net/first.*Remedy: name 'net/hard'"
    ):
        matching(layers, ["logits", "net/hrad"])


def values_of(*values):
    return lambda kept: values[kept]


FACTS = {"metric": "m", "examples": 9, "float_value": 0.9}


@pytest.mark.parametrize(
    ("values", "less", "max_drop", "drops"),
    [
        ((0.9, 0.0), False, 0.0, [0.0]),
        ((0.7, 0.6, 0.85, 0.9), False, 0.05, [0.2, 0.3, 0.05]),
        ((0.89, 0.8), False, 0.01, [0.01]),  # met exactly, but for rounding
        ((1.2, 1.0, 0.5), True, 0.1, [0.3, 0.1]),
        ((0.5,), True, 0.0, [-0.4]),
    ],
)
def test_search_ends_at_the_first_number_that_holds(values, less, max_drop, drops):
    found = fewest_float(len(values) - 1, values_of(*values), max_drop=max_drop, less_is_better=less, **FACTS)
    assert found.drops == pytest.approx(tuple(drops))


def test_search_reports_the_best_when_none_passes():
    with pytest.raises(UnmetBoundError, match=r"found: 0.1 worse with 1 of 2 layers float"):
        fewest_float(2, values_of(0.2, 0.8, float("nan")), max_drop=0.01, less_is_better=False, **FACTS)


def test_relative_error_is_noise_over_signal():
    assert relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(0.01)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0.0
    assert relative_error(np.zeros(2), np.ones(2)) == 1.0


def test_metric_is_that_of_keras():
    labels, outputs = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], np.float32)
    assert score("SparseCategoricalAccuracy", {}, labels, outputs) == 0.75
    assert score("BinaryAccuracy", {}, labels, outputs[:, 1:]) == 0.75
    assert score("AUC", {"num_thresholds": 200}, labels, outputs[:, 1]) == pytest.approx(0.75, abs=0.01)
    assert score("AUC", {}, labels, outputs[:, 1:]) == 0.75
    expected = np.mean(-np.log([0.9, 0.8, 0.3, 0.6]))
    assert score("SparseCategoricalCrossentropy", {}, labels, outputs) == pytest.approx(expected, rel=1e-5)


def test_metric_of_several_classes_is_that_of_the_evaluation():
    random = np.random.default_rng(1)
    labels = random.integers(4, size=300)
    outputs = random.dirichlet(np.ones(4), size=300).astype(np.float32)
    outputs = (outputs + np.eye(4, dtype=np.float32)[labels] / 4) / 1.25
    right = np.eye(4)[labels]
    expected = sk.roc_auc_score(labels, outputs, multi_class="ovr")
    assert score("AUC", {}, labels, outputs) == pytest.approx(expected, abs=1e-6)
    # Keras would compare each output with the number of the class.
    assert score("BinaryAccuracy", {}, labels, outputs) == pytest.approx(((outputs > 0.5) == right).mean(), abs=1e-6)
    assert score("MeanSquaredError", {}, labels, outputs) == pytest.approx(((outputs - right) ** 2).mean(), rel=1e-5)
    expected = sk.precision_score(right.ravel(), (outputs > 0.5).ravel())
    assert score("Precision", {}, labels, outputs) == pytest.approx(expected, abs=1e-6)
    assert score("SparseCategoricalAccuracy", {}, labels, outputs) == pytest.approx(
        (outputs.argmax(axis=1) == labels).mean(), abs=1e-6
    )


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        ("MeanLabel", {}, "needs a Keras metric.*found: MeanLabel"),
        ("AUC", {"thresolds": 3}, "rejects its config: .*thresolds"),
    ],
)
def test_metric_is_refused_when_keras_does_not_know_it(class_name, config, message):
    with pytest.raises(SpecError, match=message):
        keras_metric(class_name, config)


def test_float_tensors_of_a_layer_are_all_it_touches(hard):
    layer = read_graph(hard).layers[1]
    assert layer.operators[0].outputs[0] in float_tensors_of([layer])
    assert layer.operators[0].inputs[0] in float_tensors_of([layer])


@pytest.mark.parametrize(("from_logits", "outputs"), [(None, None), (True, None), (None, "logits")])
@pytest.mark.parametrize(("name", "expected"), [("BinaryAccuracy", 0.75), ("BinaryCrossentropy", 0.4107)])
def test_metric_of_logits_is_that_of_their_probabilities(hard, from_logits, outputs, name, expected):
    logits, labels = np.float32([[0.3], [-2], [3], [-0.4]]), np.int64([1, 0, 1, 1])
    said = {"metric": "m", "class_name": name, "less_is_better": False, "max_drop": 0.1, "label": "y"}
    bound = AccuracyBound.model_validate({**said, "outputs": outputs})
    compute = scorer(bound, labels, logits, "FULLY_CONNECTED", from_logits)
    assert compute(logits) == pytest.approx(expected, abs=1e-4)
    # What ends in a sigmoid is taken as it is.
    sigmoid = 1 / (1 + np.exp(-logits))
    taken = scorer(bound.model_copy(update={"outputs": None}), labels, sigmoid, "LOGISTIC", from_logits)
    assert taken(sigmoid) == pytest.approx(expected, abs=1e-4)


def test_area_of_large_logits_keeps_their_order():
    # float32 has no number between their sigmoids and 1.
    logits, labels = np.float32([[30], [31], [32], [33]]), np.int64([0, 1, 0, 1])
    bound = AccuracyBound(metric="m", class_name="AUC", less_is_better=False, max_drop=0.1, label="y")
    assert scorer(bound, labels, logits, "FULLY_CONNECTED", True)(logits) == 0.75


def test_final_operator_of_logits_is_the_last_layer(hard):
    assert read_graph(hard).final_kind() == "FULLY_CONNECTED"
