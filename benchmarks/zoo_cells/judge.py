"""The verdict on one cell: the result of a recipe for a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Verdict = Literal["works", "refused", "defect", "none"]

# Largest RMS error of a file as a fraction of the range of the output, by recipe. A file beyond it is compared with a
# plain script's file, because deep networks with random weights lose more.
BOUNDS = {
    "float32": 1e-4,
    "float16": 0.02,
    "dynamic": 0.05,
    "int8": 0.05,
    "int16x8": 0.03,
    "prune": 1e-4,
    "cluster": 1e-4,
    "qat": 0.05,
}
# How much larger than a plain script's error the error can be.
_LIKE_PLAIN = 1.5
# Largest error of a plain script's file that is still useful.
_OF_USE = 0.3
# How far the accuracy of int8 after training under quantization can be below the accuracy of plain int8.
HALF_A_POINT = 0.005
# Largest part of class numbers that rounding changes.
_CHANGED = 0.25


@dataclass(frozen=True)
class Cell:
    """The verdict.

    Attributes:
        model, recipe: Identify the cell.
        verdict: `none` if the file of the model has no layers that the step could train.
        reason: Why, and how the verdict was found.
        error: RMS error as a fraction of the range of the output; None without a file.
        bytes: Size of the file; 0 without one.
        seconds: Time for the cell.
    """

    model: str
    recipe: str
    verdict: Verdict
    reason: str = ""
    error: float | None = None
    bytes: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class PlainFile:
    """The result of a plain script for the model.

    Attributes:
        error: Error of its file; None if there is no file that runs.
        note: Why there is none, or what is wrong with it.
        keeps_promise: Whether the file has no floats if the recipe is an integer recipe, and at least half of its
            weights are quantized if the recipe uses dynamic range.
    """

    error: float | None
    note: str = ""
    keeps_promise: bool = True


def judge_accuracy(accuracies: Mapping[str, float]) -> tuple[Verdict, str]:
    """Judge the accuracies of a model's files for `float`, `int8`, and `qat`."""
    said = ", ".join(f"{name} {value:.4f}" for name, value in accuracies.items())
    lost = accuracies["int8"] - accuracies["qat"]
    return ("works" if lost <= HALF_A_POINT else "defect"), f"{said}, lost by training: {lost:+.4f}"


def error_of(wanted: Arrays, found: Arrays) -> float:
    """The largest RMS error of an output, as a fraction of its range. For class numbers, the fraction that differs.

    Args:
        wanted, found: Output -> array [N, ...], real values.

    Returns:
        Infinity if names, shapes, or finite values differ.
    """
    if set(wanted) != set(found):
        return float("inf")
    return max(_error(np.asarray(wanted[name]), np.asarray(found[name])) for name in wanted)


def _error(wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    if wanted.shape != found.shape or not np.isfinite(found.astype(np.float64)).all():
        return float("inf")
    if wanted.dtype.kind != "f":
        return 0.0 if np.mean(wanted != found) <= _CHANGED else float("inf")
    difference = found.astype(np.float64) - wanted
    scale = max(float(np.ptp(wanted)), 1e-3 * float(np.abs(wanted).max()), 1e-12)
    return float(np.sqrt(np.mean(difference**2))) / scale


def same_as_loop(found: Arrays, loop: Arrays, scales: Mapping[str, float | None]) -> bool:
    """Whether the evaluation and a plain interpreter loop return the same values, within a step of a quantized output.

    Args:
        found, loop: Output -> array [N, ...], real values.
        scales: Output -> its scale; None if it is not quantized.
    """
    if set(found) != set(loop):
        return False
    for name, values in found.items():
        allowed = 1.01 * (scales[name] or 0.0) + 1e-5 * max(1.0, float(np.abs(loop[name].astype(np.float64)).max()))
        if values.shape != loop[name].shape or np.abs(values.astype(np.float64) - loop[name]).max() > allowed:
            return False
    return True


def judge_file(recipe: str, error: float, agrees: bool, plain: Callable[[], PlainFile] | None) -> tuple[Verdict, str]:
    """Judge a file.

    Args:
        recipe: Name of the recipe.
        error: From `error_of`.
        agrees: From `same_as_loop`.
        plain: Creates the file of a plain script; for `qat`, the file for int8; None for other recipes that train.
    """
    if not agrees:
        return "defect", "the evaluation and a plain interpreter loop differ"
    if error <= BOUNDS[recipe]:
        return "works", ""
    said = f"an error of {error:.3g} of the range (at most {BOUNDS[recipe]:g})"
    if plain is None:
        return "defect", said
    other = plain()
    if other.error is not None and error <= _allowed(recipe, other.error):
        return "works", f"{said}, as with a plain script ({other.error:.3g})"
    return "defect", f"{said}, and {other.note or f'{other.error:.3g} with a plain script'}"


def _allowed(recipe: str, plain: float) -> float:
    """The largest acceptable error, given a plain script's."""
    return plain + HALF_A_POINT if recipe == "qat" else _LIKE_PLAIN * plain


def judge_refusal(reason: str, plain: Callable[[], PlainFile] | None) -> tuple[Verdict, str]:
    """Judge a refusal before the run. `plain` is as for `judge_file`."""
    if plain is None:
        return "refused", reason
    other = plain()
    if other.error is None:
        return "refused", f"{reason} [a plain script: {other.note}]"
    if not other.keeps_promise:
        return "refused", f"{reason} [a plain script's file: {other.note}]"
    if other.error > _OF_USE:
        return "refused", f"{reason} [a plain script's file is wrong by {other.error:.3g} of the range]"
    return "defect", f"refused, but a plain script's file runs, with an error of {other.error:.3g}: {reason}"
