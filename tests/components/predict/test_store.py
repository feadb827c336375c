import numpy as np
import pyarrow.dataset
import pytest

from components.core.errors import SpecError, TamperedError
from components.predict import store
from components.predict.columns import Steps
from components.predict.digests import digests_of
from components.predict.store import PredictionWriter, in_folder

EXAMPLES = [f"example {number}".encode() for number in range(25)]
DIGESTS = digests_of(EXAMPLES)
OUTPUTS = {
    "scores": np.random.default_rng(1).normal(size=(25, 3, 2)).astype(np.float32),
    "kind": np.arange(25, dtype=np.int64),
    "found": np.arange(25) % 3 == 0,
    "half": np.arange(25, dtype=np.float16)[:, None],
    "wide": np.full((25, 1), 1 / 3),
    "text": np.array(["a" * (number % 7) + "ü" for number in range(25)]),
    "words": np.array([["x", str(number)] for number in range(25)]),
    "raw": np.array([b"\x00\xff", b""] * 12 + [b"last"], dtype=object),
    "none": np.zeros((25, 0, 4), np.float32),
}


def write(folder, batch, outputs=OUTPUTS, file=0):
    with PredictionWriter(folder, file) as writer:
        for at in range(0, 25, batch):
            writer.add(DIGESTS[at : at + batch], {name: values[at : at + batch] for name, values in outputs.items()})


@pytest.mark.parametrize("most_rows", [8, 10_000], ids=["many files", "one file"])
def test_outputs_are_read_as_they_were_written(tmp_path, monkeypatch, most_rows):
    monkeypatch.setattr(store, "_MOST_ROWS", most_rows)
    write(tmp_path, 4)
    assert len(list(tmp_path.iterdir())) == (4 if most_rows == 8 else 1)
    stored = in_folder(tmp_path)
    # Batches of other sizes, in a different order.
    for first, end in ((20, 25), (0, 7), (7, 20)):
        rows = stored.rows(0, first, DIGESTS[first:end])
        assert list(rows) == list(OUTPUTS)
        for name, values in OUTPUTS.items():
            np.testing.assert_array_equal(rows[name], values[first:end], strict=values.dtype.kind not in "U")


def test_not_a_number_and_infinity_are_kept(tmp_path):
    values = np.resize(np.float32([np.nan, np.inf, -np.inf, -0.0, 1e-45]), (25, 1))
    write(tmp_path, 25, {"x": values})
    assert in_folder(tmp_path).rows(0, 0, DIGESTS)["x"].tobytes() == values.tobytes()


def test_batches_of_different_shapes_are_kept_apart(tmp_path):
    with PredictionWriter(tmp_path, 3) as writer:
        writer.add(DIGESTS[:5], {"boxes": np.zeros((5, 2, 4))})
        writer.add(DIGESTS[5:9], {"boxes": np.ones((4, 7, 4))})
    stored = in_folder(tmp_path)
    assert stored.rows(3, 0, DIGESTS[:5])["boxes"].shape == (5, 2, 4)
    assert stored.rows(3, 5, DIGESTS[5:9])["boxes"].shape == (4, 7, 4)


@pytest.mark.parametrize(
    ("first", "digests"),
    [(0, DIGESTS[1:4]), (3, DIGESTS[:2]), (20, digests_of([*EXAMPLES[20:], b"one more"]))],
    ids=["other order", "other place", "one example too many"],
)
def test_predictions_of_other_examples_are_refused(tmp_path, first, digests):
    write(tmp_path, 4)
    with pytest.raises(TamperedError, match="the stored predictions belong to different examples"):
        in_folder(tmp_path).rows(0, first, digests)
    with pytest.raises(TamperedError, match="found: no such example"):
        in_folder(tmp_path).rows(1, 0, DIGESTS[:1])


def test_files_are_a_dataset_of_arrow(tmp_path):
    write(tmp_path, 4)
    table = pyarrow.dataset.dataset(tmp_path, format="ipc").to_table(columns=["example", "output:scores"])
    assert [each.hex() for each in table["example"].to_pylist()] == [digest.tobytes().hex() for digest in DIGESTS]
    assert table["output:scores"].to_pylist()[7] == OUTPUTS["scores"][7].ravel().tolist()


@pytest.mark.parametrize(
    "values", [np.array([[1], [1, 2]] * 12 + [[]], dtype=object), np.zeros(25, complex)], ids=["lists", "complex"]
)
def test_output_that_is_no_array_of_numbers_or_text_is_refused(tmp_path, values):
    with pytest.raises(SpecError, match=r"task: the output 'x' cannot be stored .*pad lists of different lengths"):
        write(tmp_path, 25, {"x": values})


