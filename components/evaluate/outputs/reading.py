"""Determines on the first examples which outputs the metrics read, and how they interpret them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.core.errors import DataError
from components.data.examples import ExampleDecoder
from components.data.records import serialized_batches
from components.data.supervision import postprocessed
from components.data.task import load_task
from components.facts.outputs import OutputReading
from components.metrics.metric_outputs import target_of, with_outputs
from components.metrics.model_outputs import read_outputs
from components.model.keras_model import loss_takes_logits
from components.model.reference.float_model import load_float
from components.model.saved_model import CHUNK
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec


@dataclass(frozen=True)
class ReadOutputs:
    """Facts about the model's outputs, from the first examples.

    Attributes:
        metrics: The metrics, each with the name of its output.
        readings: Output that metrics read -> how they interpret it.
    """

    metrics: tuple[MetricSpec, ...]
    readings: dict[str, OutputReading]


def read_first_examples(
    files: Sequence[str], baseline: Path, spec: EvaluationSpec, label: str, task: str, decoder: ExampleDecoder
) -> ReadOutputs:
    """Run the float model, and the task's `postprocess`, on the first examples.

    Args:
        files: Gzipped TFRecord files.
        baseline: Serving folder of the float model.
        spec: Metrics, and the declared kinds of outputs.
        label: The feature that is the target if the task declares no targets.
        task: The task's reference.
        decoder: Decodes its examples.

    Raises:
        SpecError: A metric reads an output that does not exist or has no target, or `postprocess` fails.
        DataError: There are no examples.
    """
    model = load_float(baseline)
    batches = itertools.chain.from_iterable(serialized_batches([file], CHUNK) for file in files)
    decoded = [decoder.decode_all(batch, label) for batch in itertools.islice(batches, 2)]
    if not decoded:
        raise DataError(
            "there are no examples to evaluate on",
            where=", ".join(files) or "evaluate.split",
            remedy="check the data folder and the splits",
        )
    raw = [model.run(each.inputs) for each in decoded]
    final = [postprocessed(load_task(task), each) for each in raw]
    metrics = with_outputs(spec.metrics, tuple(final[0]), decoded[0].targets)
    readings = {}
    for name in dict.fromkeys(str(metric.output) for metric in metrics if not metric.function):
        # `postprocess` computes something other than the output of the model's last operator.
        same = name in raw[0] and final[0][name] is raw[0][name]
        operator = model.final_operator(name) if same else ""
        known = not same or operator in ("Softmax", "Sigmoid")
        readings[name] = read_outputs(
            declared=spec.declared(name),
            final_operator=operator,
            from_logits=None if known else loss_takes_logits(task, baseline.parent, name),
            predictions=np.concatenate([each[name] for each in final]),
            labels=np.concatenate([target_of(each.targets, name) for each in decoded]),
            metrics=[metric for metric in metrics if metric.output == name and not metric.function],
        )
    return ReadOutputs(metrics, readings)
