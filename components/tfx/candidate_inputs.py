"""N candidates as N named inputs of a TFX node, because one channel with N artifacts doesn't work on Kubeflow."""

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
    """Add an input for each candidate to a node's spec.

    Args:
        spec_class: The spec that all such nodes have.
        candidates: Recipe name -> channel with one Model.

    Returns:
        A subclass with these inputs, and the channels by input name.
    """
    # Imported here because commands that only read need the names of inputs but not TFX.
    from tfx.types import component_spec, standard_artifacts

    named = {f"{_PREFIX}{name}": channel for name, channel in candidates.items()}
    inputs = {name: component_spec.ChannelParameter(type=standard_artifacts.Model) for name in named}
    return type(spec_class.__name__, (spec_class,), {"INPUTS": {**spec_class.INPUTS, **inputs}}), named


def input_of(recipe: str) -> str:
    """Name of the input for a recipe's candidate."""
    return _PREFIX + recipe


def candidate_names(inputs: Iterable[str]) -> list[str]:
    """The recipes whose candidates are among a node's inputs."""
    return [name.removeprefix(_PREFIX) for name in inputs if name.startswith(_PREFIX)]
