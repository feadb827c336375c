"""Checks that a TFLite file keeps the promises of its scheme, and that it has the trained ranges."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set

from components.core.errors import some_of
from components.facts.conversion import Inspection, TensorFact
from components.facts.training import TrainedRange
from components.model.tflite_file import scales_of
from components.spec.scheme import Scheme, StaticScheme
from components.spec.schemes.limits import DYNAMIC_MINIMUM_ELEMENTS

_BORDER = ("input or output is", "inputs or outputs are")
# Suffixes that ai-edge-quantizer gives to tensors that it adds between integers and floats.
_ADDED = re.compile(r"(_(dequant|quantized|requant|duplicated)(_?\d+)?)+$")
# The file contains float32 scales, computed from float32 limits.
_RELATIVE = 1e-6


def scheme_violations(scheme: Scheme, inspection: Inspection, kept_float: Set[str] = frozenset()) -> list[str]:
    """Compare a file with its scheme.

    Args:
        scheme: The requested scheme.
        inspection: Inspection of the file.
        kept_float: Names in the float file of the tensors that `keep_float` keeps in float.

    Returns:
        One clause per broken promise, with names and numbers; empty if the file keeps all promises.
    """
    if isinstance(scheme, StaticScheme):
        complaints = _static(scheme, inspection, f"INT{scheme.activation_bits}", kept_float)
        if scheme.weight_bits == 4 and not any(weight.dtype == "INT4" for weight in inspection.weights):
            complaints.append("no weight is INT4")
        return complaints
    if scheme.is_dynamic_range:
        return _dynamic(getattr(scheme, "granularity", "per_channel"), inspection)
    if scheme.weight_bits == 16:
        wide = [weight for weight in inspection.weights if weight.dtype == "FLOAT32"]
        return _complaint("weight is", "weights are", "FLOAT32 instead of FLOAT16", wide)
    quantized = [weight for weight in inspection.weights if weight.scales]
    return _complaint("weight is", "weights are", "quantized in a float file", quantized)


def _dynamic(granularity: str, inspection: Inspection) -> list[str]:
    quantized = [weight for weight in inspection.weights if weight.dtype == "INT8" and weight.scales]
    large = [weight for weight in inspection.weights if _elements(weight) >= DYNAMIC_MINIMUM_ELEMENTS]
    left = [weight for weight in large if weight.dtype == "FLOAT32"]
    if not quantized and not large:
        return [f"no weight has the {DYNAMIC_MINIMUM_ELEMENTS} elements that quantization requires"]
    complaints = _granularity(granularity, inspection)
    # Constants that are not operands of a matrix product, such as positional tables, stay float by design.
    if sum(map(_elements, left)) > sum(map(_elements, quantized)):
        complaints.append(f"most weights are FLOAT32 instead of INT8: {_named(left)}")
    return complaints


def _static(scheme: StaticScheme, inspection: Inspection, activations: str, kept_float: Set[str]) -> list[str]:
    border = (*inspection.inputs, *inspection.outputs)
    # TFLite casts integers to floats before it quantizes them. The model declares such inputs and outputs itself.
    floats = [name for name in inspection.float_tensors if name not in inspection.border_casts]
    complaints = _granularity(scheme.granularity, inspection)
    if scheme.integers_only and floats:
        complaints.append(f"{len(floats)} float tensors in an integer-only file: {some_of(floats)}")
    elif not scheme.float_fallback:
        # A conversion at the border of a float layer has the name of the converted tensor with a suffix.
        allowed = {tensor.name for tensor in border} | kept_float
        inner = sorted(name for name in set(floats) - allowed if _ADDED.sub("", name) not in kept_float)
        if inner:
            place = "outside the layers that are kept float" if kept_float else "inside the model"
            complaints.append(f"{len(inner)} float tensors {place}: {some_of(inner)}")
    if scheme.float_io:
        complaints += _complaint(*_BORDER, "quantized", [tensor for tensor in border if tensor.scales])
    else:
        other = {"FLOAT32", "FLOAT16", "INT8", "INT16"} - {activations}
        # In a 16-bit scheme, an input that is bytes in the model has no scale: a cast reads it.
        wrong = [each for each in border if each.dtype in other and (each.scales or not each.dtype.startswith("INT"))]
        complaints += _complaint(*_BORDER, f"not {activations}", wrong)
    if not inspection.dtype_counts.get(activations):
        complaints.append(f"no tensor is {activations}: nothing was quantized")
    return complaints


def _granularity(granularity: str, inspection: Inspection) -> list[str]:
    """Check `per_tensor`. `per_channel` isn't checked, because some operators have per-tensor kernels only."""
    if granularity == "per_channel":
        return []
    return _complaint(
        "weight has", "weights have", "a scale per channel", [w for w in inspection.weights if w.scales > 1]
    )


def _complaint(one: str, many: str, what: str, tensors: Sequence[TensorFact]) -> list[str]:
    if not tensors:
        return []
    return [f"{len(tensors)} {one if len(tensors) == 1 else many} {what}: {_named(tensors)}"]


def _named(tensors: Sequence[TensorFact]) -> str:
    return some_of([f"{tensor.name} ({tensor.dtype}, {_elements(tensor)} elements)" for tensor in tensors])


def _elements(tensor: TensorFact) -> int:
    return math.prod(tensor.shape)


def lost_ranges(content: bytes, ranges: Sequence[TrainedRange]) -> tuple[str, ...]:
    """The names of trained ranges whose scale and zero point no tensor of the file has."""
    held = scales_of(content)
    return tuple(
        one.tensor
        for one in ranges
        if not any(
            zero_point == one.zero_point and math.isclose(scale, one.scale, rel_tol=_RELATIVE)
            for scale, zero_point in held
        )
    )
