"""Limits that a conversion runs under, and the accuracy it may have to hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, FiniteFloat

from components.core.values import FrozenModel
from components.spec.metric import OutputKind

# Python cannot wait for some of what is beyond.
_YEAR = 365 * 86_400


class ConversionLimits(FrozenModel):
    """Limits of one conversion. A conversion that exceeds them is stopped and recorded as failed.

    Attributes:
        timeout_s: Wall time, in seconds.
        memory_bytes: Resident memory of the child process, in bytes.
    """

    timeout_s: Annotated[FiniteFloat, Field(gt=0, le=_YEAR)] = 900.0
    memory_bytes: Annotated[int, Field(gt=0, lt=1 << 63)] = 8 << 30


class AccuracyBound(FrozenModel):
    """What `keep_float: auto` holds on the calibration sample.

    Attributes:
        metric: The metric's name.
        class_name: Its Keras class.
        config: Keyword arguments of that class.
        less_is_better: Which way it improves.
        max_drop: How much worse than the float model's it may be.
        label: Feature that predictions are compared with.
        outputs: What the model returns, as `evaluate.outputs` says; None detects it as the evaluation does.
    """

    metric: str
    class_name: str
    config: dict[str, Any] = {}
    less_is_better: bool
    max_drop: Annotated[FiniteFloat, Field(ge=0)]
    label: str
    outputs: OutputKind | None = None
