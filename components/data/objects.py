"""Imports objects that a pipeline file or a command line names as `package.module:NAME`."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from components.core.errors import SpecError, some_of
from components.core.user_code import exits_reported, in_time, raised_at


def load_object(reference: str, where: str) -> Any:
    """Import `package.module:NAME`.

    Args:
        reference: The object to import.
        where: Its field in the pipeline file, for the message.

    Raises:
        SpecError: The module can't be imported, or doesn't contain the name.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        with exits_reported(where), in_time(f"the import of {module_name!r}", where):
            module = importlib.import_module(module_name)
            if not hasattr(module, attribute):
                raise _without(module, reference, attribute, where)
            return getattr(module, attribute)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"the {where} {reference!r} cannot be imported: {type(error).__name__}: {error}",
            where=where,
            bound="package.module:NAME, importable from the working directory or the pipeline file's folder",
            measured=raised_at(error) if not isinstance(error, ImportError | AttributeError) else None,
            remedy=f"run `python -c 'import {module_name}'` and fix what it reports",
        ) from error


def _without(module: ModuleType, reference: str, attribute: str, where: str) -> SpecError:
    """The error for a name that a module does not contain, with the existing names, the closest first."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and (getattr(value, "__module__", None) == module.__name__ or not callable(value))
    ]
    near = get_close_matches(attribute, own, 3, 0.4)
    names = [*near, *(name for name in own if name not in near)]
    return SpecError(
        f"the {where} {reference!r} cannot be imported: the module contains no {attribute!r}",
        where=where,
        bound=f"one of {some_of(names, 10)}" if names else "a name that the module contains",
        measured=getattr(module, "__file__", None),
        remedy=f"did you mean {module.__name__}:{near[0]}?" if near else "correct the name, or add it to the module",
    )
