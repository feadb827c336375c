"""Targets and weights reach training by name, whether a split is kept in memory or read again."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.convert.calibration_sample import decode_examples, weights_of_sample
from components.core.errors import SpecError
from components.data import training_data
from components.data.examples import ExampleDecoder
from components.data.supervision import ONLY, fit_targets, postprocessed
from components.data.training_data import TrainingData, load_training_data
from components.facts.artifact_paths import CALIBRATION_SPLIT
from tests.two_outputs import POSTPROCESS, TASK, WEIGHTS, TwoOutputs, shifted, with_methods

COUNT = 30
RAGGED = """
import tensorflow as tf

class Task:
    def feature_spec(self):
        return {"words": tf.io.RaggedFeature(tf.int64)}

    def decode(self, features):
        return {"words": features["words"].to_tensor(-1, shape=[None, 4])}

class First(Task):
    def decode(self, features):
        return {"words": super().decode(features)["words"][:1]}

TASK = Task()
FIRST = First()
"""
OUTPUTS = ("shift", "kind")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExampleDecoder, str, str]:
    small = TwoOutputs(tmp_path_factory.mktemp("supervised"), with_methods(WEIGHTS, POSTPROCESS))
    file = small.write_split("zipped", COUNT, 1, shifted, zipped=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(small.folder))
        return ExampleDecoder(small.spec["task"]), str(file), small.spec["task"]


def rows(data: TrainingData) -> list[tuple[float, float, float]]:
    """Class, shift, and weight of each example, sorted."""
    found = []
    for inputs, targets, weights in data.batches(8, seed=1):
        assert set(inputs) == {"left", "right"}
        assert set(targets) == set(OUTPUTS)
        found += zip(targets["kind"].numpy(), targets["shift"].numpy()[:, 0], weights.numpy(), strict=True)
    return sorted((float(a), round(float(b), 4), float(c)) for a, b, c in found)


EXPECTED = sorted((float(i % 3), round(i * 7 % 10 / 10, 4), float([1, 5, 2][i % 3])) for i in range(COUNT))


@pytest.mark.parametrize("limit", [training_data.IN_MEMORY_BYTES, 1])
def test_targets_and_weights_are_those_of_their_examples(
    decoder: tuple[ExampleDecoder, str, str], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, "IN_MEMORY_BYTES", limit)
    data = load_training_data(decoder[0], [decoder[1]], "label", "baseline.split", OUTPUTS)
    assert (data.whole is None) == (limit == 1)
    assert data.count() == COUNT
    assert rows(data) == EXPECTED
    most, few = data.without_each(5)
    assert len(rows(few)) == COUNT // 5
    assert sorted(rows(most) + rows(few)) == EXPECTED


def test_batch_is_decoded_with_targets_and_weights(decoder: tuple[ExampleDecoder, str, str]) -> None:
    records = list(tf.data.TFRecordDataset(decoder[1], compression_type="GZIP").as_numpy_iterator())
    decoded = decoder[0].decode_all(records, "label")
    assert {name: values.shape for name, values in decoded.targets.items()} == {"shift": (COUNT, 1), "kind": (COUNT,)}
    assert decoded.weights is not None
    np.testing.assert_array_equal(decoded.weights, np.resize([1, 5, 2], COUNT))
    np.testing.assert_array_equal(decoded.targets["kind"], decoded.features["label"])


def test_task_without_targets_and_without_a_label_has_no_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TwoOutputs(tmp_path, TASK.replace("def targets", "def aims"))
    file = str(small.write_split("zipped", COUNT, 1, shifted, zipped=True))
    monkeypatch.syspath_prepend(str(tmp_path))
    decoder = ExampleDecoder(small.spec["task"])
    records = list(tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator())
    assert decoder.decode_all(records, "").targets == {}
    assert set(decoder.decode_all(records, "label").targets) == {ONLY}
    with pytest.raises(SpecError, match=r"no target to compare its output with .*a dict with kind, shift, or a label"):
        load_training_data(decoder, [file], "", "baseline.split", OUTPUTS)


def test_weights_of_the_calibration_sample_are_in_its_order(
    decoder: tuple[ExampleDecoder, str, str], tmp_path: Path
) -> None:
    folder = tmp_path / f"Split-{CALIBRATION_SPLIT}"
    folder.mkdir()
    (folder / "data.gz").symlink_to(decoder[1])
    task = decoder[2]
    weights = weights_of_sample(str(tmp_path), task, None, "label")
    held = [targets["kind"] for _, targets in decode_examples(str(tmp_path), task, None, "label")]
    np.testing.assert_array_equal(weights, np.array([1, 5, 2])[np.ravel(held)])


def test_ragged_features_reach_the_model_padded_and_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ragged_task.py").write_text(RAGGED)
    monkeypatch.syspath_prepend(str(tmp_path))
    held = [tf.train.Feature(int64_list=tf.train.Int64List(value=each)) for each in ([7], [7, 8, 9], [])]
    records = [
        tf.train.Example(features=tf.train.Features(feature={"words": each})).SerializeToString() for each in held
    ]
    inputs, features = ExampleDecoder("ragged_task:TASK").decode(records)
    np.testing.assert_array_equal(inputs["words"], [[7, -1, -1, -1], [7, 8, 9, -1], [-1, -1, -1, -1]])
    assert features == {}
    first = ExampleDecoder("ragged_task:FIRST")
    for decode in (first.decode, lambda batch: first.decode_all(batch, "words")):
        with pytest.raises(SpecError, match=r"not return one row per example.*batch of 3 examples; found: \[1, 4\]"):
            decode(records)


def test_model_gets_the_targets_of_its_own_outputs() -> None:
    targets = {"found": 1, "kind": 2, "shift": 3}
    assert fit_targets(targets, ("shift", "kind"), "a") == {"kind": 2, "shift": 3}
    assert fit_targets(targets, ("kind",), "a") == 2
    assert fit_targets({ONLY: 4}, ("kind",), "a") == 4
    with pytest.raises(SpecError, match=r"^a: the model has several outputs, but the task declares one target"):
        fit_targets({ONLY: 4}, ("kind", "shift"), "a")
    with pytest.raises(SpecError, match=r"names no output of the model \(expected: kind; found: kin\)"):
        fit_targets({"kin": 1}, ("kind",), "a")


def test_outputs_stay_the_same_without_postprocess() -> None:
    outputs = {"a": np.ones(3, np.float32)}
    assert postprocessed(object(), outputs)["a"] is outputs["a"]  # type: ignore[arg-type]
