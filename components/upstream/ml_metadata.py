"""ML Metadata: the method through which its Python store calls native code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

# Arguments: store, name of the method, request, response.
NativeCall = Callable[[Any, Any, Any, Any], None]


def surround_native_calls(mark: str, surround: Callable[[NativeCall, Any, Any, Any, Any], None]) -> None:
    """Make every MetadataStore in this process, including TFX's own, call native code through a wrapper.

    Args:
        mark: Attribute that marks the store as wrapped. A second call with the same mark does nothing.
        surround: The wrapper, a function of the original call and its arguments.
    """
    from ml_metadata.metadata_store.metadata_store import MetadataStore

    original: NativeCall = MetadataStore._pywrap_cc_call
    if hasattr(original, mark):
        return

    @wraps(original)
    def call(store: Any, method: Any, request: Any, response: Any) -> None:
        surround(original, store, method, request, response)

    setattr(call, mark, True)
    MetadataStore._pywrap_cc_call = call


def is_postgresql(store: Any) -> bool:
    """Whether a MetadataStore is connected to a PostgreSQL database."""
    return bool(store._config.HasField("postgresql"))
