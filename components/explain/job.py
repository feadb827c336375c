"""The work of an explanation's child process: read the examples, get the float file, and compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from components.core.child import enter
from components.core.errors import EdgemillError
from components.core.files import write_atomically
from components.core.values import FrozenModel
from components.facts.artifact_paths import EXPLANATION_FILE
from components.facts.explanation import Explanation
from components.spec.scheme import Form, Scheme

_SCHEME: TypeAdapter[Scheme] = TypeAdapter(Scheme)


class ExplanationRequest(FrozenModel):
    """One explanation, in a form that can be sent to another process.

    Attributes:
        recipe: Snapshot of the candidate's recipe.
        candidate: Path of the candidate's file.
        reference: Path of the float file of the same model; None to create one from `serving`.
        serving: Serving folder of the model that the candidate was converted from.
        examples: Number of examples.
        files: Gzipped TFRecord files with the examples.
        source: A description of where the examples are from.
        task: Reference of the task that decodes them.
        transform_graph: Folder of their TensorFlow Transform graph, if they have one.
    """

    recipe: dict[str, Any]
    candidate: str
    reference: str | None
    serving: str
    examples: int
    files: tuple[str, ...]
    source: str
    task: str
    transform_graph: str | None = None

    @property
    def scheme(self) -> Scheme:
        """The recipe's scheme."""
        return _SCHEME.validate_python(self.recipe["scheme"])

    @property
    def form(self) -> Form | None:
        """The recipe's form of recurrent layers."""
        return self.recipe.get("recurrent")

    def unavailable(self, why: str) -> Explanation:
        """The result if there is no explanation."""
        return Explanation(recipe=str(self.recipe["name"]), scheme=self.scheme.kind, unavailable=why)


def run(request: ExplanationRequest, folder: Path) -> None:
    """Write an `Explanation` to `EXPLANATION_FILE` in a folder. An EdgemillError is the reason why there is none."""
    try:
        found = _explained(request, folder)
    except EdgemillError as error:
        found = request.unavailable(str(error))
    write_atomically(folder / EXPLANATION_FILE, found.model_dump_json().encode())


def _explained(request: ExplanationRequest, folder: Path) -> Explanation:
    enter(folder, "importing TensorFlow")
    from components.convert.recurrent.backend import lowers
    from components.explain.explain import explain
    from components.explain.reference import float_reference
    from components.facts.artifact_paths import KERAS_FILE
    from components.model.tflite_runtime import TFLiteModel

    serving, candidate = Path(request.serving), Path(request.candidate).read_bytes()
    enter(folder, "decoding the examples")
    examples = list(_examples(request))
    if request.reference is not None and not lowers(serving.parent / KERAS_FILE, request.scheme, request.form):
        reference = Path(request.reference).read_bytes()
    else:
        streaming = TFLiteModel(candidate).streaming
        reference = float_reference(
            serving, request.scheme, request.form, streaming, examples, folder, lambda stage: enter(folder, stage)
        )
    enter(folder, "comparing the layers")
    return explain(reference, candidate, examples, recipe=request.recipe, scheme=request.scheme, source=request.source)


def _examples(request: ExplanationRequest) -> Iterator[dict[str, npt.NDArray[Any]]]:
    from components.data.examples import ExampleDecoder, first_examples

    serialized = first_examples(request.files, request.examples, "explain candidates with")
    inputs, _ = ExampleDecoder(request.task, request.transform_graph).decode(serialized)
    for index in range(len(serialized)):
        yield {name: np.asarray(values[index : index + 1]) for name, values in inputs.items()}
