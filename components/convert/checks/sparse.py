"""Sparse encoding of a pruned model's file, which is then run and timed in comparison with its dense twin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.convert.checks.sparsity_verification import Execution, encoded, not_encoded
from components.core.errors import EdgemillError
from components.core.timing import ATTEMPTS, interleaved_minima, twins_agree
from components.model.batch_probe import random_values
from components.model.tflite_flags import by_name
from components.model.tflite_weights import weight_uses
from components.spec.scheme import Scheme
from components.spec.steps.sparsity import SparsityTarget, SparsityVerification, encodes, sparsity_refusal
from components.upstream.tflite.interpreter import interpreter as new_interpreter

_LOG = logging.getLogger(__name__)

# Relative to the largest output. Float kernels sum in a different order. A delegate's integer kernels round
# differently, by a step or two per layer. The error of a wrong kernel is far greater.
FLOAT_TOLERANCE = 1e-4
INTEGER_TOLERANCE = 0.05
_PROBES = 8
_SPARSE, _DENSE, _TWIN = "sparse", "dense", "twin"

Inputs = Mapping[str, npt.NDArray[Any]]
Outputs = Mapping[str, npt.NDArray[np.float64]]


def sparse_or_dense(
    dense: bytes, encode: Callable[[], bytes] | None, scheme: Scheme, target: SparsityTarget
) -> tuple[bytes, SparsityVerification]:
    """Choose between a file and its sparse-encoded twin, and verify the sparsity.

    Args:
        dense: The file without sparse encoding, which is known to run.
        encode: Converts the same weights with sparse encoding. Called only if a sparse kernel exists. None if the
            back-end doesn't support it.
        scheme: The scheme of both files.
        target: The sparsity target of the pruned weights.

    Returns:
        The file to deliver, and the verification. The file is the encoded one, unless the weights cannot be
        encoded, or the encoded file doesn't run or has wrong outputs.

    Raises:
        SpecError: Kernels compute wrong values for this combination of scheme and sparsity.
    """
    refused = sparsity_refusal(scheme, target, "scheme")
    if refused is not None:
        raise refused
    uses = weight_uses(dense)
    if encode is None or not encodes(scheme, target.structure):
        reason = f"there is no sparse kernel for {scheme.kind} with {target.structure} sparsity"
        if encodes(scheme, target.structure):
            reason = "the back-end for `calibration_method` and `keep_float` does not support it"
        return dense, not_encoded(target, uses, len(dense), f"not sparse-encoded: {reason}")
    plain = not_encoded(target, uses, len(dense), "the converter found nothing to encode")
    if all(tensor.verdict == "lost" for tensor in plain.tensors):
        return dense, plain
    try:
        sparse = encode()
    except EdgemillError as error:
        return dense, not_encoded(target, uses, len(dense), f"not sparse-encoded: {error.what}")
    found = weight_uses(sparse)
    if all(use.encoding == "dense" for use in found):
        return dense, plain
    execution = measure(sparse, dense, INTEGER_TOLERANCE if scheme.is_static else FLOAT_TOLERANCE)
    proof = encoded(target, found, len(sparse), len(dense), execution)
    _LOG.info("sparsity: %s, %d bytes instead of %d", proof.verdict, len(sparse), len(dense))
    return (sparse if proof.delivered == "sparse" else dense), proof


def measure(sparse: bytes, dense: bytes, tolerance: float) -> Execution:
    """Run an encoded file and its dense twin, and time them interleaved.

    Args:
        sparse: The sparse-encoded file.
        dense: The file with the same weights in dense encoding.
        tolerance: Largest allowed difference between the encoded file's outputs with delegates and either file's
            outputs without, as a fraction of the largest output.
    """
    try:
        probes = random_inputs(sparse)
        found = outputs(sparse, probes)
        references = [outputs(content, probes, delegates=False) for content in (sparse, dense)]
        difference = float(np.max([largest_difference(found, reference) for reference in references]))
        runs: dict[object, Callable[[], None]] = {
            name: loaded(content, probes[0]).invoke
            for name, content in ((_SPARSE, sparse), (_DENSE, dense), (_TWIN, dense))
        }
    except (RuntimeError, ValueError, EdgemillError) as error:
        return Execution(difference=None, tolerance=tolerance, error=str(error).strip()[:300])
    seconds: dict[object, float] = {}
    for attempt in range(ATTEMPTS):
        seconds = interleaved_minima(runs, attempt)
        _LOG.info("sparse, dense, its twin: %s us", ", ".join(f"{value * 1e6:.1f}" for value in seconds.values()))
        if twins_agree(seconds[_DENSE], seconds[_TWIN]):
            break
    return Execution(
        difference=difference,
        tolerance=tolerance,
        sparse_s=seconds[_SPARSE],
        dense_s=seconds[_DENSE],
        twin_s=seconds[_TWIN],
    )


def outputs(content: bytes, probes: list[Inputs], *, delegates: bool = True) -> Outputs:
    """Run a file. Returns its dequantized outputs by name, each [probes, ...].

    Args:
        content: The file.
        probes: Name of an input -> its value, for each invocation.
        delegates: Whether to use the runtime's default delegate, XNNPACK.

    Raises:
        RuntimeError, ValueError: The runtime rejects the file.
    """
    interpreter = loaded(content, probes[0], delegates=delegates)
    exits = by_name(interpreter, "outputs")
    found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in exits}
    for probe in probes:
        interpreter.reset_all_variables()
        _fill(interpreter, probe)
        interpreter.invoke()
        for name, detail in exits.items():
            scale, zero_point = detail["quantization"]
            raw = np.asarray(interpreter.get_tensor(detail["index"]), np.float64)
            found[name].append((raw - zero_point) * scale if scale else raw)
    return {name: np.stack(values) for name, values in found.items()}


def loaded(content: bytes, inputs: Inputs, *, delegates: bool = True) -> Any:
    """A single-threaded interpreter with its inputs set, so that timed runs don't compute on uninitialized memory."""
    interpreter = new_interpreter(content, delegates=delegates)
    interpreter.allocate_tensors()
    _fill(interpreter, inputs)
    return interpreter


def _fill(interpreter: Any, inputs: Inputs) -> None:
    for name, detail in by_name(interpreter, "inputs").items():
        interpreter.set_tensor(detail["index"], inputs[name])


def random_inputs(content: bytes, seed: int = 0) -> list[Inputs]:
    """Random inputs; zeros for tokens and flags, because the file doesn't contain their valid range."""
    import tensorflow as tf

    random = np.random.default_rng(seed)
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    details = by_name(interpreter, "inputs")
    return [
        {name: random_values(detail, detail["shape"], random) for name, detail in details.items()}
        for _ in range(_PROBES)
    ]


def largest_difference(ones: Outputs, others: Outputs) -> float:
    """The largest difference of an output, as a fraction of the largest value of that output in `others`."""
    worst = 0.0
    # By name, because two conversions can order outputs differently.
    for name, other in others.items():
        scale = float(np.abs(other).max(initial=0.0)) or 1.0
        # Python's max() may drop a NaN.
        worst = float(np.maximum(worst, np.abs(ones[name] - other).max(initial=0.0) / scale))
    return worst
