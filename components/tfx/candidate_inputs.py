"""N candidates as N named inputs of a TFX node: one channel of N artifacts does not work on Kubeflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx import types
    from tfx.types import component_spec

_PREFIX = "candidate_"


def with_candidates(
    spec_class: type[component_spec.ComponentSpec], candidates: Mapping[str, types.BaseChannel]
) -> tuple[Any, dict[str, types.BaseChannel]]:
    """A node's spec with an input for each candidate.

    Args:
        spec_class: What all such nodes have.
        candidates: Recipe name -> channel of one Model.

    Returns:
        A subclass with these inputs, and the channels by the inputs' names.
    """
    # Commands that only read know the names of inputs, and need no TFX.
    from tfx.types import component_spec, standard_artifacts

    named = {f"{_PREFIX}{name}": channel for name, channel in candidates.items()}
    inputs = {name: component_spec.ChannelParameter(type=standard_artifacts.Model) for name in named}
    return type(spec_class.__name__, (spec_class,), {"INPUTS": {**spec_class.INPUTS, **inputs}}), named


def input_of(recipe: str) -> str:
    """Name of the input that takes a recipe's candidate."""
    return _PREFIX + recipe


def candidate_names(inputs: Iterable[str]) -> list[str]:
    """The recipes whose candidates are among a node's inputs."""
    return [name.removeprefix(_PREFIX) for name in inputs if name.startswith(_PREFIX)]
