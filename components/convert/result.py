"""What a back-end hands back: a file, and what was found on the way."""

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
        kept_tensors: Names of the tensors of layers that were left float.
        ranges, sensitivity, search: As `Converted` has them.
        streaming, steps: As `Converted` has them.
        encode_sparse: Makes the file again with sparse-encoded weights; None where the back-end cannot.
    """

    content: bytes
    kept_tensors: frozenset[str] = frozenset()
    ranges: tuple[ActivationRange, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    search: FloatSearch | None = None
    streaming: StreamingContract | None = None
    steps: StateErrors | None = None
    encode_sparse: Callable[[], bytes] | None = None
