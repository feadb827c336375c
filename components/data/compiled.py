"""Compiles a model with the task's code, and refuses objects that Keras would accept but can't use."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from components.core.errors import SpecError
from components.data.task import CompilingTask

# Argument of Keras' `compile` -> its name in messages, and what it accepts.
_TAKEN = {
    "optimizer": ("optimizer", "a name, or an optimizer object of tf.keras"),
    "loss": ("loss", "names, functions, or loss objects"),
    "metrics": ("metric", "names, functions, or metric objects of tf.keras"),
    "weighted_metrics": ("metric", "names, functions, or metric objects of tf.keras"),
}


def compile_model(task: CompilingTask, model: Any) -> None:
    """Call the task's `compile`, with a check of what it passes to the model's `compile`.

    Args:
        task: The task.
        model: The uncompiled Keras model.

    Raises:
        SpecError: An optimizer, a loss, or a metric is a class instead of an object, an object of Keras 3, or something
            else that Keras can't use, or no optimizer has the name.
    """
    compiles = model.compile

    def checked(*args: Any, **kwargs: Any) -> Any:
        for argument, value in _arguments(compiles, args, kwargs):
            _check(argument, value)
        return compiles(*args, **kwargs)

    # Keras would track an attribute that it sets itself.
    object.__setattr__(model, "compile", checked)
    try:
        task.compile(model)
    finally:
        object.__delattr__(model, "compile")


def _arguments(compiles: Any, args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf

    try:
        given = inspect.signature(compiles).bind(*args, **kwargs).arguments
    except TypeError:
        # The call raises the same error.
        return
    given = {**given.get("kwargs", {}), **given}
    for argument, value in given.items():
        if argument not in _TAKEN:
            continue
        # The configuration of a loss is a dict, as are the losses of several outputs.
        if argument == "optimizer":
            yield argument, value
        elif not (isinstance(value, Mapping) and "class_name" in value):
            yield from ((argument, leaf) for leaf in tf.nest.flatten(value))


def _check(argument: str, value: Any) -> None:
    import tensorflow as tf

    role, taken = _TAKEN[argument]
    if argument == "optimizer" and isinstance(value, str):
        _check_optimizer(value)
        return
    if isinstance(value, str) or (value is None and argument != "optimizer"):
        return
    # Losses of Keras 3 are functions of tensors, which work.
    foreign = role != "loss" and type(value).__module__.startswith("keras.src.")
    usable = callable(value) and not isinstance(value, type)
    if argument == "optimizer":
        usable = not isinstance(value, type) and hasattr(value, "apply_gradients")
    elif role == "loss":
        usable = usable and not isinstance(value, tf.keras.metrics.Metric)
    if usable and not foreign:
        return
    if isinstance(value, type):
        what, found = "a class instead of an object", f"the class {value.__name__}"
        remedy = f"call the class: `{value.__name__}(...)`"
        if value.__module__.startswith("keras.src."):
            remedy += ", from tf.keras instead of keras"
    elif foreign:
        what, found = "an object of Keras 3, which tf-keras cannot use", f"{type(value).__name__} of {_package(value)}"
        remedy = f"use {type(value).__name__} from tf.keras"
    else:
        what, found = f"something that is not {'an' if role[0] in 'aeiou' else 'a'} {role}", f"{_shown(value)}"
        remedy = f"pass {taken}"
    raise SpecError(
        f"the task's compile passes {what} as {argument}",
        where="task",
        bound=taken,
        measured=found,
        remedy=remedy,
    )


def _check_optimizer(name: str) -> None:
    import tensorflow as tf

    try:
        tf.keras.optimizers.get(name)
    except ValueError as error:
        known = {each.lower(): each for each, kind in vars(tf.keras.optimizers).items() if isinstance(kind, type)}
        known.pop("optimizer", None)
        near = difflib.get_close_matches(name.lower(), sorted(known), n=1)
        raise SpecError(
            f"Keras knows no optimizer {name!r}" + (f"; did you mean {known[near[0]]!r}?" if near else ""),
            where="task",
            bound=", ".join(known[each] for each in sorted(known)),
            measured=repr(name),
            remedy="correct the name in compile(), or pass the optimizer itself",
        ) from error


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _shown(value: Any) -> str:
    simple = value is None or isinstance(value, bool | int | float)
    return repr(value) if simple else f"{type(value).__name__} of {_package(value)}"
