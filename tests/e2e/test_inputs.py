"""Complete runs on each kind of data and each source of a baseline."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from components.core.files import sha256_of
from components.facts.conversion import Converted
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e

TABLE_TASK = """
import tensorflow as tf

NAMES = ("a", "b", "c", "d")

class Task:
    def feature_spec(self):
        return {**{name: tf.io.FixedLenFeature([], tf.float32) for name in NAMES},
                "label": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features):
        return tf.stack([features[name] for name in NAMES], axis=1)

    def build_model(self):
        layers = tf.keras.layers
        return tf.keras.Sequential([layers.Input([4], name="numbers"), layers.Dense(64, activation="relu"),
                                    layers.Dense(64, activation="relu"), layers.Dense(2, activation="softmax")])

    def compile(self, model):
        model.compile(tf.keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])

TASK = Task()

def preprocessing_fn(inputs):
    import tensorflow_transform as tft
    def dense(tensor):
        return tf.reshape(tensor, [-1]) if isinstance(tensor, tf.Tensor) else tf.squeeze(tf.sparse.to_dense(tensor), 1)
    outputs = {name: tft.scale_to_z_score(dense(inputs[name])) for name in NAMES}
    return {**outputs, "label": dense(inputs["label"])}
"""


def rows(count: int = 400) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(4)
    columns = {name: generator.normal(100.0, 20.0, count).astype(np.float32) for name in "abcd"}
    return {**columns, "label": (columns["a"] + columns["b"] > columns["c"] + columns["d"]).astype(np.int64)}


def table_pipeline(folder: Path) -> SmallPipeline:
    small = SmallPipeline(folder, TABLE_TASK)
    for file in (folder / "data").iterdir():
        file.unlink()
    small.spec["examples"].update(num_classes=2, splits={"kind": "hashed", "buckets": {"train": 3, "eval": 1}})
    small.spec["evaluate"] = {"metrics": ["accuracy", "cross_entropy"]}
    small.spec["gate"]["metrics"] = [{"name": "accuracy", "at_least": 0.3, "max_drop_from_baseline": 0.1}]
    return small


def examples_evaluated(ran: Ran) -> int:
    assert ran.summary is not None
    assert ran.summary.evaluation is not None
    return ran.summary.evaluation.baseline_slices[0].examples


def test_csv_with_hashed_splits_and_preprocessing_runs(tmp_path: Path) -> None:
    small = table_pipeline(tmp_path)
    columns = rows()
    with (tmp_path / "data" / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    small.spec["examples"]["kind"] = "csv"
    small.spec["preprocess"] = small.spec["task"].replace(":TASK", ":preprocessing_fn")
    small.spec["baseline"]["epochs"] = 20
    small.spec["gate"]["metrics"][0]["at_least"] = 0.85
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.OK, ran.output
    assert ran.states()["transform"] == "complete"
    assert 70 <= examples_evaluated(ran) <= 130


def test_parquet_with_pretrained_saved_model_runs_and_notices_a_changed_model(tmp_path: Path) -> None:
    small = table_pipeline(tmp_path)
    pyarrow.parquet.write_table(pa.table(rows()), tmp_path / "data" / "rows.parquet")
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(2)
    model = tf.keras.Sequential(
        [layers.Input([4], name="numbers"), layers.Dense(64, "relu"), layers.Dense(2, "softmax", name="scores")]
    )
    model.export(str(tmp_path / "exported"))
    small.spec["examples"]["kind"] = "parquet"
    small.spec["baseline"] = {"kind": "pretrained", "path": "exported"}
    # Nothing needs calibration here, so the section may be left out; nor is any recipe float32.
    del small.spec["calibrate"]
    small.spec["recipes"] = [{"name": "half", "scheme": "float16"}]
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.OK, ran.output
    assert "calibrate" not in ran.states()
    assert ran.states()["convert__float_reference"] == "complete"
    candidate = ran.summary.evaluation.candidates[0]
    assert candidate.slices[0].change["accuracy"].value == 0.0
    # A function without layers can be explained, too.
    assert [(one.recipe, one.unavailable) for one in ran.summary.explanations] == [("half", "")]
    lineage = CliRunner().invoke(app, ["lineage", str(ran.summary.releases[0].path), "--root", str(ran.root), "--json"])
    assert f'"sha256":"{sha256_of(tmp_path / "exported")}"' in lineage.output.replace(": ", ":")
    assert f'"rows.parquet":"sha256 {sha256_of(tmp_path / "data" / "rows.parquet")}"' in lineage.output.replace(
        ": ", ":"
    )

    model.layers[0].kernel.assign(model.layers[0].kernel * 2.0)
    model.save(tmp_path / "model.keras")
    small.spec["baseline"]["path"] = "model.keras"
    again = Ran(small.write(), "small")
    assert again.code == ExitCode.OK, again.output
    assert again.executed() == {
        "baseline",
        "convert__half",
        "convert__float_reference",
        "predict__baseline",
        "predict__half",
        "latency__half",
        "explain__half",
        "evaluate",
        "changes__half",
        "gate__phone_cpu",
        "push__phone_cpu",
    }


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallPipeline, Ran]:
    """A run on a float TFLite file, whose recipes with steps are skipped."""
    small = SmallPipeline(tmp_path_factory.mktemp("float_file"))
    generator = np.random.default_rng(7)
    labels = np.arange(600) % 3
    images = (generator.normal(0.2, 0.05, [600, 4, 4, 1]) + 0.3 * labels[:, None, None, None]).astype(np.float32)
    tf.keras.utils.set_random_seed(5)
    layers = tf.keras.layers
    inner = [layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(64, "relu")]
    model = tf.keras.Sequential([layers.Input([4, 4, 1], name="image"), *inner, layers.Dense(3, "softmax")])
    model.compile(tf.keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=8, verbose=0)
    (small.folder / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.tflite"}
    schemes = {"float32": "float32", "half": "float16", "dynamic": "dynamic_wi8_afp32", "int8": "static_wi8_ai8"}
    small.spec["recipes"] = [{"name": name, "scheme": scheme} for name, scheme in schemes.items()]
    small.spec["recipes"] += [
        {"name": "int16", "scheme": "static_wi8_ai16"},
        {"name": "by_percentile", "scheme": {"kind": "static_wi8_ai8", "calibration_method": {"kind": "percentile"}}},
        {"name": "pruned", "scheme": "float32", "steps": [{"kind": "prune", "sparsity": 0.5, "epochs": 1}]},
        {"name": "qat", "scheme": "static_wi8_ai8", "steps": [{"kind": "qat", "epochs": 1}]},
    ]
    small.spec["impossible"] = "skip"
    return small, Ran(small.write(), "small")


def test_float_file_becomes_a_release_of_integers_with_its_lineage(float_file: tuple[SmallPipeline, Ran]) -> None:
    small, ran = float_file
    assert ran.code == ExitCode.OK, ran.output
    assert ran.summary is not None and ran.summary.evaluation is not None
    made = {one.name: one for one in ran.summary.evaluation.candidates}
    assert list(made) == ["float32", "half", "dynamic", "int8", "int16", "by_percentile"]
    for name, candidate in made.items():
        assert isinstance(candidate.outcome, Converted), (name, candidate.outcome)
        assert abs(candidate.slices[0].change["accuracy"].value) <= 0.02, name
    assert made["float32"].slices[0].metrics["accuracy"].value > 0.9
    dtypes = {name: {fact.dtype for fact in one.outcome.inspection.inputs} for name, one in made.items()}
    assert dtypes["int8"] == dtypes["by_percentile"] == {"INT8"}
    assert (dtypes["dynamic"], dtypes["int16"]) == ({"FLOAT32"}, {"INT16"})
    assert {one.recipe: (one.unavailable, one.unmatched) for one in ran.summary.explanations} == {
        name: ("", 0) for name in made if name != "float32"
    }
    (release,) = ran.summary.releases
    lineage = CliRunner().invoke(app, ["lineage", str(release.path), "--root", str(ran.root), "--json"])
    digest = f'"sha256":"{sha256_of(small.folder / "model.tflite")}"'
    assert digest in lineage.output.replace(": ", ":")
    assert CliRunner().invoke(app, ["verify", str(release.path), "--root", str(ran.root)]).exit_code == 0


def test_steps_on_a_float_file_are_skipped_by_name_with_the_reason(float_file: tuple[SmallPipeline, Ran]) -> None:
    _, ran = float_file
    assert ran.summary is not None and ran.folder is not None
    assert [(one.name, one.place) for one in ran.summary.skipped] == [("pruned", 6), ("qat", 7)]
    report = (ran.folder / "report.html").read_text()
    for (reason,), step in zip((one.reasons for one in ran.summary.skipped), ("prune", "qat"), strict=True):
        said = f"the step {step} trains Keras layers, but the baseline is a float TFLite file"
        assert said in reason and said in ran.output and said in report
        assert "Remedy: use the Keras model as the baseline" in reason


def pipeline_with_speakers(folder: Path) -> SmallPipeline:
    """Each split has its own text that nothing reads."""
    small = SmallPipeline(folder)
    for split, count, seed in (("train", 240, 1), ("eval", 120, 2)):
        speakers = [f"{split} speaker {number}".encode() for number in range(3)]

        def change(index: int, features: dict[str, Any], speakers: list[bytes] = speakers) -> dict[str, Any]:
            return features | {"speaker": speakers[index % 3]}

        small.write_split(split, count, seed, change=change)
    return small


@pytest.fixture(scope="module")
def with_speakers(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    small = pipeline_with_speakers(tmp_path_factory.mktemp("speakers"))
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    return Ran(small.write(), "small")


def test_unread_text_that_differs_between_splits_does_not_stop_the_run(with_speakers: Ran) -> None:
    assert with_speakers.code == ExitCode.OK, with_speakers.output
    held = next(with_speakers.root.rglob("validation.json"))
    (unread,) = json.loads(held.read_text())["unread"]
    assert unread.startswith("split 'eval', feature 'speaker': ")


def test_evaluation_examples_in_the_training_split_stop_the_run_although_nothing_calibrates(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    del small.spec["calibrate"]
    small.write_split("eval", 240, seed=1)  # the training examples, in their own file
    refused = Ran(small.write(), "small")
    assert refused.code == ExitCode.NODE_FAILED
    said = " ".join(refused.output.split())
    assert "240 of 240 (100.00%) in the split 'train'" in said
    assert "examples.max_overlap: 0.01" in said
    assert (refused.states()["validate"], refused.states()["baseline"]) == ("failed", "not_run")
    small.spec["examples"]["max_overlap"] = 1
    allowed = Ran(small.write(), "small")
    assert allowed.code == ExitCode.OK, allowed.output
    (held,) = (json.loads(path.read_text()) for path in allowed.root.rglob("validation.json"))
    assert held["overlaps"] == [{"split": "train", "shared": 240, "examples": 240}]


def test_evaluation_split_of_one_class_stops_the_run_although_the_file_names_no_classes(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    del small.spec["calibrate"], small.spec["examples"]["num_classes"]
    small.write_split("eval", 120, 2, lambda _, features: {**features, "label": 1})
    refused = Ran(small.write(), "small")
    assert refused.code == ExitCode.NODE_FAILED
    assert "all examples of the evaluation split 'eval' have the same class" in " ".join(refused.output.split())
    assert (refused.states()["validate"], refused.states()["baseline"]) == ("failed", "not_run")
