"""The zoo's list of models, and that its judge can fail. `make zoo` runs the models."""

import sys

import numpy as np
import pytest

from benchmarks.zoo_cells.judge import (
    BOUNDS,
    Cell,
    PlainFile,
    error_of,
    judge_accuracy,
    judge_file,
    judge_refusal,
    same_as_loop,
)
from benchmarks.zoo_cells.progress import Progress
from benchmarks.zoo_cells.recipes import ACCURACY, LEARNERS, RECIPES
from benchmarks.zoo_cells.table import accepted, coverage, figures, matrix, merged
from benchmarks.zoo_models import ZOO

WANTED = {"scores": np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)}
WRONG = {"scores": WANTED["scores"][:, ::-1]}


def test_zoo_has_many_models_of_every_kind():
    # Two models with one name raise an error when they are imported.
    assert len(ZOO) >= 60
    assert {entry.form for entry in ZOO.values()} >= {"keras", "h5", "saved_model", "keras3", "graph", "tflite"}
    assert sum(entry.kind == "keras.applications" for entry in ZOO.values()) >= 14
    assert set(BOUNDS) == set(RECIPES)
    assert set(LEARNERS) <= set(ZOO)


@pytest.mark.parametrize("recipe", RECIPES)
def test_wrong_output_is_a_defect(recipe):
    right, wrong = error_of(WANTED, WANTED), error_of(WANTED, WRONG)
    plain = None if "steps" in RECIPES[recipe] else lambda: PlainFile(0.001)
    assert judge_file(recipe, right, True, plain) == ("works", "")
    verdict, reason = judge_file(recipe, wrong, True, plain)
    assert (verdict, reason.split(" (")[0]) == ("defect", "an error of 0.149 of the range")


@pytest.mark.parametrize(
    "found",
    [{}, {"other": WANTED["scores"]}, {"scores": WANTED["scores"][:2]}, {"scores": WANTED["scores"] * np.nan}],
    ids=["none", "name", "shape", "nan"],
)
def test_output_of_another_name_shape_or_without_number_is_infinitely_wrong(found):
    assert error_of(WANTED, found) == float("inf")


def test_error_as_large_as_that_of_a_plain_script_is_no_defect():
    assert judge_file("int8", 0.2, True, lambda: PlainFile(0.19))[0] == "works"
    assert judge_file("int8", 0.2, True, lambda: PlainFile(0.1))[0] == "defect"
    assert judge_file("int8", 0.2, True, lambda: PlainFile(None, "it crashes"))[0] == "defect"
    # Training may lose half a point.
    assert judge_file("qat", 0.204, True, lambda: PlainFile(0.2))[0] == "works"
    assert judge_file("qat", 0.206, True, lambda: PlainFile(0.2))[0] == "defect"


def test_evaluation_that_differs_from_a_plain_loop_is_a_defect():
    assert same_as_loop(WANTED, WANTED, {"scores": None})
    assert not same_as_loop(WANTED, WRONG, {"scores": 0.01})
    step = {"scores": WANTED["scores"] + np.float32(0.01)}
    assert same_as_loop(WANTED, step, {"scores": 0.01})
    assert not same_as_loop(WANTED, step, {"scores": None})
    assert judge_file("int8", 0.0, False, None)[0] == "defect"


def test_refusal_is_a_defect_if_a_plain_script_makes_a_file_of_use():
    assert judge_refusal("why", None) == ("refused", "why")
    assert judge_refusal("why", lambda: PlainFile(0.01))[0] == "defect"
    assert judge_refusal("why", lambda: PlainFile(None, "no kernel"))[0] == "refused"
    assert judge_refusal("why", lambda: PlainFile(0.01, "2 tensors are floats", keeps_promise=False))[0] == "refused"
    assert judge_refusal("why", lambda: PlainFile(float("inf")))[0] == "refused"


