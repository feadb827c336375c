"""Affine quantization of real values to integers, and back. Doesn't import TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError

Array = npt.NDArray[Any]


def quantize(values: Array, scale: float, zero_point: int, dtype: npt.DTypeLike) -> Array:
    """Quantize by `q = clip(rint(x / scale) + zero_point)` (Jacob et al. 2018, arXiv:1712.05877, eq. 1).

    Args:
        values: float [...]. Values out of range saturate, as on a device; they never wrap around.
        scale: Real value of one integer step.
        zero_point: Integer that represents 0.0.
        dtype: int8, uint8, or int16.

    Raises:
        DataError: A value is NaN, which no integer can represent.
    """
    bounds = np.iinfo(np.dtype(dtype))
    steps = np.asarray(np.asarray(values) / np.float32(scale))
    np.rint(steps, out=steps)
    if has_nan(steps):
        raise DataError(
            "a NaN cannot be quantized",
            measured=f"{int(np.isnan(steps).sum())} NaN among {steps.size} values",
            remedy="remove or repair these examples, or replace NaN in the task's decode",
        )
    steps += zero_point
    return np.clip(steps, bounds.min, bounds.max, out=steps).astype(dtype)


def has_nan(values: Array) -> bool:
    """Whether an array of floats contains NaN. If so, its minimum is NaN, which is the fastest test."""
    return bool(values.size and np.isnan(values.min()))


def dequantize(values: Array, scale: float, zero_point: int) -> Array:
    """Dequantize to float32 by `x = (q - zero_point) * scale`."""
    real = values.astype(np.float32)
    real -= np.float32(zero_point)
    real *= np.float32(scale)
    return real
