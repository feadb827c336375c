"""Everything that is measured about candidates, as one report."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from components.compression import compressed_bytes
from components.errors import DataError, EdgemillError
from components.evaluate.evaluation import BASELINE, run_evaluation
from components.evaluate.extractors import load_tflite, read_batches
from components.evaluate.latency import kernel_note, measure_latency
from components.evaluate.results import load_slices
from components.evaluate.spec import EvaluationSpec
from components.examples import ExampleDecoder, Inputs
from components.files import bytes_of, sha256_of_bytes
from components.interpreter import TFLiteModel
from components.layout import SERVING_FOLDER, TFLITE_FILE, outcome_of
from components.recipe import Recipe
from components.report import (
    CandidateReport,
    ConversionFailure,
    ConversionOutcome,
    Converted,
    EvaluationReport,
    Latency,
)
from components.verified import Verified, verified

# Enough to see 1 % of outputs saturate.
SATURATION_EXAMPLES = 500

logger = logging.getLogger(__name__)


def assess(
    *,
    files: Sequence[str],
    baseline: Path,
    float_reference: Path,
    candidates: Sequence[Path],
    spec: EvaluationSpec,
    label: str,
    task: str,
    output: Path,
    transform_graph: str | None = None,
    make_pipeline: Callable[[], Any],
) -> EvaluationReport:
    """Evaluate and time candidates; a candidate that cannot be run is reported as failed and keeps none from it.

    Args:
        files: Gzipped TFRecord files of tf.Examples.
        baseline: Folder of the baseline Model artifact.
        float_reference: Folder of a Model artifact with the baseline as float32 TFLite file: what sizes and times
            are compared with. Without such a file (its conversion failed) nothing is timed, and `baseline_bytes` is
            the size of the SavedModel.
        candidates: Folders of Model artifacts, in the order of the report.
        spec, label, task, transform_graph, make_pipeline: As for `run_evaluation`.
        output: Folder for TFMA's files.

    Raises:
        SpecError, DataError, ModelError: As for `run_evaluation`.
        TamperedError: An artifact is not the one that was written, before the evaluation or after it.
    """
    example = first_example(files, task, transform_graph)
    # The figures are bound to these bytes: read before they are evaluated, and compared again afterwards.
    read = {folder: verified(folder) for folder in (baseline, float_reference, *candidates)}
    recipes = [_recipe(read[folder]) for folder in candidates]
    outcomes = {
        recipe.name: _runnable(recipe, folder, example) for recipe, folder in zip(recipes, candidates, strict=True)
    }
    runnable = {
        recipe.name: folder / TFLITE_FILE
        for recipe, folder in zip(recipes, candidates, strict=True)
        if isinstance(outcomes[recipe.name], Converted)
    }
    contents = {
        recipe.name: read[folder].read(TFLITE_FILE)
        for recipe, folder in zip(recipes, candidates, strict=True)
        if recipe.name in runnable
    }
    outputs = run_evaluation(
        files=files,
        baseline=baseline / SERVING_FOLDER,
        candidates=runnable,
        spec=spec,
        label=label,
        task=task,
        output=output,
        transform_graph=transform_graph,
        make_pipeline=make_pipeline,
    )
    for artifact in read.values():
        artifact.check()
    slices = load_slices(output, [BASELINE, *runnable], [metric.name for metric in spec.metrics])
    sample = _first_examples(files, task, transform_graph)
    saturated = {name: saturated_share(content, sample) for name, content in contents.items()}
    reference = float_reference / TFLITE_FILE
    latencies = _latencies(reference, contents, example)
    return EvaluationReport(
        baseline_slices=slices[BASELINE],
        baseline_bytes=bytes_of(reference if reference.exists() else baseline / SERVING_FOLDER),
        candidates=tuple(
            CandidateReport(
                recipe=recipe,
                outcome=outcomes[recipe.name],
                sha256=sha256_of_bytes(contents[recipe.name]) if recipe.name in contents else None,
                compressed=compressed_bytes(contents[recipe.name]) if recipe.name in contents else None,
                slices=slices.get(recipe.name, ()),
                saturated=saturated.get(recipe.name),
                latency=_with_note(latencies.get(recipe.name), kernel_note(recipe.scheme, outcomes[recipe.name])),
            )
            for recipe in recipes
        ),
        outputs=outputs,
    )


def first_example(files: Sequence[str], task: str, transform_graph: str | None) -> Inputs:
    """The decoded inputs of the first example, arrays [1, ...].

    Raises:
        DataError: There is none.
    """
    for file in files:
        for batch in read_batches(file, 1):
            return ExampleDecoder(task, transform_graph).decode(batch[tfma.INPUT_KEY])[0]
    raise DataError(
        "there are no examples to evaluate on",
        where=", ".join(files) or "evaluate.split",
        remedy="check the data folder and the splits",
    )


def _first_examples(files: Sequence[str], task: str, transform_graph: str | None) -> Inputs:
    batches = itertools.chain.from_iterable(read_batches(file, SATURATION_EXAMPLES) for file in files)
    decoder = ExampleDecoder(task, transform_graph)
    return decoder.decode(next(batch[tfma.INPUT_KEY] for batch in batches))[0]


def saturated_share(content: bytes, sample: Inputs) -> float | None:
    """As `TFLiteModel.saturated`, of a file's one output."""
    model = TFLiteModel(content)
    (name,) = model.output_names
    if model.output_scale(name) is None:
        return None
    return model.saturated(name, model.predict(sample)[name])


def _recipe(candidate: Verified) -> Recipe:
    recipe = candidate.manifest.recipe
    if recipe is None:
        raise ValueError(f"{candidate.folder} is no candidate: its manifest names no recipe")
    return recipe


def _runnable(recipe: Recipe, folder: Path, example: Mapping[str, np.ndarray[Any, Any]]) -> ConversionOutcome:
    outcome = outcome_of(folder)
    if isinstance(outcome, ConversionFailure):
        return outcome
    try:
        load_tflite(str(folder / TFLITE_FILE))(example)
    except EdgemillError as error:
        logger.warning("The candidate %s cannot be run: %s", recipe.name, error)
        return ConversionFailure(
            scheme=recipe.scheme.kind, cause="broken_promise", message=error.what, remedy=error.remedy
        )
    return outcome


def _latencies(reference: Path, contents: Mapping[str, bytes], example: Inputs) -> dict[str, Latency]:
    if not reference.exists():
        logger.warning("There is no float TFLite file: nothing is timed")
        return {}
    return measure_latency(reference.read_bytes(), contents, example)


def _with_note(latency: Latency | None, note: str) -> Latency | None:
    if latency is None or not note:
        return latency
    return latency.model_copy(update={"note": "; ".join(filter(None, (latency.note, note)))})
