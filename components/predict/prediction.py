"""Decodes the examples of a split, runs one model on them, and stores the post-processed outputs, file by file."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, EdgemillError
from components.core.files import read_regular, write_atomically
from components.data.examples import ExampleDecoder
from components.data.records import serialized_tensors
from components.data.supervision import postprocessed
from components.data.task import PostprocessingTask, load_task
from components.predict.digests import digests_of
from components.predict.models import Predictor, TFLitePredictor
from components.predict.observed import Observed, all_observed
from components.predict.report import PredictionReport, Rejection, StoredOutput
from components.predict.saturation import shares
from components.predict.store import SUFFIX, PredictionWriter
from components.ranges.affine import has_nan
from components.spec.prediction import PredictionSpec
from components.upstream.beam import typed_errors

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
T = TypeVar("T")
_OBSERVED = ".observed.json"


def rejection(content: bytes, example: Mapping[str, Array]) -> Rejection | None:
    """Run a TFLite file on one decoded example. Return why it cannot run; None if it can."""
    try:
        TFLitePredictor(content)(example)
    except EdgemillError as error:
        return Rejection(message=error.what, remedy=error.remedy)
    return None


def predict(
    load: Callable[[], Predictor],
    *,
    files: Sequence[str],
    request: PredictionSpec,
    task: str,
    output_names: Sequence[str] = (),
    output: Path,
    transform_graph: str | None = None,
    make_pipeline: Callable[[], Any] = beam.Pipeline,
) -> PredictionReport:
    """Predict, and write the files of `components.predict.store`.

    Args:
        load: Loads the model. Each worker calls it once, and it may verify what it reads.
        files: Gzipped TFRecord files of tf.Examples.
        request: The split, and the size of batches.
        task: Reference of the task, whose feature_spec(), decode(), and postprocess() are called.
        output_names: Names of the float model's outputs. If there is only one, a file may use a different name. Empty
            for the float model itself.
        output: Folder to write to.
        transform_graph: As for `ExampleDecoder`.
        make_pipeline: Creates a Beam pipeline with the runner's options.

    Returns:
        The report, without the digest of the model.

    Raises:
        DataError: An example lacks a feature or contains NaN, or a file is damaged.
        SpecError: `decode` or `postprocess` fails, or returns values that cannot be stored or take more bytes than
            allowed.
        ModelError: The model cannot be run.
        TamperedError: `load` raised it.
    """
    output.mkdir(parents=True, exist_ok=True)
    step = _Predict(load, request, task, tuple(output_names), str(output), transform_graph)
    with typed_errors(), make_pipeline() as pipeline:
        pipeline | "Files" >> beam.Create(list(enumerate(files))) | "Predict" >> beam.ParDo(step)
    paths = [_observed_path(output, number) for number in range(len(files))]
    observed = all_observed(Observed.from_json(read_regular(path)) for path in paths)
    for path in paths:
        path.unlink()
    return PredictionReport(
        **request.model_dump(),
        task=task,
        examples=observed.examples,
        output_names=observed.output_names,
        outputs=observed.forms,
        stored_bytes=sum(path.stat().st_size for path in output.glob(f"*{SUFFIX}")),
        saturated=shares(observed.counts),
        ranges={
            output: {axis: (tuple(ends[0].tolist()), tuple(ends[1].tolist())) for axis, ends in axes.items()}
            for output, axes in observed.ranges.items()
        },
    )


def _observed_path(output: Path, number: int) -> Path:
    """The path at which a worker stores its observations of a file of the split."""
    return output / f"{number:05d}{_OBSERVED}"


class _Predict(beam.DoFn):
    """Writes the predictions for the examples of a file, given its (number, path), and an `Observed` of them."""

    def __init__(
        self,
        load: Callable[[], Predictor],
        request: PredictionSpec,
        task: str,
        output_names: tuple[str, ...],
        output: str,
        transform_graph: str | None,
    ) -> None:
        self._load, self._batch_size, self._max_bytes, self._task = load, request.batch_size, request.max_bytes, task
        self._names, self._output, self._transform_graph = output_names, output, transform_graph

    def setup(self) -> None:
        """Load the model and the task, once per worker."""
        self._model = self._load()
        self._decoder = ExampleDecoder(self._task, self._transform_graph)
        task = load_task(self._task)
        # Checking this in Python takes longer than a batch of a small model.
        self._processes = isinstance(task, PostprocessingTask)
        self._postprocess = functools.partial(postprocessed, task) if self._processes else dict

    def process(self, element: tuple[int, str]) -> tuple[()]:
        """Predict for all examples of a file."""
        number, path = element
        total = Observed(output_names=self._model.output_names)
        # The results of `postprocess` have other values.
        steps = {} if self._processes else renamed(self._model.steps, self._names)
        with PredictionWriter(Path(self._output), number, self._max_bytes) as writer:
            for records in serialized_tensors(path, self._batch_size):
                inputs, _ = self._decoder.decode(records)
                check_finite(inputs)
                outputs, serialized = self._model(inputs), records.numpy()
                total.add(self._model.observed(inputs, outputs, serialized))
                final = self._postprocess(renamed(outputs, self._names))
                writer.add(digests_of(serialized), final, steps)
                total.examples += len(serialized)
                total.forms = total.forms or {
                    name: StoredOutput(dtype=values.dtype.name, shape=values.shape[1:])
                    for name, values in final.items()
                }
                logger.info("%d examples predicted", len(serialized))
        write_atomically(_observed_path(Path(self._output), number), total.to_json().encode())
        return ()


def check_finite(inputs: Mapping[str, Array]) -> None:
    """Check that decoded inputs are numbers.

    Raises:
        DataError: Some are NaN.
    """
    for name, values in inputs.items():
        if values.dtype.kind == "f" and has_nan(values):
            raise DataError(
                f"{int(np.isnan(values).sum())} decoded values are NaN",
                where=f"model input {name!r}",
                remedy="remove or repair these examples, or replace NaN in the task's decode()",
            )


def renamed(outputs: Mapping[str, T], names: Sequence[str]) -> Mapping[str, T]:
    """Values by output, under the float model's names. A file without a signature has other names."""
    if len(names) == len(outputs) == 1:
        return dict(zip(names, outputs.values(), strict=True))
    return outputs
