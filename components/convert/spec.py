"""Limits that a conversion runs under."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from components.values import Value


class ConversionLimits(Value):
    """What one conversion may take before it is stopped and recorded as failed.

    Attributes:
        timeout_s: Wall time, in seconds.
        memory_bytes: Resident memory of the child process, in bytes.
    """

    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 900.0
    memory_bytes: Annotated[int, Field(gt=0)] = 8 << 30
