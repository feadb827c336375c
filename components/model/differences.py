"""How much the outputs of two runtimes differ on the same examples, and whether rounding explains it."""

from __future__ import annotations

import numpy as np

from components.facts.differences import OutputDifference
from components.ranges.affine import Array


def difference(output: str, expected: Array, found: Array, scale: float | None) -> OutputDifference:
    """Compare two runtimes' values of one output.

    Args:
        output: Name of the output.
        expected, found: Raw tensor values [N, ...] from the desktop runtime and from TFLM.
        scale: Scale of a quantized output; None if it isn't quantized.
    """
    is_float = expected.dtype.kind == "f"
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    lsb = 1.0 if scale is None else scale
    if is_float:
        span = float(expected.max() - expected.min()) or float(np.abs(expected).max()) or 1.0
        lsb = span / 255
        apart = apart / lsb
    return OutputDifference(
        output=output,
        lsb=lsb,
        max_lsb=float(apart.max()),
        differing=float(np.mean(found != expected)),
        mean_lsb=float(apart.mean()),
        gross_lsb=_gross(expected, lsb if is_float else 1.0, quantized=scale is not None),
    )


def _gross(expected: Array, unit: float, quantized: bool) -> float:
    """Return the mean difference above which rounding cannot explain how found values differ from the expected ones.

    Values that are independent of the expected ones have at least the mean difference of the best constant, the median.
    Half of that is gross. If the expected values hardly vary, differences in rounding order can also add up, so 1/16 of
    the range is always allowed: in recurrent models, individual values differ by up to 50 of 256 steps, but the mean
    difference is far smaller.
    """
    values = expected.astype(np.float64)
    spread = float(np.mean(np.abs(values - np.median(values)))) / unit
    span = 256.0
    if expected.dtype.kind != "f":
        # Integers without a scale are counts or indices. They have no range, and rounding changes some of them by one.
        span = 2.0 ** (8 * expected.dtype.itemsize) if quantized else 8.0
    return max(spread / 2, span / 16)
