"""Rewrite recurrent layers as cells with separate gates, one per direction. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

from components.cells.cells import cell_of
from components.cells.layer import IntegerRecurrent, described
from components.fake_quantize.keras_layers import MERGES
from components.fake_quantize.operators.parts import NewLayer, Parts


def one_way(new: NewLayer, layer: Any, name: str, x: Any, origin: str = "", in_order: bool = False) -> Any:
    """The output of a recurrent layer as a cell.

    Args:
        new: Creates layers.
        layer: The layer.
        name: Name of the new layer.
        x: The sequences, [batch, time, features].
        origin: Name of the layer of the user's model, if it is different.
        in_order: Whether to reverse the outputs of a backward layer again.
    """
    cell = cell_of(layer, int(x.shape[-1]))
    config = {
        "cell": described(cell),
        "return_sequences": layer.return_sequences,
        "go_backwards": layer.go_backwards,
        "in_order": in_order,
    }
    return new(IntegerRecurrent, name, origin or name, config, lambda _: cell.weights(layer), layer)(x)


def both_ways(new: NewLayer, parts: Parts, layer: Any, name: str, x: Any) -> Any:
    """The output of a `Bidirectional` as two cells, whose outputs are merged; both outputs if it doesn't merge them."""
    forward = one_way(new, layer.forward_layer, f"{name}/forward", x, name)
    backward = one_way(new, layer.backward_layer, f"{name}/backward", x, name, in_order=True)
    if layer.merge_mode is None:
        return [forward, backward]
    if layer.merge_mode == "ave":
        return parts.average("", [forward, backward])
    return new(MERGES[layer.merge_mode], name, name, {})([forward, backward])
