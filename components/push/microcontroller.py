"""The bundle of a release for microcontrollers: the model as a C array, its operators, its arena, and a golden example.

Every file contains the digest of the model, and the release's manifest contains the digest of every file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from components.core.files import sha256_of_bytes
from components.facts.device import GoldenTensor, TflmFacts

FOLDER = "microcontroller"
_PER_LINE = 16
_LEAST_INT64 = -(2**63)
# Methods of `tflite::MicroMutableOpResolver` that don't follow the rule of `resolver_method`.
_METHODS = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}
# Operators of TensorFlow Lite Micro itself that have no number in TFLite's schema.
_CUSTOM_METHODS = {
    "CUSTOM:CIRCULAR_BUFFER": "AddCircularBuffer",
    "CUSTOM:TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "CUSTOM:ethos-u": "AddEthosU",
}
_C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
    "bool": "bool",
}


def bundle_of(model: bytes, operators: Iterable[str], facts: TflmFacts) -> dict[str, bytes]:
    """Return the files of the bundle by their names in the release; none if the firmware must add its own kernels.

    Args:
        model: The TFLite file.
        operators: Names of its operators, as in the schema of TFLite.
        facts: TensorFlow Lite Micro's measurements of it.
    """
    names = sorted(set(operators))
    if any(name.startswith("CUSTOM:") and name not in _CUSTOM_METHODS for name in names):
        return {}
    digest = sha256_of_bytes(model)
    files = {
        "model.h": _header(digest, len(model), facts.arena_bytes),
        "model.cc": _array(digest, model),
        "resolver.h": _resolver(digest, names),
    }
    tensors = (*facts.golden_inputs, *facts.golden_outputs)
    if facts.golden_inputs and facts.golden_outputs and all(one.dtype in _C_TYPES for one in tensors):
        files["golden.h"] = _golden(digest, facts)
    return {f"{FOLDER}/{name}": content.encode() for name, content in files.items()}


def resolver_method(operator: str) -> str:
    """Return the method of TensorFlow Lite Micro's resolver that adds an operator."""
    if operator in _CUSTOM_METHODS:
        return _CUSTOM_METHODS[operator]
    parts = (part if part[0].isdigit() else part.capitalize() for part in operator.split("_"))
    return _METHODS.get(operator, f"Add{''.join(parts)}")


def _header(digest: str, size: int, arena: int) -> str:
    return f"""// The model with the SHA-256 digest {digest}.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgemill {{

extern const unsigned char kModel[];
constexpr std::size_t kModelBytes = {size};
constexpr char kModelSha256[] = "{digest}";
// The smallest arena in which TensorFlow Lite Micro's reference kernels ran the model on a 64-bit machine.
constexpr std::size_t kArenaBytes = {arena};

}}  // namespace edgemill
"""


def _array(digest: str, model: bytes) -> str:
    return f"""// The model with the SHA-256 digest {digest}.
#include "model.h"

namespace edgemill {{

alignas(16) const unsigned char kModel[] = {{
{_lines(f"0x{byte:02x}" for byte in model)}
}};

}}  // namespace edgemill
"""


def _resolver(digest: str, operators: list[str]) -> str:
    added = " ||\n      ".join(f"resolver.{resolver_method(name)}() != kTfLiteOk" for name in operators)
    return f"""// The operators of the model with the SHA-256 digest {digest}.
#pragma once

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace edgemill {{

constexpr unsigned int kOperators = {len(operators)};

inline TfLiteStatus AddOperators(tflite::MicroMutableOpResolver<kOperators>& resolver) {{
  if ({added}) {{
    return kTfLiteError;
  }}
  return kTfLiteOk;
}}

}}  // namespace edgemill
"""


def _golden(digest: str, facts: TflmFacts) -> str:
    tensors = [
        _tensor(f"kGolden{what}{index}", tensor)
        for what, found in (("Input", facts.golden_inputs), ("Output", facts.golden_outputs))
        for index, tensor in enumerate(found)
    ]
    body = "\n".join(tensors)
    return f"""// One example of the model with the SHA-256 digest {digest}: raw tensors in the order of the file.
#pragma once

#include <cmath>
#include <cstdint>

namespace edgemill {{

{body}
}}  // namespace edgemill
"""


def _tensor(name: str, tensor: GoldenTensor) -> str:
    values = tensor.values()
    kind = _C_TYPES[tensor.dtype]
    texts = (_literal(value) for value in values.reshape(-1).tolist())
    comment = re.sub(r"[^\w:/.\[\] -]", "?", f"{tensor.name} {list(tensor.shape)}")
    return f"// {comment}\nconstexpr {kind} {name}[] = {{\n{_lines(texts)}\n}};\n"


def _literal(value: float) -> str:
    """A number as a C++ literal."""
    if isinstance(value, float):
        if math.isnan(value):
            return "NAN"
        return f"{'-' if value < 0 else ''}INFINITY" if math.isinf(value) else f"{value.hex()}f"
    if value == _LEAST_INT64:
        return f"{value + 1} - 1"  # C++ has no literals for negative numbers.
    return str(value).lower()


def _lines(texts: Iterable[str]) -> str:
    found = list(texts)
    return "\n".join(f"    {', '.join(found[i : i + _PER_LINE])}," for i in range(0, len(found), _PER_LINE))
