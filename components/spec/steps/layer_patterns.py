"""Layer names and shell patterns in recipes, and the layers that they match. Doesn't import TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from components.core.errors import SpecError, some_of

# A layer name or a shell pattern, such as `block_1_*`.
LayerPattern = Annotated[str, Field(min_length=1)]


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches a layer. A pattern that matches a nested model matches all layers in it.

    Args:
        name: Full name of the layer, `outer/inner` in nested models.
        patterns: Layer names or shell patterns.
    """
    return any(fnmatchcase(one, pattern) for pattern in patterns for one in (name, *_parents(name)))


def chosen(name: str, layers: tuple[str, ...], except_layers: tuple[str, ...]) -> bool:
    """Whether `layers` includes a layer (if empty, it includes all) and `except_layers` doesn't."""
    return (not layers or fits(name, layers)) and not fits(name, except_layers)


def check_fits(fields: Iterable[tuple[str, Iterable[str]]], names: Iterable[str]) -> None:
    """Check that each pattern matches a layer.

    Args:
        fields: Fields of the step, with the patterns in each.
        names: Full names of all layers.

    Raises:
        SpecError: A pattern matches no layer.
    """
    known = list(names)
    for field, patterns in fields:
        for pattern in patterns:
            if not any(fits(name, [pattern]) for name in known):
                raise _unknown(pattern, field, known)


def _unknown(pattern: str, field: str, names: list[str]) -> SpecError:
    nested = dict.fromkeys(parent for name in names for parent in _parents(name))
    near = difflib.get_close_matches(pattern, [*names, *nested], n=3)
    return SpecError(
        f"no layer of the model matches {pattern!r}" + (f"; did you mean {', '.join(near)}?" if near else ""),
        where=field,
        bound=f"a name or shell pattern of {some_of(names, 12)}",
        measured=pattern,
        remedy="correct the name; `edgemill validate --deep` lists the layers",
    )


def _parents(name: str) -> list[str]:
    return [name[:index] for index, letter in enumerate(name) if letter == "/"]
