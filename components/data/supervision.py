"""The targets that a model is trained and evaluated on, one for each output, and the weights of examples."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, EdgemillError, SpecError, one_of, some_of, summary_line
from components.core.user_code import exits_reported, raised_at
from components.data.task import PostprocessingTask, Task, TaskWithTargets, WeighingTask, is_uneven

Array = npt.NDArray[Any]
# The name of a model's only output if it has no other name.
ONLY = ""


def targets_of(task: Task, features: Mapping[str, Any]) -> dict[str, Any]:
    """The targets that the task declares, output name -> tensor [batch, ...]; empty if it declares none.

    Raises:
        SpecError: `targets` fails, or doesn't return dense tensors of numbers by output name.
    """
    if not isinstance(task, TaskWithTargets):
        return {}
    targets = _called("targets", lambda: task.targets(features))
    wrong = (
        [kind for name, value in targets.items() if (kind := _not_a_target(name, value))]
        if isinstance(targets, Mapping)
        else [type(targets).__name__]
    )
    if wrong or not targets:
        raise SpecError(
            "the task's targets does not return tensors to compare outputs with",
            where="task",
            bound="a dict of output name -> dense tensor of numbers [batch, ...]",
            measured=", ".join(wrong) or "an empty dict",
            remedy="return one tensor for each output that has a loss or a metric (`tf.sparse.to_dense`, "
            "`.to_tensor()` for ragged ones); a metric can read text from the features",
        )
    return dict(targets)


def _not_a_target(name: Any, value: Any) -> str:
    if not isinstance(name, str) or not name:
        return "an empty name" if name == "" else f"a name of type {type(name).__name__}"
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None or is_uneven(value):
        return f"{type(value).__name__} for {name!r}"
    if dtype == "string" or getattr(dtype, "kind", "") in {"S", "U", "O"}:
        return f"a tensor of strings for {name!r}"
    return "" if len(shape) else f"a tensor without a batch dimension for {name!r}"


def weights_of(task: Task, features: Mapping[str, Any]) -> Any:
    """The weight of each example that the task declares, float32 [batch]; None if it declares none.

    Raises:
        SpecError: `example_weights` fails, or doesn't return one number per example.
    """
    if not isinstance(task, WeighingTask):
        return None
    import tensorflow as tf

    weights = _called("example_weights", lambda: tf.convert_to_tensor(task.example_weights(features)))
    if len(weights.shape) != 1 or not (weights.dtype.is_floating or weights.dtype.is_integer):
        raise SpecError(
            "the task's example_weights does not return one number per example",
            where="task",
            bound="a tensor of numbers [batch]",
            measured=f"shape {weights.shape} of {weights.dtype.name}",
            remedy="return a tensor without further dimensions, such as `features['weight']` of a FixedLenFeature([])",
        )
    return tf.cast(weights, tf.float32)


def check_supervision(targets: Mapping[str, Array], weights: Array | None, count: int) -> None:
    """Check that each target has a row for each of N examples, and that the weights are valid.

    Raises:
        SpecError: A target has a different number of rows.
        DataError: A weight is negative or not finite.
    """
    for name, values in targets.items():
        if len(values) != count:
            raise SpecError(
                "the task's targets returns a tensor of the wrong shape",
                where=f"task, output {name}" if name else "task",
                bound=f"[{count}, ...], one row per example",
                measured=list(values.shape),
                remedy="keep the batch as first dimension",
            )
    if weights is None:
        return
    if len(weights) != count or not (np.isfinite(weights).all() and (weights >= 0).all()):
        wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
        raise DataError(
            "the task's example_weights does not return a weight for each example",
            where="task",
            bound=f"{count} finite numbers of at least 0",
            measured=some_of(f"{each:g}" for each in wrong) if len(wrong) else f"{len(weights)} numbers",
            remedy="correct the examples, or example_weights",
        )


def fit_targets(targets: Mapping[str, Any], outputs: Sequence[str], where: str) -> Any:
    """The targets in the form in which Keras trains a model: one tensor, or tensors by output.

    Args:
        targets: Targets by output; `ONLY` names the label if the task declares no targets.
        outputs: Names of the model's outputs.
        where: A description of the trained model, for the message.

    Raises:
        SpecError: The model has several outputs, but the task declares no targets; or it declares none of its outputs;
            or there are neither targets nor a label.
    """
    if not targets:
        raise nothing_to_learn(outputs, where)
    if set(targets) == {ONLY}:
        if len(outputs) > 1:
            raise no_targets(outputs, where)
        return targets[ONLY]
    # Other targets are for outputs that `postprocess` returns.
    known = {name: targets[name] for name in outputs if name in targets}
    if not known:
        raise unknown_output("the task's targets names no output of the model", min(targets), outputs, where)
    return known[outputs[0]] if len(outputs) == 1 else known


def nothing_to_learn(outputs: Sequence[str], where: str) -> SpecError:
    """The error for a model that is trained without targets and without a label."""
    return SpecError(
        "a model is trained, but there is no target to compare its output with",
        where=where,
        bound=f"targets(features) that returns a dict with {', '.join(sorted(outputs))}, or a label",
        measured="no targets, and no examples.label",
        remedy="add the method to the task, or specify the feature with the label in examples.label",
    )


def label_or_targets(own: Mapping[str, Any], features: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    """The targets that a task declares, or the label as the target of the output `ONLY`, or nothing.

    Args:
        own: The result of `targets_of`.
        features: Name -> parsed feature [N, ...].
        label: Name of the label; "" for none.
    """
    return own or ({ONLY: features[label]} if label else {})


def no_targets(outputs: Sequence[str], where: str) -> SpecError:
    """The error for a model with several outputs whose task has one target."""
    return SpecError(
        "the model has several outputs, but the task declares one target, the label",
        where=where,
        bound=f"targets(features) that returns a dict with {', '.join(sorted(outputs))}",
        measured="no targets",
        remedy="add the method to the task, with a tensor for each output that has a loss or a metric",
    )


def unknown_output(what: str, name: str, outputs: Iterable[str], where: str) -> SpecError:
    """The error for a name that is not an output, with the nearest one."""
    known = sorted(outputs)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return SpecError(
        what,
        where=where,
        bound=one_of(known),
        measured=name,
        remedy=f"name {near[0]!r}" if near else "choose one of these outputs",
    )


def postprocessed(task: Task, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """A model's outputs after the task's `postprocess`, for metrics; the outputs themselves if it has none.

    Args:
        task: The task.
        outputs: Output name -> real values [N, ...].

    Raises:
        SpecError: `postprocess` fails, or doesn't return N results per output.
    """
    if not isinstance(task, PostprocessingTask):
        return dict(outputs)
    count = len(next(iter(outputs.values())))

    def arrays() -> Any:
        results = task.postprocess(dict(outputs))
        if not isinstance(results, Mapping):
            return results
        return {name: np.asarray(values) for name, values in results.items()}

    given = ", ".join(f"{name} {list(values.shape)}" for name, values in outputs.items())
    made = _called("postprocess", arrays, f"; it gets the model's outputs: {given}")
    wrong = (
        [f"{name} {list(values.shape)}" for name, values in made.items()
         if not isinstance(name, str) or values.shape[:1] != (count,)]
        if isinstance(made, dict)
        else [type(made).__name__]
    )  # fmt: skip
    if wrong or not made:
        raise SpecError(
            "the task's postprocess does not return a result for each example",
            where="task",
            bound=f"a dict of output name -> array [{count}, ...]",
            measured=", ".join(wrong) or "an empty dict",
            remedy="keep the batch as first dimension: pad lists of different lengths, for example with -1",
        )
    return dict(made)


def _called(method: str, call: Callable[[], Any], hint: str = "") -> Any:
    try:
        with exits_reported("task"):
            return call()
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"the task's {method} fails: {type(error).__name__}: {summary_line(error)}",
            where="task",
            measured=raised_at(error),
            remedy=f"run {method} on one batch and fix it{hint}",
        ) from error
