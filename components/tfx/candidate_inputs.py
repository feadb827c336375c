"""N candidates as N named inputs of a TFX node, because one channel with N artifacts doesn't work on Kubeflow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx import types

_PREFIX = "candidate_"
# The input with the baseline's predictions. For a candidate's predictions, the candidate's name follows.
PREDICTIONS = "predictions"
# More inputs for each candidate: its time on the host, and the measurements of a device's tools.
LATENCY, MEASURED = "latency", "measured"


def candidate_node(
    component: Any,
    candidates: Mapping[str, types.BaseChannel],
    stored: Mapping[str, types.BaseChannel] | None = None,
    further: Mapping[str, Mapping[str, types.BaseChannel]] | None = None,
    /,
    **given: Any,
) -> Any:
    """Create a node with inputs for each candidate: its file, its predictions, and other facts about it.

    Set its id with `.with_id`.

    Args:
        component: A component class. Its `SPEC_CLASS` has the inputs, outputs, and parameters that all such nodes
            share.
        candidates: Recipe name -> channel of one Model. The parameter `recipes`, if there is one, gets the names in
            this order.
        stored: Recipe name -> channel of one InferenceResult. None for a node that doesn't read predictions.
        further: `LATENCY` or `MEASURED` -> recipe name -> channel of one artifact.
        given: The other inputs and parameters, by name. None means an absent optional input.
    """
    # Imported here because commands that only read need the names of inputs but not TFX.
    from tfx.types import channel, component_spec, standard_artifacts

    shared = component.SPEC_CLASS
    given |= {input_of(name): each for name, each in candidates.items()}
    given |= {predictions_of(name): each for name, each in (stored or {}).items()}
    others = {further_of(kind, name): each for kind, known in (further or {}).items() for name, each in known.items()}
    given |= others
    given |= {name: channel.Channel(type=output.type) for name, output in shared.OUTPUTS.items()}
    if "recipes" in shared.PARAMETERS:
        # TFX returns the inputs of an execution in no particular order.
        given["recipes"] = json.dumps(list(candidates))
    named = {input_of(name): component_spec.ChannelParameter(type=standard_artifacts.Model) for name in candidates}
    results = component_spec.ChannelParameter(type=standard_artifacts.InferenceResult)
    named |= {predictions_of(name): results for name in stored or {}}
    named |= {name: component_spec.ChannelParameter(type=each.type) for name, each in others.items()}
    spec_class = type(shared.__name__, (shared,), {"INPUTS": {**shared.INPUTS, **named}})
    return component(spec_class(**{name: each for name, each in given.items() if each is not None}))


def input_of(recipe: str) -> str:
    """Name of the input for a recipe's candidate."""
    return _PREFIX + recipe


def predictions_of(recipe: str) -> str:
    """Name of the input for the predictions of a recipe's candidate."""
    return f"{PREDICTIONS}_{recipe}"


def further_of(kind: str, recipe: str) -> str:
    """Name of the input for other facts about a recipe's candidate: `LATENCY` or `MEASURED`."""
    return f"{kind}_{recipe}"


def recipe_of_input(name: str) -> str:
    """The recipe that an input belongs to; empty if it doesn't belong to any."""
    kinds = (_PREFIX, *(f"{kind}_" for kind in (PREDICTIONS, LATENCY, MEASURED)))
    prefix = next((prefix for prefix in kinds if name.startswith(prefix)), name)
    return name.removeprefix(prefix)


def candidate_names(inputs: Iterable[str]) -> list[str]:
    """The recipes whose candidates are among a node's inputs."""
    return [name.removeprefix(_PREFIX) for name in inputs if name.startswith(_PREFIX)]
