"""Names and globs of layers, as recipes write them: which layers they mean. Needs no TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from components.core.errors import SpecError
from components.core.wording import some_of

# A glob over names of layers, as in `block_1_*`.
LayerPattern = Annotated[str, Field(min_length=1)]


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means a layer; one that names a nested model means all that is in it.

    Args:
        name: Full name of the layer, `outer/inner` in nested models.
        patterns: Names or globs.
    """
    return any(fnmatchcase(one, pattern) for pattern in patterns for one in (name, *_parents(name)))


def chosen(name: str, layers: tuple[str, ...], except_layers: tuple[str, ...]) -> bool:
    """Whether a layer is among `layers` (none means all) and not among `except_layers`."""
    return (not layers or fits(name, layers)) and not fits(name, except_layers)


def check_fits(fields: Iterable[tuple[str, Iterable[str]]], names: Iterable[str]) -> None:
    """See that each pattern means a layer.

    Args:
        fields: Field of the step and the patterns in it.
        names: All layers' full names.

    Raises:
        SpecError: One means none.
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
        f"no layer of the model is called {pattern!r}" + (f"; near it are {', '.join(near)}" if near else ""),
        where=field,
        bound=f"a name or glob of {some_of(names, 12)}",
        measured=pattern,
        remedy="correct the name; `edgemill validate --deep` lists the layers",
    )


def _parents(name: str) -> list[str]:
    return [name[:index] for index, letter in enumerate(name) if letter == "/"]
