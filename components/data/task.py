"""The user's code for a model: how to turn examples into inputs, and how to build the float baseline.

This module also checks the return values of its methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from components.core.errors import EdgemillError, SpecError, counted, summary_line
from components.core.user_code import exits_reported, in_time, raised_at
from components.data.objects import load_object

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf


@runtime_checkable
class Task(Protocol):
    """The methods that every pipeline needs, to turn serialized tf.Examples into model inputs."""

    def feature_spec(self) -> Mapping[str, Any]:
        """The features of one tf.Example, with the label if there is one, as `tf.io.parse_example` accepts them."""
        ...

    def decode(self, features: Mapping[str, tf.Tensor]) -> Any:
        """Turn a batch of parsed features into model inputs. Runs inside a `tf.function`.

        Args:
            features: Feature name -> tensor of shape [batch, ...], as `feature_spec` declares it.

        Returns:
            One float32 tensor [batch, ...], or a dict of input name -> tensor.
        """
        ...


@runtime_checkable
class TrainableTask(Task, Protocol):
    """A task whose baseline Edgemill trains. With a pretrained baseline, `build_model` is never called."""

    def build_model(self) -> Any:
        """A new, uncompiled model of tf-keras or Keras 3: functional, or Sequential with an Input first; no state."""
        ...

    def compile(self, model: Any) -> None:
        """Compile the model with optimizer, loss, and metrics."""
        ...


@runtime_checkable
class CompilingTask(Task, Protocol):
    """A task for recipes with training steps, whether the baseline is pretrained or not."""

    def compile(self, model: Any) -> None:
        """Compile the model with optimizer, loss, and metrics. The step's learning rate replaces the optimizer's."""
        ...


@runtime_checkable
class TaskWithTargets(Task, Protocol):
    """A task that declares the target of each output. Without `targets`, the target is the label."""

    def targets(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Compute the targets of losses and metrics from a batch of parsed features. Runs inside a `tf.function`.

        Args:
            features: As for `decode`.

        Returns:
            Output name -> dense tensor of numbers [batch, ...], for each output of the model that has a loss, and each
            output (of `postprocess`, if the task has it) that a metric reads.
        """
        ...


@runtime_checkable
class PostprocessingTask(Task, Protocol):
    """A task whose metrics read something computed from the model's outputs, such as boxes after suppression."""

    def postprocess(self, outputs: dict[str, npt.NDArray[Any]]) -> Mapping[str, Any]:
        """Compute the values that metrics read. Runs identically for the float model and every candidate.

        Args:
            outputs: Name of an output of the model -> real values float32 [N, ...].

        Returns:
            Name -> array [N, ...]. Pad results of different lengths.
        """
        ...


