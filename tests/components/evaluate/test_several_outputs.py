"""Several outputs, `postprocess`, example weights, and ranges that do not share a scale, against NumPy."""

import importlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from components.convert.tensorflow.converter import convert
from components.core.errors import DataError, SpecError
from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.evaluate.outputs.unequal import unequal_ranges
from components.model.keras_model import export
from components.model.tflite_runtime import TFLiteModel
from components.predict.saturation import scales_of
from components.spec.evaluate import EvaluationSpec
from components.spec.scheme import StaticWi8Ai8
from pipelines.report.wording import unequal
from tests.predicted import predict_and_evaluate, reports
from tests.two_outputs import POSTPROCESS, WEIGHTS, TwoOutputs, shifted, with_methods

COUNT = 120
KINDS = {"name": "kinds", "class_name": "SparseCategoricalAccuracy", "output": "kind"}
ERROR = {"name": "error", "class_name": "MeanAbsoluteError", "output": "shift"}
# Not a mean over examples, so TFMA computes it.
SQUARED = {"name": "squared", "class_name": "RootMeanSquaredError", "output": "shift"}
AUC = {"name": "auc", "class_name": "AUC", "output": "kind"}


@dataclass(frozen=True)
class World:
    """A model of random weights with its int8 file, examples, and what both predict."""

    folder: Path
    files: list[str]
    task: str
    predictions: dict[str, dict[str, Any]]
    labels: Any
    shifts: Any
    weights: Any

    def evaluate(self, task: str, metrics: list[Any], output: Path) -> dict[str, Any]:
        predict_and_evaluate(
            files=self.files,
            baseline=self.folder / "Format-Serving",
            candidates={"int8": self.folder / "int8.tflite"},
            spec=EvaluationSpec.model_validate({"metrics": metrics, "slices": [["label"]], "batch_size": 50}),
            label="label",
            task=task,
            output=output,
        )
        return load_slices(output, [BASELINE, "int8"], [metric["name"] for metric in metrics])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("several")
    small = TwoOutputs(folder)
    file = small.write_split("zipped", COUNT, 2, shifted, zipped=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        task = importlib.import_module(small.spec["task"].partition(":")[0]).TASK
    tf.keras.utils.set_random_seed(4)
    model = task.build_model()
    export(model, folder)
    records = tf.data.TFRecordDataset([str(file)], compression_type="GZIP").batch(COUNT).get_single_element()
    features = tf.io.parse_example(records, task.feature_spec())
    inputs = {name: values.numpy() for name, values in task.decode(features).items()}

    def sample() -> Any:
        for place in range(COUNT):
            yield {name: values[place : place + 1] for name, values in inputs.items()}

    content = convert(folder / "Format-Serving", StaticWi8Ai8(), sample)
    (folder / "int8.tflite").write_bytes(content)
    named = dict(zip(("kind", "shift"), model([inputs["left"], inputs["right"]]), strict=True))
    return World(
        folder=folder,
        files=[str(file)],
        task=small.spec["task"],
        predictions={
            BASELINE: {name: values.numpy() for name, values in named.items()},
            "int8": TFLiteModel(content).predict(inputs),
        },
        labels=features["label"].numpy(),
        shifts=features["shift"].numpy(),
        weights=features["weight"].numpy(),
    )


def with_more(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *methods: str) -> str:
    (folder / f"{name}.py").write_text(with_methods(*methods))
    monkeypatch.syspath_prepend(str(folder))
    return f"{name}:TASK"


def values_of(world: World, model: str, hundredfold: bool) -> tuple[Any, Any]:
    """Whether each example's class is right, and the error of its number."""
    kind, shift = (world.predictions[model][name] for name in ("kind", "shift"))
    return kind.argmax(axis=1) == world.labels, (100 if hundredfold else 1) * shift[:, 0] - world.shifts


def test_metrics_read_their_outputs_in_every_slice(world: World, tmp_path: Path) -> None:
    slices = world.evaluate(world.task, [KINDS, ERROR, SQUARED, AUC], tmp_path / "out")
    for model in (BASELINE, "int8"):
        right, errors = values_of(world, model, hundredfold=False)
        for each in slices[model]:
            chosen = np.ones(COUNT, bool) if each.slice == "overall" else world.labels == int(each.slice[-1])
            assert each.examples == chosen.sum()
            assert each.metrics["kinds"].value == pytest.approx(right[chosen].mean(), abs=1e-6)
            assert each.metrics["error"].value == pytest.approx(np.abs(errors[chosen]).mean(), abs=1e-6)
            assert each.metrics["squared"].value == pytest.approx(np.sqrt((errors[chosen] ** 2).mean()), abs=1e-6)
        scores = world.predictions[model]["kind"]
        areas = [roc_auc_score(world.labels == kind, scores[:, kind]) for kind in range(3)]
        assert slices[model][0].metrics["auc"].value == pytest.approx(np.mean(areas), abs=1e-6)
    assert slices["int8"][0].change["error"].lower is not None


def test_postprocess_and_weights_are_the_same_for_all_models(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = with_more(world, tmp_path, monkeypatch, "weighted_task", POSTPROCESS, WEIGHTS)
    slices = world.evaluate(task, [KINDS, ERROR, SQUARED, AUC], tmp_path / "out")
    for model in (BASELINE, "int8"):
        scores = world.predictions[model]["kind"]
        areas = [roc_auc_score(world.labels == kind, scores[:, kind], sample_weight=world.weights) for kind in range(3)]
        assert slices[model][0].metrics["auc"].value == pytest.approx(np.mean(areas), abs=1e-6)
        right, errors = values_of(world, model, hundredfold=True)
        metrics = slices[model][0].metrics
        assert metrics["kinds"].value == pytest.approx(np.average(right, weights=world.weights), abs=1e-6)
        assert metrics["kinds"].value != pytest.approx(right.mean(), abs=1e-6)
        assert metrics["error"].value == pytest.approx(np.average(np.abs(errors), weights=world.weights), rel=1e-6)
        squared = np.sqrt(np.average(errors**2, weights=world.weights))
        assert metrics["squared"].value == pytest.approx(squared, rel=1e-6)


NAN_SOMEWHERE = """
    def postprocess(self, outputs):
        shift = outputs["shift"].copy()
        shift[shift == shift.max()] = float("nan")
        return {**outputs, "shift": shift}
"""


def test_predictions_that_are_nan_are_no_figures(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = with_more(world, tmp_path, monkeypatch, "nan_task", NAN_SOMEWHERE)
    with pytest.raises(DataError, match=r"output 'shift' of float-baseline: 1 of 50 predictions are NaN"):
        world.evaluate(task, [KINDS, ERROR], tmp_path / "out")
    # Nothing reads it.
    world.evaluate(task, [KINDS], tmp_path / "out")


def weighted_recall(vectors: Any, kinds: Any, weights: Any) -> float:
    """The weighted share of examples whose nearest other has the same class."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    hit = kinds[similar.argmax(axis=1)] == kinds
    return float(np.average(hit, weights=weights))


def test_weights_and_intervals_of_metrics_that_keep_examples(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = with_more(world, tmp_path, monkeypatch, "keeping_task", WEIGHTS)
    recall = {"name": "recall", "function": "recall_at_k", "output": "kind"}
    slices = world.evaluate(task, [recall], tmp_path / "out")
    records = tf.data.TFRecordDataset(world.files, compression_type="GZIP").as_numpy_iterator()
    parts = np.array([zlib.crc32(record) % 20 for record in records])
    for model in (BASELINE, "int8"):
        # int8 outputs tie.
        vectors = world.predictions[model]["kind"].astype(np.float64)
        found = slices[model][0].metrics["recall"]
        if model == BASELINE:
            whole = weighted_recall(vectors, world.labels, world.weights)
            assert found.value == pytest.approx(whole, abs=1e-9)
            assert found.value != pytest.approx(weighted_recall(vectors, world.labels, np.ones(COUNT)), abs=1e-3)
            # The delete-m jackknife of Busing, Meijer & van der Leeden 1999.
            there, sizes = np.unique(parts, return_counts=True)
            left = [(parts != part) for part in there]
            without = np.array([weighted_recall(vectors[o], world.labels[o], world.weights[o]) for o in left])
            ratios = COUNT / sizes
            estimate = len(there) * whole - ((1 - 1 / ratios) * without).sum()
            pseudo = ratios * whole - (ratios - 1) * without
            error = np.sqrt(((pseudo - estimate) ** 2 / (ratios - 1)).mean())
            width = 2 * student.ppf(0.975, len(there) - 1) * error
            assert found.upper - found.lower == pytest.approx(width, rel=1e-6)
        assert found.lower < found.value < found.upper


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({**AUC, "class_name": "ModelCosineSimilarity"}, r"rejects a metric: .*example"),
        ({**AUC, "class_name": "SemanticSegmentationTruePositive"}, "TFMA's SemanticSegm.* counts every example once"),
        (
            {"name": "own", "function": "never_weighed:Count"},
            r"'own' \(never_weighed:Count\) counts every example once",
        ),
    ],
)
def test_metric_without_weights_is_refused_when_the_task_weighs_examples(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: dict[str, Any], message: str
) -> None:
    task = with_more(world, tmp_path, monkeypatch, "unweighted_task", WEIGHTS)
    (tmp_path / "never_weighed.py").write_text(
        "class Count:\n"
        "    def create(self): return 0\n"
        "    def add(self, count, predictions, targets): return count + 1\n"
        "    def merge(self, count, other): return count + other\n"
        "    def result(self, count): return count\n"
    )
    with pytest.raises(SpecError, match=message):
        world.evaluate(task, [metric], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_saturation_is_counted_for_each_output(world: World, tmp_path: Path) -> None:
    world.evaluate(world.task, [KINDS], tmp_path / "out")
    saturated = reports(tmp_path / "out")["int8"].saturated
    # The softmax has its own range, and the number that of all these examples.
    assert set(saturated) == {"shift"}
    assert 0 < saturated["shift"] < 0.05


JOINED = """
import tensorflow as tf

class Task:
    def feature_spec(self):
        return {"x": tf.io.FixedLenFeature([4], tf.float32), "label": tf.io.FixedLenFeature([6], tf.float32)}

    def decode(self, features):
        return {"x": features["x"]}

TASK = Task()
"""


def test_boxes_and_scores_in_one_output_are_reported_with_cause_and_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, [64, 4]).astype(np.float32)
    taken = tf.keras.Input([4], name="x")
    boxes, scores = taken * 300.0, tf.keras.layers.Dense(2, "sigmoid", kernel_initializer="ones")(taken)
    model = tf.keras.Model(taken, tf.keras.layers.Concatenate(name="found")([boxes, scores]))
    export(model, tmp_path)
    content = convert(tmp_path / "Format-Serving", StaticWi8Ai8(), lambda: ({"x": row[None]} for row in x))
    (tmp_path / "int8.tflite").write_bytes(content)
    (tmp_path / "joined_task.py").write_text(JOINED)
    monkeypatch.syspath_prepend(str(tmp_path))
    values = model(x).numpy()
    with tf.io.TFRecordWriter(str(tmp_path / "data.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row, label in zip(x, values, strict=True):
            features = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=row)),
                "label": tf.train.Feature(float_list=tf.train.FloatList(value=label)),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    predict_and_evaluate(
        files=[str(tmp_path / "data.gz")],
        baseline=tmp_path / "Format-Serving",
        candidates={"int8": tmp_path / "int8.tflite"},
        spec=EvaluationSpec.model_validate({"metrics": ["mean_absolute_error"]}),
        label="label",
        task="joined_task:TASK",
        output=tmp_path / "out",
    )
    # All scores become one integer.
    assert len(np.unique(TFLiteModel(content).predict({"x": x})["found"][:, 4:])) <= 2
    (fact,) = unequal_ranges(scales_of(content), reports(tmp_path / "out")[BASELINE].axis_ranges)
    assert (fact.output, fact.axis, fact.channels) == ("found", 1, (4, 5))
    assert fact.step == pytest.approx(300 / 255, rel=0.05)
    assert fact.steps < 1
    assert (fact.low, fact.high) == pytest.approx((values[:, 4:].min(), values[:, 4:].max()))
    said = unequal(fact)
    assert "The output 'found' has one scale, and one of its steps is 1.1" in said
    assert f"channels 4, 5 of axis 1 reach only from {fact.low:.4g} to {fact.high:.4g}: 0." in said
    assert "Return values of such different ranges (such as boxes and scores) as separate outputs" in said
