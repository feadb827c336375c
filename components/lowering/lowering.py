"""Lower the recurrent layers of a float Keras model to plain operators with ranges. Imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.cells.layer import IntegerRecurrent
from components.cells.quantizer_ranges import nudged_range
from components.cells.quantizers import ActivationQuantizer, FixedQuantizer
from components.cells.weight_quantizer import WeightQuantizer
from components.core.errors import DataError
from components.facts.conversion import ActivationRange
from components.fake_quantize.layer_config import Quantizers
from components.fake_quantize.layer_policy import LayerPolicy
from components.fake_quantize.qat import held_ranges, quantized
from components.fake_quantize.rewrite import rewrite
from components.lowering.forms import export_form
from components.model.streaming import state_name
from components.ranges.histogram import ActivationHistogram
from components.ranges.range_estimators import estimate_range
from components.spec.ranges import MinMax, Ranges
from components.spec.scheme import Form, Scheme
from components.spec.steps.qat import QatStep
from components.upstream.keras import layer_behind

_LOG = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_CHUNK = 64
# Number of sequences that the error of each time step is measured on.
STEP_EXAMPLES = 64


@dataclass(frozen=True)
class Trajectories:
    """The states of the float model after each time step of a few sequences.

    Attributes:
        inputs: Model input -> [N, time, ...].
        states: Name of a state -> its values after each time step [N, time, units], in processing order.
    """

    inputs: dict[str, Array]
    states: dict[str, Array]


def lower(
    model: Any, scheme: Scheme, form: Form, folder: Path, sample: Mapping[str, Array] | None, outputs: Sequence[str]
) -> tuple[Trajectories | None, tuple[ActivationRange, ...]]:
    """Write a model with lowered recurrent layers, whose ranges come from the float model's own trajectories.

    Args:
        model: A functional or Sequential model.
        scheme: The numeric format. Static schemes get ranges; others stay in float.
        form: One time step (`streaming`), or the complete sequence (`sequence`).
        folder: Output folder; the SavedModel goes into `Format-Serving`.
        sample: Model input -> [N, time, ...]; required for static schemes and for trajectories.
        outputs: The names of its outputs, in its own order.

    Returns:
        The float model's trajectories on the first sequences, and the activation ranges, most clipped first.

    Raises:
        ModelError: A layer cannot be lowered, or not in this form; the message names the layer.
        DataError: The scheme is static, and the sample is missing or has no finite values.
    """
    if not scheme.is_static:
        lowered = rewrite(model).model
        export_form(lowered, form, folder, outputs)
        return (None if sample is None else trajectories(lowered, sample)), ()
    if sample is None:
        raise DataError("there is no calibration sample", where="calibrate", remedy="declare `calibrate`")
    watch = Watch()
    lowered = quantized(model, QatStep(kind="qat", epochs=1), scheme, 1, quantizers=_Watching(watch))
    seen = trajectories(lowered, sample, whole=True)
    watch.on = False
    facts = _settle(lowered, scheme.range_estimator)
    export_form(lowered, form, folder, outputs)
    return seen, facts


@dataclass(frozen=True)
class SeenCell:
    """Observations of one LSTM of the float model.

    Attributes:
        kernel: Weights from the input to the input gate [units, features].
        cell: Smallest and largest value of the cell state over all time steps of all sequences.
        hidden: Hidden state after each time step of the first sequences [N, time, units], in processing order.
    """

    kernel: Array
    cell: tuple[float, float]
    hidden: Array


def seen_cells(model: Any, sample: Mapping[str, Array]) -> list[SeenCell]:
    """Run a model with LSTMs in float. Each direction of a bidirectional LSTM is a cell.

    Args:
        model: A functional or Sequential Keras model.
        sample: Model input -> [N, time, ...].
    """
    lowered = rewrite(model).model
    seen = trajectories(lowered, sample, keep=len(next(iter(sample.values()))))
    found = []
    for layer in lowered.layers:
        if isinstance(layer, IntegerRecurrent) and layer.cell.kind == "LSTM":
            values = seen.states[state_name(layer.name, "c")]
            found.append(
                SeenCell(
                    kernel=layer.held["kernel_i"].numpy().T,
                    cell=(min(0.0, float(values.min())), max(0.0, float(values.max()))),
                    hidden=seen.states[state_name(layer.name, "h")][:STEP_EXAMPLES],
                )
            )
    return found


def save_trajectories(seen: Trajectories, each_step: bool, path: Path) -> None:
    """Save trajectories next to a model that its training step lowered."""
    held = {f"input {name}": values for name, values in seen.inputs.items()}
    held |= {f"state {name}": values for name, values in seen.states.items()}
    np.savez(path, each_step=np.array(each_step), **held)


def load_trajectories(path: Path) -> tuple[Trajectories, bool]:
    """Load the trajectories, and whether the model returns an output for each time step."""
    with np.load(path) as archive:
        held = {name: archive[name] for name in archive.files}
    each_step = bool(held.pop("each_step"))
    parts: dict[str, dict[str, Array]] = {"input": {}, "state": {}}
    for name, values in held.items():
        kind, _, rest = name.partition(" ")
        parts[kind][rest] = values
    return Trajectories(parts["input"], parts["state"]), each_step


class _Watching(Quantizers):
    """Creates quantizers that first observe values, then quantize."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def output(self, policy: LayerPolicy, delay: int, name: str) -> Any:  # noqa: ARG002
        symmetric = policy.activations is not None and policy.activations.symmetric
        return Observer(policy.activation_bits, symmetric, self._watch, policy.extremes)

    def weights(self, policy: LayerPolicy, axes: tuple[int, ...], trains: bool, one_range: bool = False) -> Any:  # noqa: ARG002
        return WatchedWeights(policy.weight_bits, axes, self._watch)

    def fixed(self, policy: LayerPolicy, limits: tuple[float, float] | None = None) -> Any:
        made = super().fixed(policy, limits)
        return _WatchedFixed(self._watch, made)