def test_interrupted_run_keeps_the_models_that_the_same_code_judged_in_all_recipes(tmp_path):
    cells = [Cell("cnn", "int8", "works", "", 0.01, 900, 2.5), Cell("cnn", "qat", "refused", "why")]
    Progress(tmp_path, "a1").add("cnn", cells)
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"code": "a1", "model": "mlp", "ce')  # the process was killed
    again = Progress(tmp_path, "a1")
    assert again.cells_of("cnn", ["int8", "qat"]) == cells
    assert again.cells_of("cnn", ["qat"]) == cells[1:]
    assert again.cells_of("cnn", ["int8", "prune"]) is None
    assert again.cells_of("mlp", ["int8"]) is None
    again.add("mlp", [Cell("mlp", "int8", "works")])
    assert Progress(tmp_path, "a1").cells_of("mlp", ["int8"]) == [Cell("mlp", "int8", "works")]
    assert Progress(tmp_path, "b2").cells_of("cnn", ["int8"]) is None
    again.remove()
    assert Progress(tmp_path, "a1").cells_of("cnn", ["int8"]) is None


def test_table_counts_models_and_cells():
    cells = [
        Cell("a", "float32", "works"),
        Cell("a", "int8", "refused", "why"),
        Cell("a", "qat", "none"),
        Cell("b", "int8", "defect"),
    ]
    assert coverage(cells) == (1, 1, 1)
    assert accepted(cells) == (1, 0, 1)
    rows = [row.split() for row in matrix(cells, {"a": "dense", "b": "dense"}, ["float32", "int8", "qat"]).splitlines()]
    assert rows[2:] == [
        ["|", "dense", "|", "a", "|", "works", "|", "refused", "|", "-", "|"],
        ["|", "dense", "|", "b", "|", "|", "DEFECT", "|", "|"],
    ]


def test_new_cells_replace_earlier_ones():
    old = [Cell("a", "int8", "defect"), Cell("b", "int8", "works")]
    assert merged(old, [Cell("a", "int8", "works")]) == [Cell("a", "int8", "works"), Cell("b", "int8", "works")]


def test_more_than_half_a_point_lost_by_training_under_quantization_is_a_defect():
    assert judge_accuracy({"float": 0.95, "int8": 0.9400, "qat": 0.9351})[0] == "works"
    verdict, said = judge_accuracy({"float": 0.95, "int8": 0.9400, "qat": 0.9349})
    assert (verdict, said) == ("defect", "float 0.9500, int8 0.9400, qat 0.9349, lost by training: +0.0051")


def test_accuracy_has_its_own_line_and_accepts_no_model():
    cells = [Cell("a", "int8", "refused", "why"), Cell("a", ACCURACY, "works"), Cell("b", ACCURACY, "defect")]
    assert accepted(cells) == (0, 1, 0)
    assert "at most half a point below int8, of trained classifiers: 1 of 2 work" in figures(cells, ["int8"], [])


def test_file_that_a_plain_script_converts_is_told_from_one_that_it_does_not(tmp_path):
    import tensorflow as tf

    from benchmarks.zoo_cells.plain import plain_import

    vector = tf.keras.Input([4])
    tf.keras.Model(vector, tf.keras.layers.Dense(2)(vector)).save(tmp_path / "good.keras")
    (tmp_path / "bad.tflite").write_bytes(b"no file")
    assert plain_import(tmp_path / "good.keras").error == 0.0
    assert plain_import(tmp_path / "bad.tflite").error is None


def test_both_runs_of_a_model_read_examples_by_tasks_of_their_own(tmp_path, monkeypatch):
    from benchmarks.zoo_cells.accuracy import AccuracyRun
    from benchmarks.zoo_cells.run import ZooRun
    from components.data.task import load_task

    monkeypatch.setattr("sys.path", [*sys.path])
    targets = {}
    for kind, name in ((ZooRun, "first"), (AccuracyRun, "second")):
        run = kind(ZOO["mlp"], [], tmp_path, lambda _: None, lambda *_: None)
        run._write_task(WANTED, {name: WANTED["scores"]}, 2, "mse")
        targets[name] = set(load_task(f"{run._module}:TASK").targets({f"target {name}": WANTED["scores"]}))
    assert targets == {"first": {"first"}, "second": {"second"}}
