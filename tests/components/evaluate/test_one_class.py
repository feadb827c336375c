"""An evaluation in which all examples are of one class is refused: its metrics say nothing about the others."""

import gzip
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from components.core.errors import DataError
from components.evaluate.outputs.constant import RefuseOneClass, extremes, refuse_one_class
from components.spec.evaluate import EvaluationSpec
from tests.predicted import predict_and_evaluate
from tests.small_pipeline import frame, serialize


def evaluated(*batches: Any) -> None:
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create([{tfma.LABELS_KEY: labels} for labels in batches]) | RefuseOneClass("eval")


@pytest.mark.parametrize(
    "batches",
    [
        [np.array([3, 3]), np.array([3])],
        [np.array([1.0, 1.0], np.float32)],
        [np.array([[True], [True]])],
    ],
    ids=["integers", "floats", "booleans in columns"],
)
def test_one_class_in_all_batches_is_refused(batches: Any) -> None:
    with pytest.raises(Exception, match="all examples of the evaluation split 'eval' have the same class"):
        evaluated(*batches)


@pytest.mark.parametrize(
    "batches",
    [
        [np.array([3, 3]), np.array([4])],
        [np.array([0.0, 0.0]), np.array([0.0, 0.5])],
        [np.array([20.0, 20.0])],
        [np.array([[1, 1], [1, 1]])],
        [np.array([7])],
        [None],
    ],
    ids=["two classes", "values", "one value", "several for each example", "one example", "no targets"],
)
def test_other_targets_are_not(batches: Any) -> None:
    evaluated(*batches)


def test_output_is_named_if_there_are_several() -> None:
    labels = {"kind": np.array([2, 2]), "shift": np.array([0.5, 0.5])}
    with pytest.raises(Exception, match=r"so metrics of the output 'kind' say nothing about the others"):
        evaluated(labels, labels)


def test_first_examples_of_a_split_are_not_called_all_of_its_examples() -> None:
    only = r"the first 2 examples of the evaluation split 'eval', the only ones .*, all have the same class"
    with pytest.raises(DataError, match=only) as caught:
        refuse_one_class(extremes({tfma.LABELS_KEY: np.array([6, 6])}), "eval", partial=True)
    assert "shuffle the examples of the split, or raise `examples`" in str(caught.value)


def test_evaluation_of_one_class_ends_without_figures(world: Any, task: str, tmp_path: Path) -> None:
    rows = [
        {"image": image.ravel(), "label": 1, "positive": np.zeros(1), "site": b"a"}
        for image in world.images[world.labels == 1]
    ]
    file = tmp_path / "one.tfrecord.gz"
    file.write_bytes(gzip.compress(b"".join(frame(serialize(row)) for row in rows)))
    with pytest.raises(DataError, match=rf"found: the target 1 in {len(rows)} examples"):
        predict_and_evaluate(
            files=[str(file)],
            baseline=world.saved_model,
            candidates={},
            spec=EvaluationSpec(),
            label="label",
            task=task,
            output=tmp_path,
        )
