"""The result of a back-end: a file and measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.facts.conversion import ActivationRange, FloatSearch, LayerSensitivity, StateErrors
from components.facts.streaming import StreamingContract


@dataclass(frozen=True)
class ConversionResult:
    """A converted file.

    Attributes:
        content: The file.
        kept_tensors: Names of the tensors of layers that stay in float.
        ranges, sensitivity, search: See `Converted`.
        streaming, state_errors: See `Converted`.
        encode_sparse: Converts again with sparse-encoded weights; None if the back-end can't do that.
    """

    content: bytes
    kept_tensors: frozenset[str] = frozenset()
    ranges: tuple[ActivationRange, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    search: FloatSearch | None = None
    streaming: StreamingContract | None = None
    state_errors: StateErrors | None = None
    encode_sparse: Callable[[], bytes] | None = None
