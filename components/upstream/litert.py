"""LiteRT's interpreter with its experimental argument. Imports only `ai_edge_litert`, so any Python can use it."""

from __future__ import annotations

from typing import Any

# Kernels -> the name of LiteRT's resolver.
_RESOLVERS = {"xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


def interpreter(content: bytes, kernels: str) -> Any:
    """A single-threaded interpreter of a TFLite file, before its tensors are allocated.

    Args:
        content: The file.
        kernels: `xnnpack`, `builtin` (without a delegate), or `reference`.
    """
    from ai_edge_litert import interpreter as litert

    return litert.Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=getattr(litert.OpResolverType, _RESOLVERS[kernels]),
    )
