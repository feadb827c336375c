"""Affine quantization: real values to integers and back. Needs no TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError

Array = npt.NDArray[Any]


def quantize(values: Array, scale: float, zero_point: int, dtype: npt.DTypeLike) -> Array:
    """Real values to integers, `q = clip(rint(x / scale) + zero_point)` (Jacob et al. 2018, arXiv:1712.05877, eq. 1).

    Args:
        values: float [...]. What the integers cannot hold saturates, as it does on a device; it never wraps around.
        scale: Real value of one step.
        zero_point: Integer that stands for 0.0.
        dtype: int8, uint8 or int16.

    Raises:
        DataError: There is a NaN, which no integer stands for.
    """
    bounds = np.iinfo(np.dtype(dtype))
    steps = np.rint(np.asarray(values) / np.float32(scale))
    if np.isnan(steps).any():
        raise DataError(
            "a NaN cannot be quantized",
            measured=f"{int(np.isnan(steps).sum())} NaN among {steps.size} values",
            remedy="remove or repair these examples, or replace NaN in the task's decode",
        )
    return np.clip(steps + zero_point, bounds.min, bounds.max).astype(dtype)


def dequantize(values: Array, scale: float, zero_point: int) -> Array:
    """Integers to float32, `x = (q - zero_point) * scale`."""
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
