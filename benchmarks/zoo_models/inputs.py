"""Inputs of small models. `k` is tf-keras or Keras 3."""

from __future__ import annotations

from typing import Any


def vector(k: Any, size: int = 12) -> Any:
    """A vector [size]."""
    return k.Input([size], name="vector")


def series(k: Any, length: int = 12, width: int = 8) -> Any:
    """A sequence [length, width]."""
    return k.Input([length, width], name="series")


def image(k: Any, size: int = 16, channels: int = 3) -> Any:
    """An image [size, size, channels]."""
    return k.Input([size, size, channels], name="image")
