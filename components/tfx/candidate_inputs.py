"""N candidates as N named inputs of a TFX node, because one channel with N artifacts doesn't work on Kubeflow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx import types

_PREFIX = "candidate_"
# The input with the baseline's predictions. A candidate's has its name after it.
PREDICTIONS = "predictions"


def candidate_node(
    component: Any,
    candidates: Mapping[str, types.BaseChannel],
    stored: Mapping[str, types.BaseChannel] | None = None,
    /,
    **given: Any,
) -> Any:
    """Create a node with an input for each candidate, and for its predictions. Set its id with `.with_id`.

    Args:
        component: A component class. Its `SPEC_CLASS` has what all such nodes share: inputs, outputs, and parameters.
        candidates: Recipe name -> channel of one Model. The parameter `recipes`, if there is one, gets the names in
            this order.
        stored: Recipe name -> channel of one InferenceResult. None for a node that reads none.
        given: The other inputs and parameters, by name. None stands for an absent optional input.
    """
    # Imported here because commands that only read need the names of inputs but not TFX.
    from tfx.types import channel, component_spec, standard_artifacts

    shared = component.SPEC_CLASS
    given |= {input_of(name): each for name, each in candidates.items()}
    given |= {predictions_of(name): each for name, each in (stored or {}).items()}
    given |= {name: channel.Channel(type=output.type) for name, output in shared.OUTPUTS.items()}
    if "recipes" in shared.PARAMETERS:
        # TFX returns the inputs of an execution in no particular order.
        given["recipes"] = json.dumps(list(candidates))
    named = {input_of(name): component_spec.ChannelParameter(type=standard_artifacts.Model) for name in candidates}
    results = component_spec.ChannelParameter(type=standard_artifacts.InferenceResult)
    named |= {predictions_of(name): results for name in stored or {}}
    spec_class = type(shared.__name__, (shared,), {"INPUTS": {**shared.INPUTS, **named}})
    return component(spec_class(**{name: each for name, each in given.items() if each is not None}))


def input_of(recipe: str) -> str:
    """Name of the input for a recipe's candidate."""
    return _PREFIX + recipe


def predictions_of(recipe: str) -> str:
    """Name of the input for the predictions of a recipe's candidate."""
    return f"{PREDICTIONS}_{recipe}"


def recipe_of_input(name: str) -> str:
    """The recipe whose candidate or predictions an input has; empty for any other input."""
    prefix = next((prefix for prefix in (_PREFIX, f"{PREDICTIONS}_") if name.startswith(prefix)), name)
    return name.removeprefix(prefix)


def candidate_names(inputs: Iterable[str]) -> list[str]:
    """The recipes whose candidates are among a node's inputs."""
    return [name.removeprefix(_PREFIX) for name in inputs if name.startswith(_PREFIX)]
