"""Conversion of recurrent layers that Edgemill lowers itself. Imports TensorFlow only when it converts."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.cells.plan import LOWERED, RECURRENT, is_recurrent, stays_unrolled
from components.convert.representative import load_sample, no_sample
from components.convert.result import ConversionResult
from components.facts.artifact_paths import FUSED_SAMPLE_FILE, SERVING_FOLDER, TRAJECTORIES_FILE
from components.facts.training import TrainedRange
from components.spec.scheme import Form, Scheme

if TYPE_CHECKING:
    from components.convert.tensorflow.fused_ranges import KnownRanges

Array = npt.NDArray[Any]
Examples = Iterator[tuple[Mapping[str, Array], Mapping[str, Array]]]


def lowers(keras_file: Path, scheme: Scheme, form: Form | None) -> bool:
    """Whether a model has layers that are lowered in this scheme and form.

    Reads only names and options of classes, unless all recurrent layers are built with `unroll=True`. Register the
    task's own layers first.
    """
    found = _kinds(keras_file)
    if not (form or scheme.is_static) or LOWERED.isdisjoint(found):
        return False
    return not (all(map(all, found.values())) and _stays_unrolled(keras_file, scheme, form))


def fuses_lstm(keras_file: Path) -> bool:
    """Whether a Keras model has an LSTM that isn't unrolled. Reads only the configuration; the file may be missing."""
    return not all(_kinds(keras_file).get("LSTM", [True]))


def _kinds(keras_file: Path) -> dict[str, list[bool]]:
    """Class of recurrent layers -> for each of its layers, whether it is built with `unroll=True`."""
    found: dict[str, list[bool]] = {}
    if keras_file.is_file():
        with zipfile.ZipFile(keras_file) as archive:
            for kind, unroll in _recurrent(json.loads(archive.read("config.json"))):
                found.setdefault(kind, []).append(unroll)
    return found


