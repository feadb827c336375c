"""Limits of a conversion, and the accuracy bound that it may have to meet."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, FiniteFloat

from components.core.values import FrozenModel
from components.spec.metric import OutputKind

# Python can't wait for longer times.
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
    """The accuracy bound that `keep_float: auto` meets on the calibration sample.

    Attributes:
        metric: The metric's name.
        class_name: Its Keras class.
        config: Keyword arguments of that class.
        less_is_better: Whether a smaller value is better.
        max_drop: How much worse than the float model's the metric can be.
        label: Feature that predictions are compared with if the task declares no targets; "" for none.
        output: The output that the metric reads; None for the only one.
        outputs: What the model returns, as in `evaluate.outputs`; None detects it in the same way as the evaluation.
    """

    metric: str
    class_name: str
    config: dict[str, Any] = {}
    less_is_better: bool
    max_drop: Annotated[FiniteFloat, Field(ge=0)]
    label: str = ""
    output: str | None = None
    outputs: OutputKind | None = None
