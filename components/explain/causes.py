"""Finds the operators that add too much error, and why, from their errors. Doesn't import TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from components.explain.comparison import Comparison, Measured
from components.explain.graph import Array
from components.explain.matching import MOVING, STORAGE
from components.facts.explanation import Cause

# An operator is faulty if it adds an error of more than a tenth of the signal (20 dB). Sound 8-bit integers reach 30 dB
# and more. Half of the channels must be above 10 dB, because a few channels without effect are common.
MOST_ERROR, MOST_CHANNEL_ERROR = 1e-2, 1e-1
# TFLite fixes the output range of these operators, so it is normal if most of their channels are nearly constant.
_FIXED = frozenset({"L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"})
# Operators whose output has the scale of their input.
_SAME_SCALE = MOVING | STORAGE
# Operator -> positions of its weights and its bias, and the axis of its output channels in the weights.
_WEIGHTED = {
    "CONV_2D": (1, 2, 0),
    "DEPTHWISE_CONV_2D": (1, 2, 3),
    "FULLY_CONNECTED": (1, 2, 0),
    "TRANSPOSE_CONV": (1, 3, 0),
}
# If a range is this many times a usual one, which costs 3 bits, it is the cause of an error.
_UNEQUAL = 8.0
# Largest magnitude over root mean square. Above it, 8 bits give less than about 25 dB.
_CREST = 40.0
_MOST_BIAS = 2.0**31 - 256


@dataclass(frozen=True, eq=False)
class Finding:
    """A faulty operator.

    Attributes:
        at: The operator that is at fault.
        cause: The kind of the cause.
        evidence: A description of the cause, with figures.
        also: Other operators that the fix must include.
    """

    at: Measured
    cause: Cause
    evidence: str
    also: tuple[Measured, ...] = ()


def find_faults(comparison: Comparison, label: Callable[[Measured], str]) -> tuple[Finding, ...]:
    """The faulty operators in the order of execution, each once. `label` describes an operator."""
    found: dict[int, Finding] = {}
    for row in comparison.measured:
        if _is_faulty(row):
            finding = _Look(comparison, row, label).finding()
            found.setdefault(finding.at.output, finding)
    return tuple(found.values())


def _is_faulty(row: Measured) -> bool:
    errors, kind = row.errors, row.operator.kind if row.operator else ""
    by_channel = kind not in _FIXED and errors.medians[0] > MOST_CHANNEL_ERROR
    return errors.own > MOST_ERROR or by_channel or max(errors.of_parts, default=0.0) > MOST_CHANNEL_ERROR


class _Look:
    """A close look at one faulty operator."""

    def __init__(self, comparison: Comparison, row: Measured, label: Callable[[Measured], str]) -> None:
        self._all, self._row, self._label = comparison, row, label
        self._of = {each.output: each for each in comparison.measured}

    def finding(self) -> Finding:
        """The cause, the most specific one that the figures support."""
        row = self._row
        if evidence := self._bias_overflow():
            return Finding(row, "bias_overflow", evidence)
        errors = row.errors
        _, by_weights, by_activations = errors.medians
        if max(errors.weights / MOST_ERROR, by_weights / MOST_CHANNEL_ERROR) >= max(
            1.0, errors.activations / MOST_ERROR / 2, by_activations / MOST_CHANNEL_ERROR / 2
        ):
            return next(self._of_weights())
        return next(self._of_activations())

    def _of_weights(self) -> Iterator[Finding]:
        row = self._row
        places = self._places()
        tensor = None
        if places is not None:
            tensor = self._all.candidate.tensors[self._stored(places[0])]
        if places is not None and tensor is not None and tensor.scales.size == 1:
            rows = self._largest_of_rows(places)
            usual = float(np.median(rows[rows > 0])) if (rows > 0).any() else 0.0
            widest = float(rows.max())
            if usual and widest >= _UNEQUAL / 2 * usual:
                yield Finding(
                    row,
                    "one_scale",
                    f"its weights have one scale for {rows.size} output channels: the widest channel reaches "
                    f"{widest:.3g}, but the median channel only {usual:.3g}, "
                    f"{usual / float(tensor.scales[0]):.1f} steps",
                )
        if tensor is not None and tensor.dtype == "INT4":
            yield Finding(row, "few_bits", "its weights have 4 bits, so each channel has only 15 steps")
        yield Finding(row, "weights", "rounding its weights adds the error, though no channel and no bias stands out")

    def _of_activations(self) -> Iterator[Finding]:
        row, errors = self._row, self._row.errors
        kind = row.operator.kind if row.operator else "INPUT"
        if errors.own >= 1e6:
            yield Finding(row, "not_finite", "the candidate computes values that are not finite, or far too large")
        if errors.clipped >= 0.5 and errors.beyond:
            low, high = errors.limits or (0.0, 0.0)
            yield Finding(
                row,
                "saturated",
                f"{errors.beyond / errors.values:.2%} of its values are beyond the range of its integers, {low:.4g} to "
                f"{high:.4g}: in float they reach from {errors.low.min():.4g} to {errors.high.max():.4g}",
            )
        yield from self._concatenated()
        if kind == "HARD_SWISH":
            yield Finding(
                row,
                "hard_swish",
                f"hard-swish returns values down to -0.375, but one of its steps is {errors.step:.3g}, because others "
                f"reach {errors.high.max():.4g}",
            )
        if kind == "SOFTMAX" and errors.step and 1 / errors.high.size < _UNEQUAL * errors.step:
            places = errors.high.size
            yield Finding(
                row,
                "many_places",
                f"{places:,} probabilities add up to 1, so each has {1 / places / errors.step:.2g} steps on average: "
                f"the kernel of a softmax has steps of 1/{1 / errors.step:.0f}, regardless of its values",
            )
        widths = np.maximum(errors.high, 0) - np.minimum(errors.low, 0)
        live = widths[widths > 0]
        if live.size > 1 and live.max() >= _UNEQUAL * np.median(live):
            channel = int(widths.argmax())
            steps = f", {float(np.median(live)) / errors.step:.1f} steps" if errors.step else ""
            yield Finding(
                row,
                "dominant_channel",
                f"one channel dominates the range: channel {channel} spans {live.max():.4g}, but the median channel "
                f"only {np.median(live):.4g}{steps}",
            )
        if errors.crest >= _CREST:
            yield Finding(
                row,
                "outliers",
                f"a few values stretch the range: the largest is {errors.crest:.0f} times the root mean square",
            )
        yield Finding(row, "activations", "rounding its output adds the error, though no channel stands out")

    def _concatenated(self) -> Iterator[Finding]:
        """This operator if it is a concatenation, or the concatenation whose scale its output has."""
        graph = self._all.reference
        target: Measured | None = self._row
        index = self._row.output
        while target is not None and (target.operator is None or target.operator.kind != "CONCATENATION"):
            readers = [one for one in graph.readers.get(index, []) if one.kind in _SAME_SCALE | {"CONCATENATION"}]
            if not readers:
                return
            index = readers[0].outputs[0]
            target = self._of.get(index)
        if target is None or target.operator is None:
            return
        ours, theirs = self._row.held, target.held
        if ours.scales.size != 1 or theirs.scales.size != 1 or not np.isclose(ours.scales[0], theirs.scales[0]):
            return
        sources = [self._of[each] for each in map(self._origin, target.operator.inputs) if each in self._of]
        spans = [float(np.maximum(one.errors.high.max(), 0) - np.minimum(one.errors.low.min(), 0)) for one in sources]
        if len(spans) > 1 and min(spans) > 0 and max(spans) >= _UNEQUAL * min(spans):
            wide, narrow = sources[int(np.argmax(spans))], sources[int(np.argmin(spans))]
            yield Finding(
                target,
                "unequal_concatenation",
                f"its inputs share one scale but not one range: {self._label(wide)} spans {max(spans):.4g}, but "
                f"{self._label(narrow)} only {min(spans):.4g}, {min(spans) / float(theirs.scales[0]):.1f} steps",
                also=tuple(one for one, span in zip(sources, spans, strict=True) if max(spans) >= _UNEQUAL * span),
            )

    def _origin(self, index: int) -> int:
        return index if index in self._of else self._all.reference.source(index, _SAME_SCALE)

    def _bias_overflow(self) -> str:
        places = self._places()
        if places is None or self._row.operator is None or self._row.counterpart is None:
            return ""
        kernel, bias, axis = places
        one, other = self._row.operator, self._row.counterpart
        if len(one.inputs) <= bias or one.inputs[bias] < 0 or len(other.inputs) <= bias:
            return ""
        values = self._all.reference.tensors[one.inputs[bias]].constant
        stored = self._all.candidate.tensors[other.inputs[bias]]
        given = self._all.candidate.tensors[other.inputs[2 if one.kind == "TRANSPOSE_CONV" else 0]]
        if values is None or stored.dtype != "INT32" or given.scales.size != 1:
            return ""
        # The scales that the weights need. The converter widens them until the bias fits, which rounds weights to zero.
        rows = self._largest_of_rows((kernel, bias, axis))
        rows = rows if self._all.candidate.tensors[self._stored(kernel)].scales.size > 1 else rows.max(keepdims=True)
        needed = np.abs(values) / np.maximum(rows / 127 * given.scales[0], np.finfo(np.float64).tiny)
        if float(needed.max()) < _MOST_BIAS:
            return ""
        return (
            f"a bias of {float(np.abs(values).max()):.4g} does not fit in 32 bits: one step is the input's times the "
            f"weights', so it needs {float(needed.max()):.3g} steps, but at most 2**31 - 1 fit"
        )

    def _places(self) -> tuple[int, int, int] | None:
        one = self._row.operator
        if one is None or self._row.counterpart is None or one.kind not in _WEIGHTED:
            return None
        places = _WEIGHTED[one.kind]
        return places if self._all.reference.tensors[one.inputs[places[0]]].constant is not None else None

    def _stored(self, kernel: int) -> int:
        assert self._row.counterpart is not None
        return self._all.candidate.source(self._row.counterpart.inputs[kernel], STORAGE)

    def _largest_of_rows(self, places: tuple[int, int, int]) -> Array:
        """Largest magnitude of the float weights of each output channel."""
        assert self._row.operator is not None
        values = self._all.reference.tensors[self._row.operator.inputs[places[0]]].constant
        assert values is not None
        others = tuple(axis for axis in range(values.ndim) if axis != places[2])
        return np.asarray(np.abs(values.astype(np.float64)).max(axis=others))
