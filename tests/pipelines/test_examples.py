"""The shipped examples with other models than classifiers: their files, and what their tasks compute."""

from __future__ import annotations

import fnmatch
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.file.load import load_pipeline

EXAMPLES = ("anomaly", "detector", "segmentation", "transcriber")
SHIPPED = sorted(path for path in Path("pipelines").glob("*/*.yaml") if path.parent.name != "devices")


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_has_float_int8_trained_int8_and_a_smaller_recipe(name: str) -> None:
    spec = load_pipeline(Path(f"pipelines/{name}/pipeline.yaml")).spec
    recipes = {recipe.name: recipe for recipe in spec.recipes}
    assert list(recipes)[:3] == ["float32", "int8", "qat_int8"]
    assert len(recipes) == 4
    assert recipes["int8"].scheme.kind == recipes["qat_int8"].scheme.kind == "static_wi8_ai8"
    readme = Path(f"pipelines/{name}/README.md").read_text()
    makefile = Path("Makefile").read_text()
    assert f"make run-{name}\n" in readme
    assert re.search(rf"^run-{name}: setup ## .*\n\t.* run pipelines/{name}/pipeline.yaml$", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_data_of_an_example_is_small_and_has_its_license(name: str) -> None:
    data = Path(f"pipelines/{name}/data")
    assert {file.name for file in data.iterdir()} == {"LICENSE", "train.tfrecord.gz", "eval.tfrecord.gz"}
    assert sum(file.stat().st_size for file in data.iterdir()) < 1_500_000


def test_package_contains_every_file_of_the_examples() -> None:
    patterns = re.findall(
        r'"([^"]+)"', re.search(r"^pipelines = \[(.*)\]$", Path("pyproject.toml").read_text(), re.M)[1]
    )
    files = [path for name in EXAMPLES for path in Path("pipelines", name).rglob("*") if path.is_file()]
    lost = [
        str(path)
        for path in files
        if path.suffix not in {".py", ".pyc"} and not any(fnmatch.fnmatch(f"x/{path.name}", each) for each in patterns)
    ]
    assert lost == []


def test_shipped_files_are_valid_without_tensorflow() -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from edgemill.main import app
for file in {[str(path) for path in SHIPPED]!r}:
    result = CliRunner().invoke(app, ["validate", file])
    assert result.exit_code == 0, result.output
print([name for name in ("tensorflow", "tf_keras", "tfx", "apache_beam") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_make_data_writes_the_shipped_records(name: str, tmp_path: Path) -> None:
    importlib.import_module(f"pipelines.{name}.make_data").main(tmp_path)
    for split in ("train", "eval"):
        made, shipped = (features_of(folder / f"{split}.tfrecord.gz") for folder in (tmp_path, data_of(name)))
        pixels = [
            np.frombuffer(b"".join(image for (image,) in file.pop("image", [])), np.uint8) for file in (made, shipped)
        ]
        assert made == shipped, split
        # Versions of NumPy sum in different orders, so that a gray level may be rounded up or down.
        apart = np.abs(pixels[0].astype(int) - pixels[1])
        assert not (apart > 1).any() and np.count_nonzero(apart) <= len(apart) / 10_000, split


def features_of(file: Path) -> dict[str, list[Any]]:
    """The values of all records of a file, by feature."""
    import tensorflow as tf

    found: dict[str, list[Any]] = {}
    for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
        for key, feature in tf.train.Example.FromString(record).features.feature.items():
            found.setdefault(key, []).append(list(getattr(feature, feature.WhichOneof("kind")).value))
    return found


def data_of(name: str) -> Path:
    return Path(f"pipelines/{name}/data")


def few(name: str, count: int = 24) -> tuple[Any, dict[str, Any]]:
    """The task of an example, and features of the first evaluation examples."""
    import tensorflow as tf

    task = importlib.import_module(f"pipelines.{name}.task").TASK
    records = tf.data.TFRecordDataset(str(data_of(name) / "eval.tfrecord.gz"), "GZIP").batch(count)
    return task, tf.io.parse_example(next(iter(records)), task.feature_spec())


def computed(name: str, predictions: dict[str, Any], targets: dict[str, Any], features: dict[str, Any]) -> float:
    """The first metric of an example's file."""
    from components.metrics.functions import load_metric, only_of, total

    (metric, *_) = load_pipeline(Path(f"pipelines/{name}/pipeline.yaml")).spec.evaluate.metrics
    loaded = load_metric(metric)
    found, wanted = (only_of(named, metric.output) for named in (predictions, targets))
    read = {feature: np.asarray(features[feature]) for feature in metric.features}
    return total(loaded, loaded.examples(found, {key: np.asarray(each) for key, each in wanted.items()}, read))


def test_detector_that_returns_its_targets_finds_every_garment() -> None:
    task, features = few("detector")
    targets = task.targets(features)
    outputs = {name: targets[name].numpy()[..., :-1] for name in ("scores", "offsets")}
    found = task.postprocess(outputs)
    assert computed("detector", found, targets, features) == 1.0
    # One box per garment is left of all anchors that learn it.
    assert (found["scores"] > 0).sum() == features["garments"].numpy().sum() < (outputs["scores"] > 0).sum()


def test_segmentation_that_returns_its_targets_covers_every_pixel() -> None:
    task, features = few("segmentation")
    targets = task.targets(features)
    assert targets["classes"].shape == (24, 48, 48)
    scores = np.eye(6, dtype=np.float32)[targets["classes"].numpy()]
    assert computed("segmentation", {"classes": scores}, targets, features) == 1.0
    # What is not background is where the image is not black.
    assert ((targets["classes"].numpy() > 0) == (task.decode(features).numpy()[..., 0] > 0)).mean() > 0.99


def test_transcriber_reads_letters_between_repetitions_and_blanks() -> None:
    task, features = few("transcriber")
    targets = task.targets(features)
    letters = targets["letters"].numpy()
    steps = np.full([len(letters), 28], 5)
    for row, each in enumerate(letters):
        # Twice at consecutive steps, then a blank.
        for place, letter in enumerate(each[each >= 0]):
            steps[row, 3 * place : 3 * place + 2] = letter
    scores = np.eye(6, dtype=np.float32)[steps]
    found = task.postprocess({"letters": scores})
    assert found["text"].tolist() == [text.decode() for text in features["text"].numpy()]
    assert computed("transcriber", found, targets, features) == 0.0
    blank = task.postprocess({"letters": np.roll(scores, -1, axis=0)})
    assert computed("transcriber", blank, targets, features) > 0.5


def test_anomaly_detector_learns_its_input_and_is_judged_by_labels() -> None:
    task, features = few("anomaly", 392)
    targets = task.targets(features)
    motion, anomaly = targets["reconstruction"].numpy(), features["anomaly"].numpy()
    np.testing.assert_array_equal(motion, task.decode(features))
    assert (len(anomaly), int(anomaly.sum())) == (392, 332)
    ideal = {"reconstruction": motion + anomaly[:, None]}
    assert computed("anomaly", ideal, targets, features) == 1.0
