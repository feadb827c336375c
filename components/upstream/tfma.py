"""TensorFlow Model Analysis: the models of its DoFns. Importing this module imports nothing."""

from __future__ import annotations

from typing import Any


def loaded_models(do_fn: Any) -> dict[str, Any]:
    """Name -> model of a `DoFnWithModels` after its setup."""
    return do_fn._loaded_models
