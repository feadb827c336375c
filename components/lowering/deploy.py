"""Export of a model with recurrent layers that was trained under quantization. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.cells.layer import IntegerRecurrent
from components.facts.artifact_paths import FUSED_SAMPLE_FILE, TRAJECTORIES_FILE
from components.facts.training import Export
from components.lowering.forms import export_form, returns_each_step
from components.lowering.lowering import save_trajectories, trajectories
from components.model.keras_graph import input_like, replay
from components.model.keras_model import export
from components.model.streaming import state_name
from components.spec.scheme import Form
from components.upstream.keras import layer_behind

Array = npt.NDArray[Any]


def has_recurrent(model: Any) -> bool:
    """Whether a quantized model has lowered recurrent layers."""
    return any(isinstance(layer, IntegerRecurrent) for layer in model.layers)


def deploy(model: Any, form: Form, folder: Path, outputs: Sequence[str], sample: Mapping[str, Array]) -> Export:
    """Write a trained model's SavedModel into the artifact of its training step, with the files that conversion needs.

    Lowered layers keep their trained ranges in the graph. LSTMs become Keras' own LSTMs again, which the converter
    fuses. Sequences of the training split are saved with them so that the converter can measure untrained ranges.

    Args:
        model: A trained model with recurrent layers from `components.fake_quantize.qat.quantized`.
        form: The form of GRU, SRU, and SimpleRNN.
        folder: The artifact's folder.
        outputs: The names of the model's outputs, in its own order.
        sample: Model input -> a few sequences [N, time, ...].

    Raises:
        ModelError: The model cannot be streamed.
    """
    if "LSTM" in {layer.cell.kind for layer in model.layers if isinstance(layer, IntegerRecurrent)}:
        export(stripped(model, fuse=True), folder, outputs, batch=1)
        save_fused(model, folder / FUSED_SAMPLE_FILE, outputs, sample)
        return "fused_lstm"
    export_form(model, form, folder, outputs)
    seen = trajectories(stripped(model), sample)
    each_step = form == "streaming" and returns_each_step(model)
    save_trajectories(seen, each_step, folder / TRAJECTORIES_FILE)
    return "lowered"


def save_fused(model: Any, path: Path, outputs: Sequence[str], sample: Mapping[str, Array]) -> None:
    """Save sequences, the weights that identify the LSTMs of a file, and the last layer of each output.

    This also saves the hidden states of the first sequences, computed in float with the trained weights.
    """
    held: dict[str, Any] = {f"input {name}": values for name, values in sample.items()}
    seen = trajectories(stripped(model), sample)
    for layer in model.layers:
        if isinstance(layer, IntegerRecurrent):
            held[f"kernel {layer.name}"] = layer.held["kernel_i"].numpy().T
            held[f"states {layer.name}"] = seen.states[state_name(layer.name, "h")]
    for name, tensor in zip(outputs, model.outputs, strict=True):
        last = layer_behind(tensor)
        held[f"last {name}"] = np.array(getattr(last, "layer", last).name)
    np.savez(path, **held)


def stripped(model: Any, fuse: bool = False) -> Any:
    """The same model in float, with the trained weights and without quantizers.

    Args:
        model: See `deploy`.
        fuse: Whether LSTMs become Keras' own LSTMs again.
    """
    made: dict[str, Any] = {}

    def in_floats(node: Any, args: Any, kwargs: Any) -> Any:
        layer = node.layer
        if layer.name not in made:
            made[layer.name] = _in_floats(layer, fuse)
        results = made[layer.name](*args, **kwargs)
        _take_weights(made[layer.name], layer)
        return results

    inputs = [input_like(tensor) for tensor in model.inputs]
    return tf.keras.Model(inputs, replay(model, inputs, in_floats), name=model.name)


def _in_floats(layer: Any, fuse: bool) -> Any:
    one = getattr(layer, "layer", layer)
    if fuse and isinstance(one, IntegerRecurrent) and one.cell.kind == "LSTM":
        return _Lstm(
            one.cell.units,
            return_sequences=one.return_sequences,
            go_backwards=one.go_backwards,
            turned=one.go_backwards and one.in_order and one.return_sequences,
            name=one.name,
        )
    return type(one).from_config(one.get_config())


class _Lstm:
    """Keras' LSTM, with reversed outputs if a `Bidirectional` reverses them."""

    def __init__(self, units: int, turned: bool, **options: Any) -> None:
        self.layer = tf.keras.layers.LSTM(units, **options)
        self._turned = turned

    def __call__(self, inputs: Any) -> Any:
        outputs = self.layer(inputs)
        return tf.reverse(outputs, [1]) if self._turned else outputs


def _take_weights(new: Any, old: Any) -> None:
    if isinstance(new, _Lstm):
        held = old.held
        rows = [
            np.concatenate([held[f"{name}_{gate}"].numpy() for gate in "ifco"], axis=-1)
            for name in ("kernel", "recurrent", "bias")
        ]
        new.layer.set_weights(rows)
        return
    # A wrapper has the weights that it quantizes as its own attributes, so their order differs.
    by_name = {_last(weight): weight for weight in old.weights}
    for weight in new.weights:
        weight.assign(by_name[_last(weight)])


def _last(weight: Any) -> str:
    return str(weight.name.rpartition("/")[2])
