"""The work of a conversion's child process: decode, convert, run and inspect the file, check it against its scheme."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_never

from components.convert.aeq.selection import UnmetBoundError
from components.convert.calibration_sample import decode_examples, weights_of_sample
from components.convert.checks.kernels import COMPARED, does_not_run, gross_differences
from components.convert.checks.scheme_check import lost_ranges, scheme_violations
from components.convert.checks.sparse import sparse_or_dense
from components.convert.recurrent.backend import (
    convert_lowered,
    convert_trained,
    convert_trained_lstm,
    fuses_lstm,
    known_cells,
    lowers,
    with_fixed_batch,
)
from components.convert.recurrent.size import no_larger_sequence
from components.convert.representative import load_sample, no_sample
from components.convert.result import ConversionResult
from components.core.child import enter
from components.core.errors import EdgemillError
from components.core.files import write_atomically
from components.core.values import FrozenModel
from components.data.examples import Inputs
from components.data.supervision import ONLY, postprocessed
from components.data.task import WeighingTask, load_task
from components.facts.artifact_paths import KERAS_FILE, OUTCOME_FILE
from components.facts.conversion import ConversionFailure, Converted, PinnedFact
from components.facts.training import Export, TrainedRange
from components.model.reference.float_model import tflite_path
from components.model.tflite_file import inspect_model
from components.spec.convert import AccuracyBound
from components.spec.devices.pinned import Pins
from components.spec.scheme import Form, Scheme, StaticScheme
from components.spec.steps.sparsity import SparsityTarget

MODEL_FILE = "tflite"


class ConversionRequest(FrozenModel):
    """One conversion, in a form that can be sent to another process.

    Attributes:
        name: The recipe's name, for messages.
        scheme: Numeric format.
        recurrent: The recipe's form for lowered recurrent layers.
        bound: Accuracy bound of `keep_float: auto`.
        saved_model: Folder of the float SavedModel, or of the float TFLite file that is the baseline.
        calibration: Folder of an Examples artifact with the split `calibration`. Only static schemes read it.
        task: Reference of the task that decodes these examples.
        transform_graph: Folder of their TensorFlow Transform graph, if they have one.
        export: How a training step exported the model.
        trained: Trained ranges; empty for a model without them.
        sparse: Sparsity target of the model's weights; None for a model that was not pruned.
        pins: Quantization of inputs and outputs that devices fix.
    """

    name: str
    scheme: Scheme
    recurrent: Form | None = None
    bound: AccuracyBound | None = None
    saved_model: str
    calibration: str | None = None
    task: str | None = None
    transform_graph: str | None = None
    export: Export = "plain"
    trained: tuple[TrainedRange, ...] = ()
    sparse: SparsityTarget | None = None
    pins: Pins = Pins()


def run(request: ConversionRequest, folder: Path) -> None:
    """Convert, and write `OUTCOME_FILE` to `folder`, and `MODEL_FILE` if the conversion succeeds.

    An EdgemillError becomes a ConversionFailure. The parent process detects a crash, and sets the peak memory.
    """
    started = time.perf_counter()
    try:
        outcome = _convert(request, folder, started)
    except EdgemillError as error:
        outcome = ConversionFailure(
            scheme=request.scheme.kind,
            cause="unmet_bound" if isinstance(error, UnmetBoundError) else "refused",
            message=str(error).removesuffix(f". Remedy: {error.remedy}"),
            remedy=error.remedy,
        )
    write_atomically(folder / OUTCOME_FILE, outcome.model_dump_json().encode())


def _convert(request: ConversionRequest, folder: Path, started: float) -> Converted | ConversionFailure:
    scheme = request.scheme
    _enter(folder, "importing TensorFlow")
    made = _made(request, folder)
    _enter(folder, "reading the converted file")
    # Before compaction, because messages about broken promises need the tensor names that the converter generated.
    broken = scheme_violations(scheme, inspect_model(made.content), made.kept_tensors)
    content, proof = _compact(made.content, request), None
    if not broken:
        # Last, because it may crash this process. A file that crashes the runtime must not reach the evaluator.
        _enter(folder, "running the converted file")
        broken = does_not_run(content) or gross_differences(content, _few_examples(request))
    if broken:
        return ConversionFailure(
            scheme=scheme.kind,
            cause="broken_promise",
            message=f"the converter wrote a file of {len(made.content)} bytes, but {'; '.join(broken)}",
            remedy="use another scheme for this model, or replace the named layers",
        )
    if request.sparse is not None:
        _enter(folder, "encoding sparse weights, and timing the file against its dense twin")
        encode = made.encode_sparse
        compact = None if encode is None else lambda: _compact(encode(), request)
        content, proof = sparse_or_dense(content, compact, scheme, request.sparse)
    pinned = _measured_pins(made.content, content, request) if request.pins else ()
    write_atomically(folder / MODEL_FILE, content)
    return Converted(
        inspection=inspect_model(content),
        seconds=time.perf_counter() - started,
        peak_memory_bytes=0,
        ranges=made.ranges,
        sensitivity=made.sensitivity,
        search=made.search,
        lost_ranges=lost_ranges(content, request.trained),
        sparsity=proof,
        streaming=made.streaming,
        state_errors=made.state_errors,
        pinned=pinned,
    )


def _compact(content: bytes, request: ConversionRequest) -> bytes:
    from components.convert.compaction import compacted
    from components.convert.pins import with_pins

    return compacted(with_pins(content, request.pins) if request.pins else content)


def _measured_pins(content: bytes, pinned: bytes, request: ConversionRequest) -> tuple[PinnedFact, ...]:
    from components.convert.pins import measured_pins

    return measured_pins(content, pinned, request.pins, _sample(request))


def _sample(request: ConversionRequest) -> Iterator[tuple[Inputs, Inputs]] | None:
    """The decoded calibration sample; None if the request has none."""
    if request.calibration is None or request.task is None:
        return None
    return decode_examples(request.calibration, request.task, request.transform_graph)


def _made(request: ConversionRequest, folder: Path) -> ConversionResult:
    model, scheme = Path(request.saved_model).parent, request.scheme
    enter_stage = functools.partial(_enter, folder)
    match request.export:
        case "lowered":
            return convert_trained(model, scheme, request.recurrent, enter_stage)
        case "fused_lstm":
            return convert_trained_lstm(model, scheme, request.trained, enter_stage)
        case "plain":
            return _from_layers(request, folder)
        case _:
            assert_never(request.export)


def _from_layers(request: ConversionRequest, folder: Path) -> ConversionResult:
    """Convert a model whose export has no extra files: it has no trained ranges, or all of them are in its graph."""
    model, scheme = Path(request.saved_model).parent, request.scheme
    if tflite_path(Path(request.saved_model)) is not None:
        return _from_tflite(request, folder)
    if request.task is not None and scheme.is_static:
        load_task(request.task)  # Registers its custom layers.
    if lowers(model / KERAS_FILE, scheme, request.recurrent):
        return _lowered(request, folder)
    match scheme.backend:
        case "aeq":
            return _injected(request, folder)
        case "tensorflow":
            return _by_tensorflow(request, folder)
        case _:
            assert_never(scheme.backend)


def _lowered(request: ConversionRequest, folder: Path) -> ConversionResult:
    from components.convert.aeq.float_weights import float_file

    model, enter_stage = Path(request.saved_model).parent, functools.partial(_enter, folder)

    def made(form: Form) -> ConversionResult:
        return convert_lowered(model, request.scheme, form, _sample(request), folder / f"lowered_{form}", enter_stage)

    if request.recurrent is not None:
        return made(request.recurrent)
    return no_larger_sequence(made, lambda: float_file(Path(request.saved_model)), enter_stage)


def _from_tflite(request: ConversionRequest, folder: Path) -> ConversionResult:
    """Convert a baseline that is a float TFLite file, which only the second back-end reads."""
    from components.convert.aeq.float_weights import convert_weights, float_file

    if request.scheme.is_static:
        return _injected(request, folder)
    _enter(folder, "converting weights")
    return ConversionResult(convert_weights(float_file(Path(request.saved_model)), request.scheme))


def _by_tensorflow(request: ConversionRequest, folder: Path) -> ConversionResult:
    from components.convert.tensorflow.converter import convert

    _enter(folder, "converting")
    calibration, task = request.calibration, request.task
    representative = None
    if request.scheme.is_static and calibration is not None and task is not None:

        def representative() -> Iterator[Mapping[str, npt.NDArray[Any]]]:
            return (inputs for inputs, _ in decode_examples(calibration, task, request.transform_graph))

    model = Path(request.saved_model)
    known = None
    if fuses_lstm(model.parent / KERAS_FILE):
        if task is not None:
            load_task(task)  # Registers its custom layers.
        if representative is not None and calibration and task:
            known = known_cells(model.parent, decode_examples(calibration, task, request.transform_graph))
        model = with_fixed_batch(model.parent, folder / "fixed")
    content = convert(model, request.scheme, representative, known=known)
    errors = None
    if known is not None:
        from components.convert.recurrent.state_errors import fused_state_errors

        _enter(folder, "comparing each time step with the float model")
        errors = fused_state_errors(content, known)
    return ConversionResult(
        content,
        state_errors=errors,
        encode_sparse=lambda: convert(model, request.scheme, representative, sparse=True, known=known),
    )


def _injected(request: ConversionRequest, folder: Path) -> ConversionResult:
    from components.convert.aeq.float_weights import float_file
    from components.convert.aeq.recover import only_output, recover
    from components.model.keras_model import loss_takes_logits
    from components.model.tflite_runtime import TFLiteModel

    scheme = request.scheme
    if not isinstance(scheme, StaticScheme) or request.calibration is None or request.task is None:
        raise no_sample(scheme.kind)
    _enter(folder, "converting to float")
    content = float_file(Path(request.saved_model))
    _enter(folder, "reading the calibration sample")
    bound, task = request.bound, load_task(request.task)
    label = None if bound is None else bound.label
    examples = decode_examples(request.calibration, request.task, request.transform_graph, label)
    target = None if bound is None else bound.output or ONLY
    sample = load_sample(examples, TFLiteModel(content).input_names, target)
    if bound is not None and isinstance(task, WeighingTask):
        weights = weights_of_sample(request.calibration, request.task, request.transform_graph, bound.label)
        sample = dataclasses.replace(sample, weights=weights)

    def reads(outputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        final = postprocessed(task, outputs)
        return final[bound.output] if bound is not None and bound.output else only_output(final)

    # The loss matters only for outputs that are compared with targets.
    from_logits = loss_takes_logits(request.task, Path(request.saved_model).parent, bound.output) if bound else None
    return recover(content, scheme, sample, bound, functools.partial(_enter, folder), from_logits, reads)


def _few_examples(request: ConversionRequest) -> dict[str, npt.NDArray[Any]] | None:
    """Inputs of the first examples of the calibration sample, [N, ...]; None without a sample."""
    few = [inputs for inputs, _ in islice(_sample(request) or (), COMPARED)]
    return {name: np.concatenate([inputs[name] for inputs in few]) for name in few[0]} if few else None


def _enter(folder: Path, stage: str) -> None:
    logging.getLogger(__name__).info("%s", stage)
    enter(folder, stage)
