"""The error for a model of Keras 3 that can't be rebuilt in tf-keras."""

from __future__ import annotations

from components.core.errors import ModelError

EXPORT = (
    "export it as a SavedModel in the environment that saved it, `model.export('folder')`, and use that folder: all "
    "recipes without steps work with it"
)


def refusal(layer: str, why: str, *, bound: object = None, measured: object = None, remedy: str = "") -> ModelError:
    """The error for a layer.

    Args:
        layer: The layer's name in the Keras file.
        why: The problem with it, as part of a sentence.
        bound: What can be rebuilt.
        measured: What was found.
        remedy: Advice that comes before the export.
    """
    return ModelError(
        f"tf-keras cannot rebuild this model of Keras 3: {why}",
        where=f"layer {layer}",
        bound=bound,
        measured=measured,
        remedy=f"{remedy}, or {EXPORT}" if remedy else EXPORT,
    )
