"""Private methods of TFX's base classes of executors. Importing this module doesn't import TFX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def pipeline_maker(executor: Any) -> Callable[[], Any]:
    """The function with which a BaseBeamExecutor creates a Beam pipeline with the arguments of the run."""
    return executor._make_beam_pipeline


def trainer_config(executor: Any, inputs: Any, outputs: Any, properties: Any) -> dict[str, Any]:
    """The `custom_config` of a Trainer, from the arguments of `Do` of its GenericExecutor."""
    return dict(executor._GetFnArgs(inputs, outputs, properties).custom_config)
