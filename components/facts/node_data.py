"""The errors of a candidate's layers as node data of Model Explorer, which colors the graph of the file with them.

The format matches `ModelNodeData` in `model_explorer/node_data_builder.py`: graph -> results by the name of an
output tensor or the ID of a node, and colors by value. `model_explorer FILE.tflite` shows the file, and "Add node data"
reads this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from components.facts.explanation import Explanation, LayerError, decibels

# Model Explorer needs numbers. Errors beyond these decibels don't matter.
EXACT = 100.0
# Upper end of a band of decibels -> its color. Text stays black, so all colors are light.
_BANDS = ((10, "#f4a09a"), (20, "#f8c98a"), (30, "#f6ec9f"), (EXACT, "#bfe3b4"))
_FIGURES: dict[str, Callable[[LayerError], float]] = {
    "own": lambda one: one.own,
    "total": lambda one: one.total,
    "weights": lambda one: one.weights,
    "activations": lambda one: one.activations,
}


def node_data(explanation: Explanation) -> dict[str, str]:
    """Map the errors of a `LayerError` to files of node data, in decibels; empty without an explanation."""
    if not explanation.layers:
        return {}
    return {figure: _file(explanation, of) for figure, of in _FIGURES.items()}


def _file(explanation: Explanation, of: Callable[[LayerError], float]) -> str:
    # The ID of a node is the position of its operator. Inputs share one node, and are identified by their tensor.
    results = {
        one.tensor if one.place < 0 else str(one.place): {"value": round(min(decibels(of(one)), EXACT), 2)}
        for one in explanation.layers
    }
    thresholds = [{"value": end, "bgColor": color} for end, color in _BANDS]
    return json.dumps({explanation.graph: {"results": results, "thresholds": thresholds}}, indent=2) + "\n"
