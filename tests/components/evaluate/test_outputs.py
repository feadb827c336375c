import re

import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf

from components.core.errors import SpecError
from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.evaluate.means import per_example
from components.metrics.model_outputs import as_probabilities, read_outputs
from components.model.keras_model import export, loss_takes_logits, save_keras
from components.model.saved_model import final_operator, load_serving
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec
from tests.predicted import predict_and_evaluate

TASK = """
import tensorflow as tf

class Logits:
    def feature_spec(self):
        return {"logits": tf.io.FixedLenFeature([%d], tf.float32), "label": tf.io.FixedLenFeature([%s], tf.int64)}

    def decode(self, features):
        return {"logits": features["logits"]}

    def compile(self, model):
        model.compile(loss=tf.keras.losses.%s)

TASK = Logits()
"""


def softmax(values):
    powers = np.exp(values.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(values):
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def evaluated(folder, monkeypatch, logits, labels, spec, activation=None, loss="MeanSquaredError()"):
    """Figures of a model that returns its input, or an activation of it, and of its TFLite file; what it returns."""
    outputs, shape = logits.shape[1], "" if labels.ndim == 1 else str(labels.shape[1])
    module = f"outputs_task_{abs(hash(str(folder)))}"
    (folder / f"{module}.py").write_text(TASK % (outputs, shape, loss))
    monkeypatch.syspath_prepend(str(folder))
    model = tf.keras.Sequential(
        [
            tf.keras.Input([outputs], name="logits"),
            tf.keras.layers.Dense(outputs, activation, kernel_initializer="identity", name="dense"),
        ]
    )
    artifact = folder / "baseline"
    export(model, artifact)
    save_keras(model, artifact)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / "float32.tflite").write_bytes(converter.convert())
    with tf.io.TFRecordWriter(str(folder / "data.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for values, label in zip(logits, labels, strict=True):
            features = {
                "logits": tf.train.Feature(float_list=tf.train.FloatList(value=values)),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(label))),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    (found,) = predict_and_evaluate(
        files=[str(folder / "data.gz")],
        baseline=artifact / "Format-Serving",
        candidates={"float32": folder / "float32.tflite"},
        spec=EvaluationSpec.model_validate(spec),
        label="label",
        task=f"{module}:TASK",
        output=folder / "output",
    ).values()
    slices = load_slices(
        folder / "output", [BASELINE, "float32"], [m if isinstance(m, str) else m["name"] for m in spec["metrics"]]
    )
    return found, [{name: each.value for name, each in slices[model][0].metrics.items()} for model in slices]


ERRORS = ["mean_absolute_error", "mean_squared_error"]


def check_errors(figures, labels, scores):
    """Of probabilities, the labels as 0 and 1 for each output."""
    assert figures["mean_absolute_error"] == pytest.approx(sk.mean_absolute_error(labels, scores), rel=1e-5)
    assert figures["mean_squared_error"] == pytest.approx(sk.mean_squared_error(labels, scores), rel=1e-5)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_binary_metrics_equal_scikit_learn_on_logits_and_probabilities(tmp_path, monkeypatch, activation):
    random = np.random.default_rng(5)
    labels = random.integers(2, size=300)
    logits = (random.normal(size=300) * 2 + 2 * labels - 0.6)[:, None].astype(np.float32)
    cross = {"name": "cross", "class_name": "BinaryCrossentropy"}
    spec = {"metrics": ["binary_accuracy", "auc", cross, *ERRORS]}
    found, models = evaluated(tmp_path, monkeypatch, logits, labels, spec, activation)
    assert (found.kind, found.applied) == (("logits", "sigmoid") if activation is None else ("probabilities", ""))
    scores = sigmoid(logits[:, 0])
    for figures in models:
        assert figures["binary_accuracy"] == pytest.approx(sk.accuracy_score(labels, scores > 0.5), abs=1e-6)
        assert figures["auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-6)
        assert figures["cross"] == pytest.approx(sk.log_loss(labels, scores), rel=1e-4)
        check_errors(figures, labels, scores)


BINARY_METRICS = {
    "at zero": ("BinaryAccuracy", {"threshold": 0.0}),
    "at half": ("BinaryAccuracy", {"threshold": 0.5}),
    "entropy": ("BinaryCrossentropy", {}),
    "entropy of logits": ("BinaryCrossentropy", {"from_logits": True}),
}


@pytest.mark.parametrize(
    ("names", "scale", "activation", "declared"),
    [
        (["at half", "entropy of logits"], 0.1, None, None),
        (["at half", "entropy of logits"], 2.0, "sigmoid", None),
        (["at half", "entropy of logits"], 2.0, "sigmoid", "probabilities"),
        (["at zero", "entropy"], 2.0, None, None),
        (["at zero", "entropy of logits", "entropy"], 0.1, None, None),
        (["at zero", "at half"], 2.0, None, "logits"),
    ],
)
def test_thresholds_and_losses_of_logits_equal_scikit_learn(tmp_path, monkeypatch, names, scale, activation, declared):
    random = np.random.default_rng(11)
    labels = random.integers(2, size=300)
    # A small scale keeps all logits between 0 and 1, where they look like probabilities.
    logits = (random.normal(size=300) + labels - 0.3)[:, None] * scale
    logits = (np.clip(logits + 0.5, 0.01, 0.99) if scale < 1 else logits).astype(np.float32)
    metrics = [
        {"name": name.replace(" ", "_"), "class_name": BINARY_METRICS[name][0], "config": BINARY_METRICS[name][1]}
        for name in names
    ]
    spec = {"metrics": metrics, "outputs": declared}
    _, models = evaluated(tmp_path, monkeypatch, logits, labels, spec, activation)
    scores = sigmoid(logits[:, 0])
    accuracy, entropy = sk.accuracy_score(labels, scores > 0.5), sk.log_loss(labels, scores)
    for figures in models:
        for name in names:
            expected = accuracy if name.startswith("at") else entropy
            assert figures[name.replace(" ", "_")] == pytest.approx(expected, rel=1e-4), name


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_multi_class_metrics_equal_scikit_learn_on_logits_and_probabilities(tmp_path, monkeypatch, activation):
    random = np.random.default_rng(6)
    labels = random.integers(7, size=300)
    logits = (random.normal(size=(300, 7)) * 2 + 2 * np.eye(7)[labels]).astype(np.float32)
    spec = {"metrics": ["accuracy", "top_5_accuracy", "cross_entropy", "auc", "binary_accuracy", *ERRORS]}
    found, models = evaluated(tmp_path, monkeypatch, logits, labels, spec, activation)
    assert (found.kind, found.applied) == (("logits", "softmax") if activation is None else ("probabilities", ""))
    assert found.averages == (
        "auc is the mean of the areas of 7 classes, each against all others; classes that no example has do not count",
    )
    scores = softmax(logits)
    for figures in models:
        assert figures["accuracy"] == pytest.approx(sk.accuracy_score(labels, scores.argmax(axis=1)), abs=1e-6)
        assert figures["top_5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(labels, scores, k=5), abs=1e-6)
        assert figures["cross_entropy"] == pytest.approx(sk.log_loss(labels, scores), rel=1e-4)
        assert figures["auc"] == pytest.approx(sk.roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-6)
        each = (scores > 0.5) == np.eye(7)[labels]
        assert figures["binary_accuracy"] == pytest.approx(each.mean(), abs=1e-6)
        check_errors(figures, np.eye(7)[labels], scores)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_multi_label_metrics_equal_scikit_learn_on_logits_and_probabilities(tmp_path, monkeypatch, activation):
    random = np.random.default_rng(7)
    labels = random.integers(2, size=(300, 3))
    logits = (random.normal(size=(300, 3)) * 2 + 2 * labels - 0.6).astype(np.float32)
    spec = {"metrics": ["binary_accuracy", "auc", *ERRORS]}
    found, models = evaluated(tmp_path, monkeypatch, logits, labels, spec, activation)
    assert found.applied == ("sigmoid" if activation is None else "")
    assert found.averages == (
        "auc is the mean of the areas of 3 outputs; outputs whose labels are all equal do not count",
    )
    scores = sigmoid(logits)
    for figures in models:
        assert figures["binary_accuracy"] == pytest.approx(((scores > 0.5) == labels).mean(), abs=1e-6)
        assert figures["auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-6)
        check_errors(figures, labels, scores)


def test_loss_reports_logits_when_no_value_does(tmp_path, monkeypatch):
    random = np.random.default_rng(8)
    labels = random.integers(2, size=100)
    logits = random.uniform(0.1, 0.9, size=(100, 1)).astype(np.float32)
    loss = "BinaryCrossentropy(from_logits=True)"
    found, models = evaluated(tmp_path, monkeypatch, logits, labels, {"metrics": ["binary_accuracy"]}, None, loss)
    assert (found.kind, found.why) == ("logits", "the loss takes logits (from_logits=True)")
    assert models[0]["binary_accuracy"] == pytest.approx(labels.mean())


def test_regression_is_left_alone(tmp_path, monkeypatch):
    random = np.random.default_rng(9)
    labels = random.integers(10, size=100)
    values = (labels[:, None] + random.normal(size=(100, 1))).astype(np.float32)
    spec = {"metrics": ["mean_squared_error", "mean_absolute_error"]}
    found, models = evaluated(tmp_path, monkeypatch, values, labels, spec)
    assert (found.kind, found.applied) == ("values", "")
    for figures in models:
        assert figures["mean_squared_error"] == pytest.approx(sk.mean_squared_error(labels, values), rel=1e-5)
        assert figures["mean_absolute_error"] == pytest.approx(sk.mean_absolute_error(labels, values), rel=1e-5)


LIMITS = (
    ("SparseCategoricalAccuracy", (4, 3), (4, 3), "found: labels [4, 3], outputs [4, 3]"),
    ("BinaryCrossentropy", (4,), (4, 3), "found: labels [4], outputs [4, 3]"),
    ("SparseCategoricalCrossentropy", (4, 2), (4, 5), "expected: 1 label per example"),
)


@pytest.mark.parametrize(("name", "labels", "outputs", "found"), LIMITS)
def test_metric_that_does_not_fit_labels_and_outputs_is_refused(name, labels, outputs, found):
    """Keras takes the mean over all pairs of some of them."""
    metric = MetricSpec(name="m", class_name=name)
    with pytest.raises(SpecError, match=re.escape(found)):
        per_example(metric)(np.zeros(labels), np.full(outputs, 0.5))


COMPILES = {
    "exits": "sys.exit(0)",
    "raises": "raise ValueError('no')",
    "sparse": "model.compile(loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))",
    "own": "model.compile(loss=lambda a, b: tf.keras.losses.binary_crossentropy(a, b, from_logits=True))",
    "text": "model.compile(loss='binary_crossentropy')",
}


@pytest.mark.parametrize(
    ("case", "expected"), [("exits", None), ("raises", None), ("sparse", True), ("own", None), ("text", None)]
)
def test_loss_says_what_it_takes_and_an_exit_of_compile_is_an_error(tmp_path, monkeypatch, case, expected):
    body = TASK % (3, "", "MeanSquaredError()")
    body = body.replace("model.compile(loss=tf.keras.losses.MeanSquaredError())", COMPILES[case])
    (tmp_path / f"loss_task_{case}.py").write_text("import sys\n" + body)
    monkeypatch.syspath_prepend(str(tmp_path))
    save_keras(tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Dense(3)]), tmp_path)
    if case == "exits":
        with pytest.raises(SpecError, match=r"exits with SystemExit\(0\).*loss_task_exits.py, compile, line"):
            loss_takes_logits(f"loss_task_{case}:TASK", tmp_path)
        return
    assert loss_takes_logits(f"loss_task_{case}:TASK", tmp_path) is expected


def reading(
    predictions, labels, declared=None, final_operator="BiasAdd", metric="BinaryAccuracy", config=None, from_logits=None
):
    return read_outputs(
        declared=declared,
        final_operator=final_operator,
        from_logits=from_logits,
        predictions=np.asarray(predictions, np.float32),
        labels=np.asarray(labels),
        metrics=[MetricSpec(name="m", class_name=metric, config=config or {})],
    )


def test_outputs_are_what_the_pipeline_file_says():
    assert reading([[3.0]], [1], declared="probabilities").applied == ""
    assert reading([[3.0]], [1], declared="values").kind == "values"
    assert reading([[0.5]], [1], declared="logits").applied == "sigmoid"
    assert reading([[0.5, 0.5]], [1], declared="logits").applied == "softmax"
    assert reading([[3.0]], [1], config={"threshold": 0.0}).kind == "values"
    # One-hot labels are those of classes, but not for a metric of each output by itself.
    assert reading([[3.0, -1]], [[0, 1]], metric="AUC").applied == "softmax"
    assert reading([[3.0, -1]], [[1, 1]], metric="AUC").applied == "sigmoid"
    assert reading([[3.0, -1]], [[0, 1]], metric="BinaryAccuracy").applied == "sigmoid"
    # A loss that takes each output by itself says what labels that look one-hot are.
    assert reading([[3.0, -1]], [[0, 1]], metric="AUC", from_logits=True).applied == "softmax"
    assert reading([[3.0, -1]], [[0, 1]], metric="AUC", from_logits="sigmoid").applied == "sigmoid"
    assert reading([[3.0]], [1], metric="FalseNegatives").kind == "logits"
    assert reading([[3.0]], [1], metric="MeanAbsoluteError").kind == "values"
    assert reading([[0.5]], [1], metric="MeanAbsoluteError", from_logits=True).applied == "sigmoid"
    assert reading([[0.5, 0.5]], [1], metric="SparseCategoricalAccuracy").kind == "probabilities"
    assert (
        reading([[0.5, 0.9]], [1], metric="SparseCategoricalAccuracy").why == "outputs of 1 examples sum to 1.4 to 1.4"
    )


def test_probabilities_are_finite_at_both_ends():
    assert as_probabilities("sigmoid", np.array([[-1e4], [0], [1e4]])).ravel().tolist() == [0, 0.5, 1]
    assert as_probabilities("softmax", np.array([[1e4, -1e4]])).tolist() == [[1, 0]]


def test_probabilities_keep_the_order_of_large_logits():
    logits = np.linspace(-600, 36, 500, dtype=np.float32)[:, None]
    assert (np.diff(as_probabilities("sigmoid", logits, np.float64)[:, 0]) > 0).all()
    assert (np.diff(as_probabilities("softmax", np.hstack([logits, 0 * logits]), np.float64)[:, 0]) > 0).all()
    assert as_probabilities("sigmoid", np.float32([[-60]]), np.float64).item() == pytest.approx(np.exp(-60), rel=1e-12)


@pytest.mark.parametrize(
    ("activation", "operator"), [("softmax", "Softmax"), ("sigmoid", "Sigmoid"), (None, "BiasAdd")]
)
def test_final_operator_is_found_inside_functions(tmp_path, activation, operator):
    inputs = tf.keras.Input([4], name="x")
    export(tf.keras.Model(inputs, tf.keras.layers.Dense(3, activation)(inputs)), tmp_path)
    _, signature = load_serving(tmp_path / "Format-Serving")
    (output,) = signature.structured_outputs
    assert final_operator(signature, output) == operator