@pytest.mark.parametrize(
    "steps",
    [Steps(0.1, -3, np.dtype(np.int8)), Steps(1 / 3, 128, np.dtype(np.uint8))],
    ids=["int8", "uint8"],
)
def test_values_of_8_bits_take_one_byte_and_come_back_bit_for_bit(tmp_path, steps):
    bounds = np.iinfo(steps.dtype)
    raw = np.random.default_rng(5).integers(bounds.min, bounds.max, (25, 600), endpoint=True)
    raw[0, :256] = range(bounds.min, bounds.max + 1)
    # As the runtime's integers become real values.
    values = (raw.astype(np.float32) - np.float32(steps.zero_point)) * np.float32(steps.scale)
    with PredictionWriter(tmp_path / "coded", 0) as writer:
        writer.add(DIGESTS, {"x": values}, {"x": steps})
    with PredictionWriter(tmp_path / "plain", 0) as writer:
        writer.add(DIGESTS, {"x": values})
    for folder in ("coded", "plain"):
        found = in_folder(tmp_path / folder).rows(0, 0, DIGESTS)["x"]
        assert (found.dtype, found.tobytes()) == (np.float32, values.tobytes())
    sizes = {name: sum(path.stat().st_size for path in (tmp_path / name).iterdir()) for name in ("coded", "plain")}
    assert 25 * 600 < sizes["coded"] < 25 * 600 + 5000 < sizes["plain"]
    table = pyarrow.dataset.dataset(tmp_path / "coded", format="ipc").to_table()
    assert table["output:x"].to_pylist() == table.to_pandas()["output:x"].map(list).tolist() == values.tolist()


def test_values_that_are_no_steps_are_stored_as_they_are(tmp_path):
    values = np.float32([[0.1, 0.25, np.inf]] * 25)
    with PredictionWriter(tmp_path, 0) as writer:
        writer.add(DIGESTS, {"x": values}, {"x": Steps(0.1, 0, np.dtype(np.int8))})
    assert in_folder(tmp_path).rows(0, 0, DIGESTS)["x"].tobytes() == values.tobytes()


def test_more_bytes_than_allowed_end_the_run_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_MOST_ROWS", 8)
    values = np.random.default_rng(6).integers(0, 1 << 40, size=(25, 4, 100))
    with (
        pytest.raises(SpecError, match=r"evaluate\.max_prediction_bytes: .*after 16 examples") as raised,
        PredictionWriter(tmp_path, 0, max_bytes=40_000) as writer,
    ):
        for at in range(0, 25, 4):
            writer.add(DIGESTS[at : at + 4], {"x": values[at : at + 4]})
    assert "of x [4, 100]" in str(raised.value) and "class of each pixel" in str(raised.value)
    # Nothing is stored past the file that crossed the bound.
    assert len(list(tmp_path.iterdir())) == 2


def test_scores_that_would_take_more_bytes_than_allowed_become_classes(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(store, "_MOST_ROWS", 8)
    scores = np.random.default_rng(6).normal(size=(25, 6, 5, 300)).astype(np.float32)
    scores[3, 2, 1, [7, 9]] = 50.0  # The first of several counts.
    boxes = np.random.default_rng(7).integers(0, 9, size=(25, 2))
    with PredictionWriter(tmp_path, 0, max_bytes=300_000) as writer:
        for at in range(0, 25, 4):
            writer.add(DIGESTS[at : at + 4], {"map": scores[at : at + 4], "boxes": boxes[at : at + 4]})
    assert "classes with the highest scores are stored" in caplog.text
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 25 * 30 * 2 + 4 * 2000
    found = in_folder(tmp_path)
    rows = found.rows(0, 0, DIGESTS)
    assert (rows["map"].shape, rows["map"].dtype) == (scores.shape, scores.dtype)
    np.testing.assert_array_equal(rows["map"].argmax(-1), scores.argmax(-1))
    assert set(np.unique(rows["map"])) == {0.0, 1.0}
    np.testing.assert_array_equal(rows["boxes"], boxes)
    found.whose_scores_are_read("boxes".__eq__).rows(0, 0, DIGESTS)
    with pytest.raises(SpecError, match=r"a metric reads the scores of the output 'map'.*raise evaluate\.max_pred"):
        found.whose_scores_are_read("map".__eq__).rows(0, 0, DIGESTS)


def test_scores_that_are_within_the_bound_stay(tmp_path):
    scores = np.random.default_rng(6).normal(size=(25, 3)).astype(np.float32)
    with PredictionWriter(tmp_path, 0, max_bytes=10_000) as writer:
        writer.add(DIGESTS, {"x": scores})
    kept = in_folder(tmp_path).whose_scores_are_read("x".__eq__).rows(0, 0, DIGESTS)["x"]
    np.testing.assert_array_equal(kept, scores)
