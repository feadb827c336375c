"""Verify a pruned model's sparsity in its file, from measured facts only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.core.timing import MIN_JUDGED_S, twins_agree
from components.core.values import FrozenModel
from components.model.tflite_weights import WeightUse
from components.spec.steps.sparsity import BLOCKS, SparsityTarget, SparsityVerdict, SparsityVerification, TensorSparsity

# Pruning rounds to whole weights or blocks. Quantization may add zeros by rounding, but never removes them.
SPARSITY_TOLERANCE = 0.02


class Execution(FrozenModel):
    """Measurements of a sparse-encoded file and its dense twin.

    Attributes:
        difference: Largest difference between outputs with delegates and the outputs without delegates of the same file
            and of the dense file, as a fraction of the largest output; None if the file doesn't run.
        tolerance: Largest allowed difference.
        error: Why the file doesn't run.
        sparse_s: Time of one invocation, in seconds; None if the file was not timed.
        dense_s, twin_s: Times of two measurements of the dense file.
    """

    difference: float | None
    tolerance: float
    error: str = ""
    sparse_s: float | None = None
    dense_s: float | None = None
    twin_s: float | None = None


def targeted_uses(target: SparsityTarget, uses: Sequence[WeightUse]) -> list[WeightUse]:
    """The weights with the shape of a pruned kernel; all weights if the target lists no kernels."""
    if not target.kernels:
        return list(uses)
    shapes = {_sizes(shape) for kernel in target.kernels for shape in _in_a_file(kernel)}
    return [use for use in uses if _sizes(use.fact.shape) in shapes]


def encoded(
    target: SparsityTarget, sparse: Sequence[WeightUse], sparse_bytes: int, dense_bytes: int, execution: Execution
) -> SparsityVerification:
    """The verification of a sparse-encoded file, from the weights in it and the measurements.

    If the file doesn't run, or computes different values with delegates than without, the dense twin is delivered.
    """
    wrong = _wrong(execution)
    speed, ratio, transient = ("", None, False) if wrong else _speed(execution)
    proof = not_encoded(target, sparse, dense_bytes, wrong or speed)
    return proof.model_copy(
        update={
            "difference": execution.difference,
            "tolerance": execution.tolerance,
            "time_ratio": ratio,
            "sparse_bytes": sparse_bytes,
            "delivered": "dense" if wrong else "sparse",
            "transient": transient,
        }
    )


def _wrong(execution: Execution) -> str:
    dense = "the dense file is delivered"
    if execution.difference is None:
        return f"the sparse-encoded file does not run ({execution.error}): {dense}"
    # Written so that NaN fails.
    if not execution.difference <= execution.tolerance:
        return (
            f"outputs of the sparse-encoded file differ from those without delegates by {execution.difference:.3g} of "
            f"the largest output (at most {execution.tolerance:g}): {dense}"
        )
    return ""


def _speed(execution: Execution) -> tuple[str, float | None, bool]:
    """Why the file isn't faster than its dense twin ("" if it is), the ratio, and whether that is due to noise."""
    sparse, dense, twin = execution.sparse_s, execution.dense_s, execution.twin_s
    if sparse is None or dense is None or twin is None:
        return "not judged: the file was not timed", None, False
    if not twins_agree(dense, twin):
        noise = f"the dense file took {dense * 1e6:.1f} and {twin * 1e6:.1f} us in one run"
        return f"not judged: the machine was too noisy: {noise}", None, True
    best = min(dense, twin)
    for what, seconds in (("the dense file", best), ("the sparse file", sparse)):
        if seconds < MIN_JUDGED_S:
            limit = f"under {MIN_JUDGED_S * 1e6:.0f} us nothing is judged"
            return f"not judged: {what} takes {seconds * 1e6:.1f} us, and {limit}", None, False
    ratio = sparse / best
    # Faster by more than the difference that two runs of one file may have.
    if not twins_agree(sparse, best) and ratio < 1:
        return "", ratio, False
    return f"not faster on this machine: the sparse file takes {ratio:.2f} of its dense twin's time", ratio, False


def not_encoded(
    target: SparsityTarget, uses: Sequence[WeightUse], dense_bytes: int, reason: str
) -> SparsityVerification:
    """The verification of a file without sparse encoding, and the reason why it has none."""
    tensors = tuple(_tensor(target, use, reason) for use in targeted_uses(target, uses))
    verdicts = {tensor.verdict for tensor in tensors}
    verdict: SparsityVerdict = "lost" if "lost" in verdicts else "proven" if "proven" in verdicts else "stored_only"
    reasons = [tensor.reason for tensor in tensors if tensor.reason]
    if not tensors:
        reasons.append(
            "no weight in the file has the shape of a pruned kernel" if target.kernels else "the file has no weights"
        )
        verdict = "lost"
    return SparsityVerification(
        target=target,
        verdict=verdict,
        reasons=tuple(dict.fromkeys(reasons)),
        tensors=tensors,
        dense_bytes=dense_bytes,
        delivered="dense",
    )


def _tensor(target: SparsityTarget, use: WeightUse, speed: str) -> TensorSparsity:
    verdict, reason = _verdict(target, use, speed)
    return TensorSparsity(
        tensor=use.fact.name,
        operator=use.operator,
        shape=use.fact.shape,
        sparsity=_zeros(use),
        wanted=_wanted(target, use),
        encoding=use.encoding,
        densify=use.densify,
        verdict=verdict,
        reason=reason,
    )


def _verdict(target: SparsityTarget, use: WeightUse, speed: str) -> tuple[SparsityVerdict, str]:
    wanted = _wanted(target, use)
    least = wanted - _tolerance(target, use)
    if _zeros(use) < least:
        return (
            "lost",
            f"zeros were lost: {_zeros(use):.3f} of the weights instead of {wanted:.3f} (at least {least:.3f})",
        )
    if use.densify:
        return "stored_only", f"DENSIFY unpacks the weights of {use.operator} when the model is loaded"
    if use.encoding == "dense":
        return "stored_only", speed or f"the converter did not encode the weights of {use.operator}"
    return ("stored_only", speed) if speed else ("proven", "")


def _wanted(target: SparsityTarget, use: WeightUse) -> float:
    """The required sparsity of a weight: the lowest among kernels of its shape."""
    size = _sizes(use.fact.shape)
    own = [
        sparsity
        for kernel, sparsity in zip(target.kernels, target.sparsities, strict=False)
        if size in map(_sizes, _in_a_file(kernel))
    ]
    return min(own, default=target.sparsity)


def _zeros(use: WeightUse) -> float:
    return use.fact.sparsity or 0.0


def _tolerance(target: SparsityTarget, use: WeightUse) -> float:
    """The tolerance; for a small kernel one block, because its zeros are rounded to whole blocks."""
    group = BLOCKS.get(target.structure, 1)
    return max(SPARSITY_TOLERANCE, group / math.prod(use.fact.shape))


def _in_a_file(kernel: tuple[int, ...]) -> list[tuple[int, ...]]:
    shapes = [kernel]
    if len(kernel) == 3:
        shapes.append((1, *kernel))  # TFLite stores a 1-D convolution as a 2-D convolution of height 1
    return shapes


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sorted lengths of the axes, because a file may store a kernel's axes in a different order."""
    return tuple(sorted(shape))
