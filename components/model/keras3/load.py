"""Loads a model that Keras 3 saved as a tf-keras model, and verifies that both compute the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from components.core.errors import EdgemillError, ModelError, summary_line
from components.model.keras3.configs import EXPORT, Config, entries_within, is_layer, name_of, registered_name
from components.model.keras3.facts import RebuiltFacts
from components.model.keras3.layer_classes import is_custom
from components.model.keras3.proof import prove
from components.model.keras3.rebuild import rebuild
from components.model.keras3.saved_file import SavedKeras3, read_saved
from components.model.keras3.weights import carry_over


class Rebuilt(NamedTuple):
    """A model of Keras 3 rebuilt in tf-keras.

    Attributes:
        saved: The content of its file.
        model: The tf-keras model.
    """

    saved: SavedKeras3
    model: Any


def rebuild_file(path: Path) -> Rebuilt:
    """Rebuild the model in a `.keras` or `.h5` file of Keras 3, with its weights.

    Nothing that the file names is imported. Lambda layers execute: refuse untrusted ones first.

    Raises:
        ModelError: A later Keras wrote the file, it can't be read, a class isn't registered, or something in it has
            no counterpart in tf-keras.
    """
    with _placed(path):
        saved = read_saved(path)
        if not re.match(r"3\.", saved.version):
            raise ModelError(
                f"this file was written by Keras {saved.version}, whose format Edgemill doesn't know",
                bound="a file of Keras 2 or 3",
                measured=f"Keras {saved.version}",
                remedy=EXPORT,
            )
        _check_registered(saved.config)
        part = rebuild(saved.config)
        carry_over(part, saved)
        return Rebuilt(saved, part.layer)


def prove_file(path: Path, rebuilt: Rebuilt, inputs: Any = None, *, trust_code: bool = False) -> RebuiltFacts:
    """Verify that a rebuilt model computes what Keras 3 computes, in a child process that loads the file.

    Args:
        path: The file. Unless its code is trusted, it must contain no code, and name nothing to import.
        rebuilt: From `rebuild_file`.
        inputs: A few real inputs, as the task's `decode` returns them: a tensor [N, ...], or tensors by name; None for
            random inputs only.
        trust_code: Whether to execute code from the file.

    Raises:
        ModelError: Keras 3 can't run the model, or the rebuilt model computes something else.
    """
    (version, config, *_), model = rebuilt
    with _placed(path):
        given, modules = _ordered(model, inputs), _modules(config)
        return prove(model, path, config, version, given, modules=modules, trust_code=trust_code)


@contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Name the file in all errors."""
    try:
        yield
    except EdgemillError as error:
        raise error if str(path) in str(error.where) else error.placed(str(path)) from error
    except Exception as error:
        # A configuration that Keras didn't write can lack entries, or have different ones.
        raise ModelError(
            f"the model of Keras 3 cannot be read: {type(error).__name__}: {summary_line(error)}",
            where=str(path),
            remedy="copy or save it again",
        ) from error


def _custom_classes(config: Config) -> dict[str, str]:
    """The layers' classes that aren't part of Keras: registered name -> name of the first such layer."""
    found: dict[str, str] = {}
    for entry in entries_within(config):
        if is_layer(entry) and is_custom(entry):
            found.setdefault(registered_name(entry), name_of(entry))
    return found


def _check_registered(config: Config) -> None:
    unknown = {
        name: layer
        for name, layer in _custom_classes(config).items()
        if tf.keras.utils.get_registered_object(name) is None
    }
    if not unknown:
        return
    package, _, name = next(iter(unknown)).rpartition(">")
    raise ModelError(
        "the model has layers of classes that the task does not register",
        where=f"layer {', '.join(unknown.values())}",
        bound="layers of Keras, or classes that the task registers",
        measured=", ".join(unknown),
        remedy=f"put `@tf.keras.utils.register_keras_serializable({package or 'Custom'!r})` above `class {name}"
        f"(tf.keras.layers.Layer)` in the task's module, or {EXPORT}",
    )


def _modules(config: dict[str, Any]) -> list[str]:
    """The modules that define the task's own layers, which Keras 3 needs as well."""
    classes = (tf.keras.utils.get_registered_object(name) for name in _custom_classes(config))
    return sorted({found.__module__ for found in classes if found is not None} - {"__main__"})


def _ordered(model: Any, inputs: Any) -> Sequence[Any] | None:
    """Sort inputs in the model's order. Return None if they don't fit, which a later check reports."""
    names = [tensor.name.partition(":")[0] for tensor in model.inputs]
    if inputs is None or (isinstance(inputs, Mapping) and set(inputs) != set(names)):
        return None
    given = [inputs[name] for name in names] if isinstance(inputs, Mapping) else [inputs]
    fits = len(given) == len(names) and all(
        tensor.shape.is_compatible_with(value.shape) for tensor, value in zip(model.inputs, given, strict=True)
    )
    if not fits:
        return None
    return [np.asarray(tf.cast(value, tensor.dtype)) for tensor, value in zip(model.inputs, given, strict=True)]
