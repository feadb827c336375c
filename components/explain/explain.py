"""Explains one candidate: compares it with its float file, and finds faults and fixes. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from components.convert.aeq.layers import read_graph
from components.core.files import sha256_of_bytes
from components.explain.causes import MOST_ERROR, Finding, find_faults
from components.explain.comparison import Comparison, Measured
from components.explain.cures import Situation, cure
from components.explain.graph import Array
from components.explain.matching import MOVING, STORAGE
from components.explain.measure import compare
from components.facts.explanation import Explanation, Fault, LayerError
from components.spec.scheme import Scheme

INPUT = "INPUT"


def explain(
    reference: bytes,
    candidate: bytes,
    examples: Iterable[Mapping[str, Array]],
    *,
    recipe: Mapping[str, Any],
    scheme: Scheme,
    source: str,
) -> Explanation:
    """Explain a candidate.

    Args:
        reference: The float file that it was quantized from.
        candidate: The candidate's file.
        examples: As for `compare`.
        recipe: Snapshot of the candidate's recipe.
        scheme: The recipe's scheme.
        source: Where the examples are from.

    Raises:
        ModelError, DataError: See `compare`.
    """
    found = compare(reference, candidate, examples)
    names = _layer_names(reference, found)
    kinds = frozenset(one.kind for one in found.candidate.operators)
    by_output = {row.output: row for row in found.measured}
    faults = find_faults(found, lambda row: _label(row, names, found))
    return Explanation(
        recipe=str(recipe["name"]),
        scheme=scheme.kind,
        sha256=sha256_of_bytes(candidate),
        graph=found.candidate.title,
        examples=found.examples,
        source=source,
        layers=tuple(_layer(row, names, found) for row in found.measured if _adds_error(row)),
        faults=tuple(_fault(one, names, found, recipe, scheme, kinds) for one in faults),
        outputs={
            name: by_output[computed].errors.total
            for name, index in found.outputs.items()
            if (computed := found.reference.source(index, STORAGE)) in by_output
        },
        unmatched=found.unmatched,
    )


def _layer_names(reference: bytes, found: Comparison) -> dict[int, str]:
    """Index of a tensor of the float file -> the layer that computes it, as `keep_float` accepts it; "" without one."""
    layers = {
        name: layer.name for layer in read_graph(reference).layers for one in layer.operators for name in one.outputs
    }
    return {tensor.index: layers.get(tensor.name, "") for tensor in found.reference.tensors if tensor.name}


def _adds_error(row: Measured) -> bool:
    """Whether an operator can add an error: those that only move values usually can't."""
    return row.operator is None or row.operator.kind not in MOVING or row.errors.own > MOST_ERROR / 100


def _kind(row: Measured) -> str:
    return row.operator.kind if row.operator else INPUT


def _label(row: Measured, names: Mapping[int, str], found: Comparison) -> str:
    if row.operator is None:
        name = found.reference.name(row.output)
        return name.removeprefix("serving_default_").removesuffix(":0")
    return names.get(row.output) or found.reference.name(row.output)


def _tensor(row: Measured, found: Comparison) -> str:
    index = row.held.index if row.counterpart is None else row.counterpart.outputs[0]
    return found.candidate.name(index)


def _layer(row: Measured, names: Mapping[int, str], found: Comparison) -> LayerError:
    errors = row.errors
    return LayerError(
        layer=_label(row, names, found),
        operator=_kind(row),
        tensor=_tensor(row, found),
        place=-1 if row.counterpart is None else row.counterpart.index,
        total=errors.total,
        own=errors.own,
        weights=errors.weights,
        activations=errors.activations,
        channels=errors.medians[0],
        beyond=errors.beyond / max(1, errors.values),
    )


def _fault(
    finding: Finding,
    names: Mapping[int, str],
    found: Comparison,
    recipe: Mapping[str, Any],
    scheme: Scheme,
    kinds: frozenset[str],
) -> Fault:
    row = finding.at
    readers = [one.outputs[0] for one in found.reference.readers.get(row.output, [])]
    outputs = [*(one.output for one in finding.also if one.operator), row.output, *readers]
    # The input of a model is in no layer.
    layers = dict.fromkeys(names.get(index, "") for index in outputs if row.operator or index != row.output)
    at = Situation(
        recipe=recipe,
        scheme=scheme,
        layers=tuple(layers) if all(layers) else (),
        layer=names.get(row.output, ""),
        kind=_kind(row),
        operators=kinds,
    )
    return Fault(
        layer=_label(row, names, found),
        operator=_kind(row),
        tensor=_tensor(row, found),
        cause=finding.cause,
        evidence=finding.evidence,
        remedy=cure(finding.cause, at),
    )
