"""The signature of a SavedModel as a baseline: chosen, with fixed dimensions, and an open batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from components.facts.artifact_paths import SIGNATURE
from components.model.input_shapes import Specs, prove_rows, wanted_specs
from components.model.saved_model import check_serving, load_serving
from components.ranges.affine import Array
from components.spec.baseline import PretrainedBaseline
from components.upstream.saved_model import call_with_other_shapes


class BaselineGraph(NamedTuple):
    """A function that can be converted and evaluated.

    Attributes:
        held: The loaded SavedModel. The variables of the function live only as long as it does.
        signature: The function.
        as_saved: Whether it is `serving_default` of the SavedModel, unchanged.
    """

    held: Any
    signature: Any
    as_saved: bool


def load_graph(baseline: PretrainedBaseline) -> BaselineGraph:
    """Load the signature that a pipeline file chooses, with the shapes that it gives.

    Raises:
        ModelError: The SavedModel cannot be loaded, has no such signature, or cannot be converted and evaluated.
        SpecError: `baseline.input_shapes` doesn't fit its inputs.
    """
    name = baseline.signature or SIGNATURE
    held, signature = load_serving(Path(baseline.path), name)
    specs = signature.structured_input_signature[1]
    wanted = wanted_specs(specs, baseline.input_shapes)
    same = all(specs[name].shape.as_list() == spec.shape.as_list() for name, spec in wanted.items() if spec.shape.rank)
    served = signature if same else _reshaped(signature, specs, wanted, baseline.path)
    check_serving(served, baseline.path)
    return BaselineGraph(held, served, as_saved=same and name == SIGNATURE)


def save_graph(graph: BaselineGraph, source: Path, folder: Path) -> None:
    """Write a SavedModel whose `serving_default` is the function.

    Args:
        graph: The function.
        source: The SavedModel that it was loaded from.
        folder: A folder that doesn't exist.
    """
    if graph.as_saved:
        shutil.copytree(source, folder)
        return
    module = tf.Module()
    # Saving follows attributes to find variables and tables.
    module.held, module.serve = graph.held, graph.signature
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: graph.signature})


def _reshaped(signature: Any, specs: Specs, wanted: Specs, where: str) -> Any:
    """The signature for inputs of other shapes. If only the batch is opened, the result is verified to be the same."""
    outputs = dict(zip(sorted(signature.structured_outputs), signature.outputs, strict=True))
    opened = any(spec.shape.rank and spec.shape[0] not in (None, 1) for spec in specs.values())

    @tf.function(autograph=False)
    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        if not opened:
            return dict(signature(**inputs))
        found = call_with_other_shapes(signature, inputs)
        for tensor, old in zip(found, outputs.values(), strict=True):
            tensor.set_shape([None, *old.shape[1:]] if old.shape.rank else old.shape)
        return dict(zip(outputs, found, strict=True))

    changed = serve.get_concrete_function(**wanted)
    prove_rows(_rows(signature), _rows(changed), specs, wanted, where)
    return changed


def _rows(function: Any) -> Callable[[Mapping[str, Array]], list[Array]]:
    def run(inputs: Mapping[str, Array]) -> list[Array]:
        found = function(**{name: tf.constant(values) for name, values in inputs.items()})
        return [np.asarray(found[name]) for name in sorted(found)]

    return run