def _recurrent(value: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(value, dict):
        name, config = value.get("class_name"), value.get("config")
        if isinstance(name, str) and (kind := name.rpartition(">")[2]) in RECURRENT - {"Bidirectional"}:
            yield kind, isinstance(config, dict) and bool(config.get("unroll"))
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _recurrent(one)


def _stays_unrolled(keras_file: Path, scheme: Scheme, form: Form | None) -> bool:
    from components.cells import sru  # noqa: F401 - registers the layer
    from components.model.keras_graph import all_layers
    from components.model.keras_model import load_kept

    model = load_kept(keras_file.parents[1])
    layers = (layer for _, layer in all_layers(model) if is_recurrent(layer))
    return stays_unrolled(layers, scheme, form, trained=False)


def convert_lowered(
    model_folder: Path,
    scheme: Scheme,
    form: Form,
    examples: Examples | None,
    folder: Path,
    enter: Callable[[str], None],
) -> ConversionResult:
    """Lower a model's recurrent layers, convert it, and compare its states with the float model's.

    Static schemes require the examples, which are the calibration sample.

    Raises:
        SpecError, DataError, ModelError, ConversionError: See `lower` and `convert`.
    """
    from components.cells import sru  # noqa: F401 - registers the layer
    from components.lowering.forms import returns_each_step
    from components.lowering.lowering import lower
    from components.lowering.preflight import plan_layers
    from components.model.keras_model import load_kept, output_names

    model = load_kept(model_folder)
    plan_layers(model, scheme, form, trained=False)
    if scheme.is_static and examples is None:
        raise no_sample(scheme.kind)
    sample = None
    if examples is not None:
        enter("reading the calibration sample")
        sample = load_sample(examples, [tensor.name.partition(":")[0] for tensor in model.inputs], None).inputs
    enter("lowering recurrent layers with the states of the float model")
    seen, ranges = lower(model, scheme, form, folder, sample, output_names(model))
    each_step = form == "streaming" and returns_each_step(model)
    return _converted(folder / SERVING_FOLDER, scheme, enter, seen, each_step, ranges)


def convert_trained(
    model_folder: Path, scheme: Scheme, form: Form | None, enter: Callable[[str], None]
) -> ConversionResult:
    """Like `convert_lowered`, for a model whose recurrent layers were lowered in training. None is the default form."""
    from components.convert.recurrent.size import with_loops
    from components.lowering.lowering import load_trajectories

    seen, each_step = load_trajectories(model_folder / TRAJECTORIES_FILE)
    made = _converted(model_folder / SERVING_FOLDER, scheme, enter, seen, each_step, ())
    return made if form is not None else with_loops(made, enter)


def with_fixed_batch(model_folder: Path, folder: Path) -> Path:
    """Export a Keras model as a SavedModel whose batch size is 1 in all layers.

    If the batch size is open inside the model, the converter fuses only the first of consecutive LSTMs, because the
    signature fixes the batch size of inputs but not of tensors between layers (TensorFlow 2.16).
    """
    from components.model.keras_model import export, load_kept

    export(load_kept(model_folder), folder, batch=1)
    return folder / SERVING_FOLDER


def known_cells(model_folder: Path, examples: Examples) -> KnownRanges:
    """The ranges of cell states, and the hidden states, of a float model's LSTMs on a calibration sample."""
    from components.convert.tensorflow.fused_ranges import CellRanges, KnownRanges
    from components.lowering.lowering import STEP_EXAMPLES, seen_cells
    from components.model.keras_model import load_kept

    model = load_kept(model_folder)
    sample = load_sample(examples, [tensor.name.partition(":")[0] for tensor in model.inputs], None).inputs
    return KnownRanges(
        [CellRanges(one.kernel, one.cell, states=one.hidden) for one in seen_cells(model, sample)],
        sequences={name: values[:STEP_EXAMPLES] for name, values in sample.items()},
    )


def convert_trained_lstm(
    model_folder: Path, scheme: Scheme, trained: Sequence[TrainedRange], enter: Callable[[str], None]
) -> ConversionResult:
    """Convert a model whose LSTMs were trained under 8-bit quantization to fused operators with the trained ranges."""
    from components.convert.recurrent.state_errors import fused_state_errors
    from components.convert.tensorflow.converter import convert
    from components.convert.tensorflow.fused_ranges import CellRanges, KnownRanges

    with np.load(model_folder / FUSED_SAMPLE_FILE) as archive:
        held = {name: archive[name] for name in archive.files}
    sample = {name.removeprefix("input "): values for name, values in held.items() if name.startswith("input ")}
    kernels = {name.removeprefix("kernel "): values for name, values in held.items() if name.startswith("kernel ")}
    last = {name.removeprefix("last "): str(layer) for name, layer in held.items() if name.startswith("last ")}
    states = {name.removeprefix("states "): values for name, values in held.items() if name.startswith("states ")}
    ends = {one.tensor: (one.low, one.high) for one in trained}
    known = KnownRanges(
        cells=[
            CellRanges(kernel, ends[f"{name}/c"], ends[f"{name}/h"], states[name]) for name, kernel in kernels.items()
        ],
        layers={name: each for name, each in ends.items() if name.rpartition("/")[0] not in kernels},
        inputs={name: ends[f"input {name}"] for name in sample if f"input {name}" in ends},
        outputs={output: ends[layer] for output, layer in last.items() if layer in ends},
        sequences={name: values[: len(next(iter(states.values())))] for name, values in sample.items()},
    )

    def samples() -> Iterator[Mapping[str, Array]]:
        for position in range(len(next(iter(sample.values())))):
            yield {name: values[position : position + 1] for name, values in sample.items()}

    def make(sparse: bool) -> bytes:
        return convert(model_folder / SERVING_FOLDER, scheme, samples, sparse=sparse, known=known)

    enter("converting with trained ranges")
    content = make(sparse=False)
    enter("comparing each time step with the float model")
    return ConversionResult(
        content, state_errors=fused_state_errors(content, known), encode_sparse=lambda: make(sparse=True)
    )


def _converted(
    saved_model: Path, scheme: Scheme, enter: Callable[[str], None], seen: Any, each_step: bool, ranges: Any
) -> ConversionResult:
    from components.convert.recurrent.state_errors import state_errors, streaming_contract
    from components.convert.tensorflow.converter import convert
    from components.model.tflite_flags import with_each_step

    def make(sparse: bool) -> bytes:
        content = convert(saved_model, scheme, None, sparse=sparse)
        return with_each_step(content) if each_step else content

    enter("converting")
    content = make(sparse=False)
    contract = streaming_contract(content)
    errors = None
    if seen is not None:
        enter("comparing each time step with the float model")
        errors = state_errors(content, seen.inputs, seen.states)
    return ConversionResult(
        content, ranges=ranges, encode_sparse=lambda: make(sparse=True), streaming=contract, state_errors=errors
    )
