"""Determines which output of the model each metric reads, and which target it compares with it. Pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from components.core.errors import SpecError, one_of
from components.data.supervision import ONLY, no_targets, unknown_output
from components.spec.metric import MetricSpec

T = TypeVar("T")


def with_outputs(
    metrics: Sequence[MetricSpec], outputs: Sequence[str], targets: Collection[str]
) -> tuple[MetricSpec, ...]:
    """The same metrics with the name of the output that each reads. A function without an output reads all of them.

    Args:
        metrics: Metrics of the pipeline file.
        outputs: Names of the outputs of the model, or of the task's `postprocess`.
        targets: Names of the task's targets; `ONLY` if it declares none and there is a label; empty without either.

    Raises:
        SpecError: There is no such output, it has no target, or a metric names no output although there are several.
    """
    return tuple(
        metric.model_copy(update={"output": _output_of(metric, f"evaluate.metrics[{place}]", outputs, targets)})
        for place, metric in enumerate(metrics)
    )


def _output_of(metric: MetricSpec, where: str, outputs: Sequence[str], targets: Collection[str]) -> str | None:
    where = f"{where}.output"
    if metric.function and metric.output is None:
        return None
    if metric.output is None and len(outputs) > 1:
        raise SpecError(
            f"the metric {metric.name!r} does not say which output it reads",
            where=where,
            bound=one_of(sorted(outputs)),
            measured=f"{len(outputs)} outputs",
            remedy=f"write `{{name: {metric.name}, class_name: {metric.class_name}, output: {min(outputs)}}}`",
        )
    output = outputs[0] if metric.output is None else metric.output
    if output not in outputs:
        raise unknown_output(f"the metric {metric.name!r} reads an output that does not exist", output, outputs, where)
    if metric.function:
        return output  # The metric can compare with a feature.
    if ONLY in targets and len(outputs) > 1:
        raise no_targets(outputs, where)
    if ONLY not in targets and output not in targets:
        near = difflib.get_close_matches(output, sorted(set(targets) - set(outputs)), n=1)
        raise SpecError(
            f"the metric {metric.name!r} has nothing to compare the output {output!r} with",
            where=where,
            bound=f"the output {output!r} in the task's targets(features)" + ("" if targets else ", or a label"),
            measured=", ".join(sorted(targets)) or "no targets, and no examples.label",
            remedy=f"rename the target {near[0]!r} {output!r}"
            if near
            else "return a target for it, or choose another output"
            if targets
            else "add the method to the task, or specify the feature with the label in examples.label",
        )
    return output


def target_of(targets: Mapping[str, T], output: str) -> T:
    """The target of an output that `with_outputs` accepted."""
    return targets[ONLY] if ONLY in targets else targets[output]
