"""Apache Beam: the default runner, the cost of starting a pipeline, and errors inside one."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from components.core.errors import EdgemillError

# The runner that Beam 2.61 uses by default, without a name for it.
_IN_PROCESS = "FnApiRunner"


def keep_beam_in_process() -> None:
    """Make Beam pipelines that don't name a runner run in this process, on Beam's own Python runner.

    By default, Beam 2.77 downloads a runner written in another language (Prism) from the internet, and falls back to
    the Python runner only if that fails.

    This also halves the time of such a pipeline on little data, most of which is spent on building it. Beam 2.61
    pickles each function with dill, which is written in Python; Beam 2.77 uses cloudpickle. Both versions inspect the
    signature of each method of each DoFn up to ten times.
    """
    from apache_beam.internal import pickler
    from apache_beam.options.pipeline_options import StandardOptions

    if any(path.endswith(f".{_IN_PROCESS}") for path in StandardOptions.ALL_KNOWN_RUNNERS):
        StandardOptions.DEFAULT_RUNNER = _IN_PROCESS
    pickler.DEFAULT_PICKLE_LIB = pickler.USE_CLOUDPICKLE
    _inspect_signatures_once()


def _inspect_signatures_once() -> None:
    from apache_beam.transforms import core, ptransform, util
    from apache_beam.typehints import decorators

    if decorators.get_signature.__module__ != __name__:
        remembering = remembered(decorators.get_signature)
        for module in (core, ptransform, util, decorators):
            module.get_signature = remembering


def remembered(get_signature: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember the signatures of functions and methods, for as long as the functions exist.

    All objects of a class share the signature of a method.
    """
    functions: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
    methods: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def signature(function: Any) -> Any:
        known, key = functions, function
        if isinstance(function, types.MethodType):
            known, key = methods, function.__func__
        if not isinstance(key, types.FunctionType):
            return get_signature(function)
        if key not in known:
            known[key] = get_signature(function)
        return known[key]

    return signature


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Raise the EdgemillError inside an exception that Beam wrapped, so that callers see the cause."""
    try:
        yield
    except Exception as error:
        typed = next((cause for cause in _causes(error) if isinstance(cause, EdgemillError)), None)
        if typed is None or typed is error:
            raise
        raise typed from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