@runtime_checkable
class WeighingTask(Task, Protocol):
    """A task whose examples have different weights."""

    def example_weights(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Compute the weights of examples, in losses and in metrics. Runs inside a `tf.function`.

        Args:
            features: As for `decode`.

        Returns:
            Finite numbers of at least 0, [batch].
        """
        ...


def compiling(task: Task) -> CompilingTask:
    """The same task, after a check that it can compile a model.

    Raises:
        SpecError: The task has no method `compile`.
    """
    if not isinstance(task, CompilingTask):
        raise SpecError(
            "a recipe has a step that trains, but the task has no compile",
            where="task",
            bound="the method compile(model), which sets optimizer, loss and metrics",
            measured=type(task).__name__,
            remedy="add it, or remove the steps",
        )
    return task


def trainable(task: Task) -> TrainableTask:
    """The same task, after a check that it can build and compile a baseline.

    Raises:
        SpecError: The task lacks a method.
    """
    if not isinstance(task, TrainableTask):
        raise SpecError(
            "the pipeline trains the baseline, but the task has no build_model and compile",
            where="baseline",
            bound="the methods of `edgemill.TrainableTask`",
            measured=type(task).__name__,
            remedy="add them, or use a pretrained model: `baseline: {kind: pretrained, path: ...}`",
        )
    return task


def load_task(reference: str) -> Task:
    """Import a task, `package.module:NAME`.

    Raises:
        SpecError: The task can't be imported, or the object is not a Task.
    """
    task = load_object(reference, "task")
    if isinstance(task, type):
        raise SpecError(
            f"{reference!r} is a class",
            where="task",
            bound="an object with the methods of `edgemill.Task`",
            measured=f"the class {task.__name__}",
            remedy=f"use an instance of it: `TASK = {task.__name__}()`",
        )
    if not isinstance(task, Task):
        missing = [name for name in ("feature_spec", "decode") if not callable(getattr(task, name, None))]
        raise SpecError(
            f"{reference!r} is not a task: it lacks {', '.join(missing)}",
            where="task",
            bound="an object with the methods of `edgemill.Task`",
            measured=type(task).__name__,
            remedy="give it these methods",
        )
    return task


def features_of(task: Task) -> dict[str, Any]:
    """Return the result of the task's `feature_spec`.

    Raises:
        SpecError: It fails, or doesn't return a mapping of names to features that `tf.io.parse_example` accepts.
    """
    import tensorflow as tf

    try:
        with exits_reported("task"), in_time("the task's feature_spec", "task"):
            features = task.feature_spec()
    except EdgemillError:
        raise
    except Exception as error:
        raise SpecError(
            f"the task's feature_spec fails: {type(error).__name__}: {summary_line(error)}",
            where="task",
            bound="a method that takes no arguments",
            measured=raised_at(error),
            remedy="call feature_spec() by itself, and fix it",
        ) from error
    kinds = (tf.io.FixedLenFeature, tf.io.VarLenFeature, tf.io.SparseFeature, tf.io.RaggedFeature,
             tf.io.FixedLenSequenceFeature)  # fmt: skip
    wrong = (
        [f"{name!r}: {type(kind).__name__}" for name, kind in features.items()
         if not (isinstance(name, str) and isinstance(kind, kinds))]
        if isinstance(features, Mapping)
        else [type(features).__name__]
    )  # fmt: skip
    if wrong or not features:
        raise SpecError(
            "the task's feature_spec must return a mapping of features",
            where="task",
            bound="feature name -> tf.io.FixedLenFeature, or another type that tf.io.parse_example accepts",
            measured=", ".join(wrong) or "an empty mapping",
            remedy="return one entry for each feature that the task, metrics, and slices read",
        )
    return dict(features)


def check_decoded(decoded: Any) -> None:
    """Check that `decode` returned a tensor, or tensors by name.

    Raises:
        SpecError: It returned something else, strings, or a ragged or sparse tensor.
    """
    named = decoded if isinstance(decoded, Mapping) else {"": decoded}
    wrong = [kind for name, value in named.items() if (kind := _wrong(name, value))]
    if wrong or not named:
        raise SpecError(
            "the task's decode does not return inputs for a model",
            where="task",
            bound="one dense tensor of numbers, or a dict of input name -> dense tensor of numbers",
            measured=", ".join(wrong) or "an empty dict",
            remedy="pad it in decode with `.to_tensor(shape=...)` or `tf.sparse.to_dense`, to one shape"
            if any(map(is_uneven, named.values()))
            else "return only the model's input, without the label",
        )


def check_rows(decoded: Any, examples: int) -> None:
    """Check that `decode` returned a row for each example of a batch, in a form that `check_decoded` accepts.

    Raises:
        SpecError: It returned more or fewer rows.
    """
    named = decoded if isinstance(decoded, Mapping) else {"": decoded}
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    wrong = [f"{list(shape)}{f' for {name!r}' if name else ''}" for name, shape in shapes.items()
             if shape[:1] != (examples,)]  # fmt: skip
    if wrong:
        raise SpecError(
            "the task's decode does not return one row per example",
            where="task",
            bound=f"a first dimension of {examples} for a batch of {counted(examples, 'example')}",
            measured=", ".join(wrong),
            remedy="keep the batch dimension, and take its size from the features: `tf.reshape(x, [-1, ...])`",
        )


def _wrong(name: Any, value: Any) -> str:
    if not isinstance(name, str):
        return f"a name of type {type(name).__name__}"
    of = f" for {name!r}" if name else ""
    dtype = getattr(value, "dtype", None)
    if dtype is None or is_uneven(value):
        return f"{type(value).__name__}{of}"
    return f"a tensor of strings{of}" if dtype == "string" or getattr(dtype, "kind", "") in {"S", "U", "O"} else ""


def is_uneven(value: Any) -> bool:
    """Whether a value is a ragged or sparse tensor, which has no row of the same shape for each example."""
    return hasattr(value, "to_tensor") or hasattr(value, "dense_shape")