class _WatchedFixed(FixedQuantizer):
    def __init__(self, watch: Watch, made: FixedQuantizer) -> None:
        super().__init__(made.bits, made.low, made.high)
        self._watch = watch

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **more: Any) -> Any:
        return inputs if self._watch.on else super().__call__(inputs, training, weights, **more)


def trajectories(
    model: Any, sample: Mapping[str, Array], whole: bool = False, keep: int = STEP_EXAMPLES
) -> Trajectories:
    """Run a lowered model in float and return the states of the first sequences.

    Args:
        model: A model whose recurrent layers are `IntegerRecurrent`s. Observing quantizers see all values.
        sample: Model input -> [N, time, ...].
        whole: Whether to run the complete sample, not only the sequences whose states are returned.
        keep: Number of sequences whose states are returned.
    """
    layers = [layer for layer in model.layers if isinstance(layer, IntegerRecurrent)]
    names = [tensor.name.partition(":")[0] for tensor in model.inputs]
    count = len(next(iter(sample.values())))
    kept: dict[str, list[Array]] = {}
    for layer in layers:
        layer.watching = True
    try:
        for start in range(0, count if whole else min(count, keep), _CHUNK):
            chunk = [tf.constant(sample[name][start : start + _CHUNK]) for name in names]
            model(chunk if len(chunk) > 1 else chunk[0], training=False)
            for layer in layers if start < keep else []:
                for state, values in layer.trajectory.items():
                    kept.setdefault(state_name(layer.name, state), []).append(values.numpy())
    finally:
        for layer in layers:
            layer.watching, layer.trajectory = False, {}
    _LOG.info("calibrated on %d sequences", count)
    return Trajectories(
        inputs={name: np.asarray(sample[name][:keep]) for name in names},
        states={name: np.concatenate(parts)[:keep] for name, parts in kept.items()},
    )


def _settle(model: Any, ranges: Ranges) -> tuple[ActivationRange, ...]:
    """Set the range of every quantizer from its observed values."""
    last = {layer_behind(tensor).name for tensor in model.outputs}
    facts = []
    for name, layer, quantizer, variables in held_ranges(model):
        assert isinstance(quantizer, Observer)
        observed = quantizer.chosen(MinMax())
        # Clipping a model output always makes it wrong, so outputs keep their full range.
        wanted = observed if layer.name in last else quantizer.chosen(ranges)
        nudged = nudged_range(np.float32(wanted[0]), np.float32(wanted[1]), quantizer.bits, quantizer.symmetric)
        low, high = (float(end) for end in nudged)
        variables["min_var"].assign(low)
        variables["max_var"].assign(high)
        if not isinstance(ranges, MinMax):
            facts.append(ActivationRange(tensor=name, observed=observed, chosen=(low, high)))
    return tuple(sorted(facts, key=lambda fact: (-fact.clipped, fact.tensor)))


class Watch:
    """A switch, shared by all quantizers of a model, between observing and quantizing."""

    def __init__(self) -> None:
        self.on = True


class Observer(ActivationQuantizer):
    """Counts observed values, then quantizes with an estimated range, or with the full range for `extremes`."""

    def __init__(self, bits: int, symmetric: bool, watch: Watch, extremes: bool = False) -> None:
        super().__init__(bits, symmetric)
        self._watch, self._extremes = watch, extremes
        self.histogram = ActivationHistogram()

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **_: Any) -> Any:  # noqa: ARG002
        """Observe, or quantize."""
        if not self._watch.on:
            return self.quantize(inputs, weights)
        if isinstance(inputs, tf.Tensor) and hasattr(inputs, "numpy"):
            self.observe(inputs.numpy())
        return inputs

    def observe(self, values: Any) -> None:
        """Count the values of an array of any shape."""
        self.histogram.add(values)

    def chosen(self, ranges: Ranges) -> tuple[float, float]:
        """The range that the integers represent."""
        return estimate_range(self.histogram, MinMax() if self._extremes else ranges, self.bits)


class WatchedWeights(WeightQuantizer):
    """Leaves weights unchanged while the model is observed."""

    def __init__(self, bits: int, axes: tuple[int, ...], watch: Watch) -> None:
        super().__init__(bits, axes)
        self._watch = watch

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **more: Any) -> Any:
        """Return the weights unchanged, or quantize."""
        return inputs if self._watch.on else super().__call__(inputs, training, weights, **more)
