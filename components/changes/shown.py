"""Makes inputs of a model visible: images as PNG, series as curves, and everything else as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.facts.changes import ShownInput

Array = npt.NDArray[Any]
# Limits: longest side of an image, points of a curve, number of curves, and number of values in text.
_MOST_PIXELS, _MOST_POINTS, _MOST_CURVES, _MOST_VALUES = 96, 128, 8, 12


def shown(inputs: Mapping[str, Array]) -> tuple[ShownInput, ...]:
    """The inputs of one example, arrays without a batch dimension, by name."""
    return tuple(_shown(name, np.asarray(values)) for name, values in inputs.items())


def _shown(name: str, values: Array) -> ShownInput:
    if values.dtype.kind in "biuf" and values.size:
        finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        if _is_image(finite):
            return ShownInput(name=name, kind="image", png=_png(finite))
        if finite.ndim in {1, 2} and len(finite) > _MOST_VALUES:
            return ShownInput(name=name, kind="curves", curves=_curves(finite))
    return ShownInput(name=name, kind="text", text=_text(values))


def _is_image(values: Array) -> bool:
    """Whether values are pixels: rows and columns, with up to four channels. A long narrow array is a series."""
    if values.ndim == 3 and values.shape[-1] in {1, 3, 4}:
        return min(values.shape[:2]) > 1
    return values.ndim == 2 and min(values.shape) > _MOST_CURVES


def _png(values: Array) -> str:
    from PIL import Image

    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= -1 and high <= 1:
        low, high = -1.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    pixels = np.rint((values - low) / ((high - low) or 1.0) * 255).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _curves(values: Array) -> tuple[tuple[float, ...], ...]:
    series = values[:, None] if values.ndim == 1 else values
    step = -(-len(series) // _MOST_POINTS)
    thinned = series[::step, :_MOST_CURVES]
    return tuple(tuple(float(f"{one:.5g}") for one in channel) for channel in thinned.T)


def _text(values: Array) -> str:
    if values.dtype.kind in "SUO":
        parts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in values.reshape(-1)]
        return " ".join(parts)[:500]
    flat = values.reshape(-1)
    written = ", ".join(f"{one:.4g}" if values.dtype.kind == "f" else str(one) for one in flat[:_MOST_VALUES].tolist())
    rest = f", … (shape {' x '.join(map(str, values.shape))})" if flat.size > _MOST_VALUES else ""
    return written + rest
