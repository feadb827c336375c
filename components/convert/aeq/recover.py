"""Conversion of a float file to a quantized one by the ai-edge-quantizer back-end. Imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.convert.aeq.activations import choose_ranges, histograms_of, outputs_of, range_facts
from components.convert.aeq.layers import Layer, float_tensors_of, kinds_of, matching, read_graph
from components.convert.aeq.metric import scorer
from components.convert.aeq.quantize import (
    Ranges,
    quantize_all,
    quantize_only,
    refuse_clipped_biases,
    refuse_what_stays_float,
)
from components.convert.aeq.selection import fewest_float, relative_error
from components.convert.representative import Sample
from components.convert.result import ConversionResult
from components.core.errors import SpecError
from components.facts.conversion import FloatSearch, LayerSensitivity
from components.spec.convert import AccuracyBound
from components.spec.ranges import AutoKeepFloat, KeepLayersFloat
from components.spec.scheme import StaticScheme

_LOG = logging.getLogger(__name__)

# The order of layers needs far fewer examples than a metric does.
SENSITIVITY_EXAMPLES = 128

# A model's outputs by name -> the values that the metric of `keep_float: auto` reads.
Reads = Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[Any]]


def only_output(outputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The values of the only output."""
    (values,) = outputs.values()
    return values


def recover(
    content: bytes,
    scheme: StaticScheme,
    sample: Sample,
    bound: AccuracyBound | None = None,
    enter: Callable[[str], None] = _LOG.info,
    from_logits: bool | Literal["sigmoid"] | None = None,
    reads: Reads = only_output,
) -> ConversionResult:
    """Quantize a float file with estimated ranges, and keep the selected layers in float.

    The scheme has `calibration_method`, `keep_float`, or both. `keep_float: auto` requires the bound, and labels in the
    calibration sample. `from_logits` says whether the task's loss takes logits; None if unknown.
    `reads` returns the values that the metric reads from the outputs, for example after the task's `postprocess`.

    Raises:
        ConversionError: The back-end cannot quantize an operator, or no choice of float layers meets the bound.
        SpecError: A pattern matches no layer, or the metric does not fit.
        ModelError: The float file cannot be run.
    """
    graph = read_graph(content)
    refuse_what_stays_float(graph, scheme)
    named = matching(graph.layers, scheme.kept_float.names) if isinstance(scheme.kept_float, KeepLayersFloat) else ()
    enter("measuring ranges")
    bits = scheme.activation_bits
    histograms = histograms_of(content, graph, sample)
    ranges = choose_ranges(histograms, scheme.range_estimator, bits, graph)
    facts = range_facts(histograms, ranges, graph, bits)
    if scheme.kept_float is None:
        return ConversionResult(_final(content, scheme, ranges, (), enter), frozenset(), facts)

    enter("measuring the sensitivity of each layer")
    errors = _errors(content, scheme, ranges, graph.layers, sample)
    # The sort is stable: layers with equal errors keep the order of the model.
    ordered = sorted(graph.layers, key=lambda layer: -errors[layer])
    kept, search = list(named), None
    if isinstance(scheme.kept_float, AutoKeepFloat):
        enter("searching for the fewest float layers")
        search = _search(content, scheme, ranges, ordered, sample, bound, from_logits, reads)
        kept = ordered[: len(search.drops) - 1]
    return ConversionResult(
        content=_final(content, scheme, ranges, kept, enter),
        kept_tensors=float_tensors_of(kept),
        ranges=facts,
        sensitivity=tuple(
            LayerSensitivity(layer=layer.name, operators=kinds_of(layer), error=errors[layer], kept_float=layer in kept)
            for layer in ordered
        ),
        search=search,
    )


def _final(
    content: bytes, scheme: StaticScheme, ranges: Ranges, kept: Sequence[Layer], enter: Callable[[str], None]
) -> bytes:
    enter("quantizing with injected ranges")
    made = quantize_all(content, scheme, ranges, kept)
    # Only for the final file, because during a search the next float layer may remove the clipped bias.
    refuse_clipped_biases(made, scheme)
    return made


def _errors(
    content: bytes, scheme: StaticScheme, ranges: Ranges, layers: tuple[Layer, ...], sample: Sample
) -> dict[Layer, float]:
    first = sample.first(SENSITIVITY_EXAMPLES)
    reference = outputs_of(content, first)
    found: dict[Layer, float] = {}
    for position, layer in enumerate(layers):
        candidate = outputs_of(quantize_only(content, scheme, ranges, layer), first)
        # The mean over the outputs, each relative to its own scale.
        found[layer] = float(np.mean([relative_error(reference[name], candidate[name]) for name in reference]))
        _LOG.info("%d of %d: only %s quantized: error %.3g", position + 1, len(layers), layer.name, found[layer])
    return found


def _search(
    content: bytes,
    scheme: StaticScheme,
    ranges: Ranges,
    ordered: list[Layer],
    sample: Sample,
    bound: AccuracyBound | None,
    from_logits: bool | Literal["sigmoid"] | None,
    reads: Reads,
) -> FloatSearch:
    if bound is None or sample.labels is None:
        raise SpecError(
            "`keep_float: auto` has no accuracy bound",
            where="keep_float",
            bound="a metric, a bound, and labels",
            remedy="give `max_drop`, or bound the first metric in the gate with `max_drop_from_baseline`",
        )
    outputs = outputs_of(content, sample)
    reference = reads(outputs)
    # `postprocess` computes something other than the output of the model's last operator.
    same = any(reference is values for values in outputs.values())
    kind = read_graph(content).final_kind(bound.output) if same else ""
    score = scorer(bound, sample.labels, reference, kind, from_logits if same else None, sample.weights)
    return fewest_float(
        len(ordered),
        lambda kept: score(reads(outputs_of(quantize_all(content, scheme, ranges, ordered[:kept]), sample))),
        metric=bound.metric,
        examples=len(sample.labels),
        float_value=score(reference),
        max_drop=bound.max_drop,
        less_is_better=bound.less_is_better,
    )
