"""Edgemill: the command line, and the public names that tasks import.

Names are imported at their first use, so that only names that need TensorFlow import it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.cells.quantizers import (
        ActivationQuantizer,
        FixedQuantizer,
        HistogramQuantizer,
        LastValueQuantizer,
        MovingAverageQuantizer,
    )
    from components.cells.sru import SRU
    from components.cells.weight_quantizer import WeightQuantizer
    from components.core.errors import EdgemillError
    from components.data.ready_made import (
        Input,
        LabelsTask,
        OneInputTask,
        SeveralInputsTask,
        SeveralOutputsTask,
        Target,
    )
    from components.data.task import CompilingTask, Task, TrainableTask
    from components.fake_quantize.layer_policy import LayerPolicy
    from components.fake_quantize.tflite_8bit_scheme import Tflite8BitScheme
    from components.metrics.accumulator import RatioOfSums

__all__ = [
    "SRU",
    "ActivationQuantizer",
    "CompilingTask",
    "EdgemillError",
    "FixedQuantizer",
    "HistogramQuantizer",
    "Input",
    "LabelsTask",
    "LastValueQuantizer",
    "LayerPolicy",
    "MovingAverageQuantizer",
    "OneInputTask",
    "RatioOfSums",
    "SeveralInputsTask",
    "SeveralOutputsTask",
    "Target",
    "Task",
    "Tflite8BitScheme",
    "TrainableTask",
    "WeightQuantizer",
]

_HOMES = {
    "ActivationQuantizer": "components.cells.quantizers",
    "FixedQuantizer": "components.cells.quantizers",
    "HistogramQuantizer": "components.cells.quantizers",
    "LastValueQuantizer": "components.cells.quantizers",
    "MovingAverageQuantizer": "components.cells.quantizers",
    "SRU": "components.cells.sru",
    "WeightQuantizer": "components.cells.weight_quantizer",
    "EdgemillError": "components.core.errors",
    "Input": "components.data.ready_made",
    "LabelsTask": "components.data.ready_made",
    "OneInputTask": "components.data.ready_made",
    "SeveralInputsTask": "components.data.ready_made",
    "SeveralOutputsTask": "components.data.ready_made",
    "Target": "components.data.ready_made",
    "CompilingTask": "components.data.task",
    "Task": "components.data.task",
    "TrainableTask": "components.data.task",
    "LayerPolicy": "components.fake_quantize.layer_policy",
    "Tflite8BitScheme": "components.fake_quantize.tflite_8bit_scheme",
    "RatioOfSums": "components.metrics.accumulator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgemill' has no attribute {name!r}; its names are {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
