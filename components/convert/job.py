"""What a conversion's child process does: decode, convert, try the file, inspect it, hold it against its scheme."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.convert.inspection import inspect_model
from components.convert.promise import broken_promises
from components.convert.trained import lost_ranges
from components.errors import EdgemillError
from components.examples import ExampleDecoder, read_serialized, split_files
from components.files import write_atomically
from components.layout import CALIBRATION_SPLIT
from components.quantize.scheme import Scheme, needs_ranges
from components.report import ConversionFailure, Converted, TrainedRange
from components.sparsity import SparsityClaim
from components.values import Value

STAGE_FILE, MODEL_FILE, OUTCOME_FILE = "stage", "tflite", "outcome.json"

_DECODE_BATCH = 256


class ConversionRequest(Value):
    """One conversion, in words that cross a process border.

    Attributes:
        name: The recipe's name, for messages.
        scheme: Numeric format.
        saved_model: Folder of the float SavedModel.
        calibration: Folder of an Examples artifact with the split `calibration`; read by static schemes only.
        task: Reference of the task that decodes these examples.
        transform_graph: Folder of their TensorFlow Transform graph, if they went through one.
        trained: Ranges that the model was trained with; none for a model that was not.
        sparse: What pruning says of the model's weights; None for a model that was not pruned.
    """

    name: str
    scheme: Scheme
    saved_model: str
    calibration: str | None = None
    task: str | None = None
    transform_graph: str | None = None
    trained: tuple[TrainedRange, ...] = ()
    sparse: SparsityClaim | None = None


def run(request: ConversionRequest, folder: Path) -> None:
    """Convert, and leave `outcome.json` in `folder`, and the file `tflite` if all is well.

    What goes wrong on purpose becomes a ConversionFailure here; what kills the process is for the parent to see. The
    parent fills in the peak of memory.
    """
    started = time.perf_counter()
    try:
        outcome = _convert(request, folder, started)
    except EdgemillError as error:
        message = str(error).removesuffix(f". Remedy: {error.remedy}")
        outcome = ConversionFailure(scheme=request.scheme.kind, cause="refused", message=message, remedy=error.remedy)
    write_atomically(folder / OUTCOME_FILE, outcome.model_dump_json().encode())


def _convert(request: ConversionRequest, folder: Path, started: float) -> Converted | ConversionFailure:
    scheme = request.scheme
    _enter(folder, "importing TensorFlow")
    from components.convert.converter import convert
    from components.convert.sparse import sparse_or_dense

    _enter(folder, "converting")
    calibration, task = request.calibration, request.task
    representative = None
    if needs_ranges(scheme) and calibration is not None and task is not None:

        def representative() -> Iterator[Mapping[str, npt.NDArray[Any]]]:
            return decode_examples(calibration, task, request.transform_graph)

    content = convert(Path(request.saved_model), scheme, representative)
    _enter(folder, "reading the converted file")
    inspection = inspect_model(content)
    broken = broken_promises(scheme, inspection)
    if not broken:
        # Last, for it may kill this process: a file that crashes the runtime must not reach the evaluator.
        _enter(folder, "running the converted file")
        broken = _does_not_run(content)
    if broken:
        return ConversionFailure(
            scheme=scheme.kind,
            cause="broken_promise",
            message=f"a file of {len(content)} bytes came out, but {'; '.join(broken)}",
            remedy="take another scheme for this model, or replace the layers that are named",
        )
    proof = None
    if request.sparse is not None:
        _enter(folder, "encoding sparse weights, and timing them beside their dense twin")
        content, proof = sparse_or_dense(
            content,
            lambda: convert(Path(request.saved_model), scheme, representative, sparse=True),
            scheme,
            request.sparse,
        )
        inspection = inspect_model(content)
    write_atomically(folder / MODEL_FILE, content)
    return Converted(
        inspection=inspection,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=0,
        lost_ranges=lost_ranges(content, request.trained),
        sparsity=proof,
    )


def decode_examples(calibration: str, task: str, transform_graph: str | None) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The calibration sample as model inputs, one example at a time, name -> array [1, ...], in file order."""
    decoder = ExampleDecoder(task, transform_graph)
    serialized = read_serialized(split_files(calibration, CALIBRATION_SPLIT))
    while batch := list(islice(serialized, _DECODE_BATCH)):
        inputs, _ = decoder.decode(batch)
        for index in range(len(batch)):
            yield {name: values[index : index + 1] for name, values in inputs.items()}


def _does_not_run(content: bytes) -> list[str]:
    """Invoke the file once on zeros, in the runtime that the evaluator uses."""
    import tensorflow as tf

    try:
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            # Token numbers must be in the vocabulary; uninitialised memory is not.
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        return [f"TensorFlow Lite's runtime rejects it: {str(error).strip()[:600]}"]
    return []


def _enter(folder: Path, stage: str) -> None:
    logging.getLogger(__name__).info("%s", stage)
    (folder / STAGE_FILE).write_text(stage)
