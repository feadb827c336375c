"""Converts recurrent models that can't be checked otherwise, before any node runs. Imports TensorFlow."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from components.convert.compaction import compacted
from components.convert.job import ConversionRequest, run
from components.convert.recurrent.backend import convert_lowered
from components.convert.recurrent.size import refuse_larger, with_loops
from components.core.errors import ConversionError, EdgemillError, ModelError, summary_line
from components.facts.artifact_paths import OUTCOME_FILE, SERVING_FOLDER
from components.facts.conversion import ConversionFailure, outcome_of
from components.facts.training import LayerPlan
from components.model.keras_model import export, input_specs, save_keras
from components.spec.recipe import Recipe
from components.spec.scheme import Form, Scheme
from pipelines.checks.converted.model import native_silence

_LOG = logging.getLogger(__name__)
# The sizes of files don't depend on the examples that ranges come from.
_EXAMPLES = 2
# Bits of the weights in float16.
_HALF = 16


class RecurrentFiles:
    """The files of a model with recurrent layers. Time steps and gates determine their quantization and size.

    Args:
        model: A built functional or Sequential Keras model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._sizes: dict[tuple[Scheme, Form], int] = {}

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        """The model in the layout of a baseline. The files are removed with this object."""
        folder = tempfile.TemporaryDirectory(prefix="edgemill-recurrent-")
        export(self._model, Path(folder.name))
        save_keras(self._model, Path(folder.name))
        return folder

    def refusals(self, recipe: Recipe, plans: Sequence[LayerPlan]) -> Iterator[EdgemillError]:
        """Yield the reasons why the files of a recipe don't have the promised properties.

        Args:
            recipe: A recipe whose recurrent layers can be converted.
            plans: How its recurrent layers are converted.
        """
        scheme = recipe.scheme
        # The converter can write a loop whose constants have the wrong size for float16.
        halves = scheme.weight_bits == _HALF and any(plan.mode == "loop" for plan in plans)
        if (scheme.is_dynamic_range or halves) and (error := self._broken_promise(recipe)):
            yield error
        unrolled = any(plan.mode == "unrolled" for plan in plans)
        if unrolled and recipe.recurrent is None and scheme.is_static and not scheme.must_be_trained:
            try:
                self._refuse_larger(scheme)
            except ConversionError as error:
                yield error

    def _broken_promise(self, recipe: Recipe) -> ModelError | None:
        """The error if too few weights are quantized in the file of a scheme that doesn't measure ranges."""
        request = ConversionRequest(
            name=recipe.name,
            scheme=recipe.scheme,
            recurrent=recipe.recurrent,
            saved_model=str(Path(self._folder.name) / SERVING_FOLDER),
        )
        with tempfile.TemporaryDirectory() as folder, native_silence():
            run(request, Path(folder))
            outcome = outcome_of((Path(folder) / OUTCOME_FILE).read_bytes())
        if not isinstance(outcome, ConversionFailure) or outcome.cause != "broken_promise":
            return None
        return ModelError(outcome.message, where="scheme", measured=recipe.scheme.kind, remedy=outcome.remedy)

    def _refuse_larger(self, scheme: Scheme) -> None:
        """Raise a ConversionError if the sequence form is larger than the float file."""
        from components.convert.aeq.float_weights import float_file

        try:
            with native_silence():
                sequence = self._size(scheme, "sequence")
                reference = len(compacted(float_file(Path(self._folder.name) / SERVING_FOLDER)))
        except EdgemillError as error:
            # The conversion of the run reports the error.
            _LOG.info("The size of the sequence form is unknown: %s", summary_line(error))
            return
        with native_silence():
            refuse_larger(sequence, reference, lambda: self._size(scheme, "streaming"))

    def _size(self, scheme: Scheme, form: Form) -> int:
        if (scheme, form) not in self._sizes:
            with tempfile.TemporaryDirectory() as folder:
                made = convert_lowered(
                    Path(self._folder.name), scheme, form, self._examples(), Path(folder), _enter_nothing
                )
                made = with_loops(made, _enter_nothing) if form == "sequence" else made
                self._sizes[scheme, form] = len(compacted(made.content))
        return self._sizes[scheme, form]

    def _examples(self) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        random = np.random.default_rng(0)
        for _ in range(_EXAMPLES):
            inputs = {}
            for name, spec in input_specs(self._model).items():
                shape = [1, *spec.shape[1:]]
                # Indexes of an Embedding must exist. 0 and 1 always do.
                values = random.normal(size=shape) if spec.dtype.is_floating else random.integers(0, 2, shape)
                inputs[name] = values.astype(spec.dtype.as_numpy_dtype)
            yield inputs, {}


_enter_nothing: Callable[[str], None] = lambda _stage: None  # noqa: E731
