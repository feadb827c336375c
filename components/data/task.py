"""What a user's Python says about a model: how examples become inputs, and how the float baseline is built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from components.core.errors import SpecError
from components.core.user_code import exits_reported, in_time, raised_at

if TYPE_CHECKING:
    import tensorflow as tf


@runtime_checkable
class Task(Protocol):
    """What every pipeline needs: from serialized tf.Examples to model inputs."""

    def feature_spec(self) -> Mapping[str, Any]:
        """The features of one tf.Example (label included), as `tf.io.parse_example` takes them."""
        ...

    def decode(self, features: Mapping[str, tf.Tensor]) -> Any:
        """Turn a batch of parsed features into what the model takes.

        Args:
            features: Feature name -> tensor of shape [batch, ...] as `feature_spec` declares it.

        Returns:
            One float32 tensor [batch, ...], or a dict of input name -> tensor. Runs inside a `tf.function`.
        """
        ...


@runtime_checkable
class TrainableTask(Task, Protocol):
    """A task whose baseline Edgemill trains. With a pretrained baseline these methods are never called."""

    def build_model(self) -> Any:
        """A fresh, uncompiled `tf_keras.Model`: functional, or Sequential with an Input first; one output, no state."""
        ...

    def compile(self, model: Any) -> None:
        """Compile the model: optimizer, loss, metrics."""
        ...


@runtime_checkable
class CompilingTask(Task, Protocol):
    """What the steps need that train a model further, pretrained or not."""

    def compile(self, model: Any) -> None:
        """Compile the model: optimizer, loss, metrics. The step's learning rate replaces the optimizer's."""
        ...


def compiling(task: Task) -> CompilingTask:
    """The same task, which says how a model is trained.

    Raises:
        SpecError: It lacks the method.
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
    """The same task, of which a baseline can be trained.

    Raises:
        SpecError: It lacks the methods.
    """
    if not isinstance(task, TrainableTask):
        raise SpecError(
            "the baseline is to be trained, but the task has no build_model and compile",
            where="baseline",
            bound="the methods of components.data.task.TrainableTask",
            measured=type(task).__name__,
            remedy="add them, or name a pretrained model: `baseline: {kind: pretrained, path: ...}`",
        )
    return task


def load_object(reference: str, where: str) -> Any:
    """Import `package.module:NAME`.

    Args:
        reference: What to import.
        where: What it is in the pipeline file, for the message.

    Raises:
        SpecError: The module does not import, or the name is not in it.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        with exits_reported(where), in_time(f"the import of {module_name!r}", where):
            return getattr(importlib.import_module(module_name), attribute)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"the {where} {reference!r} cannot be imported: {type(error).__name__}: {error}",
            where=where,
            bound="package.module:NAME, importable from the working directory or the pipeline file's folder",
            measured=raised_at(error) if not isinstance(error, ImportError | AttributeError) else None,
            remedy=f"run `python -c 'import {module_name}'` and fix what it reports",
        ) from error


def load_task(reference: str) -> Task:
    """Import a task, `package.module:NAME`.

    Raises:
        SpecError: It cannot be imported, or what it names is not a Task.
    """
    task = load_object(reference, "task")
    if isinstance(task, type):
        raise SpecError(
            f"{reference!r} is a class",
            where="task",
            bound="an object with the methods of components.data.task.Task",
            measured=f"the class {task.__name__}",
            remedy=f"name an instance of it: `TASK = {task.__name__}()`",
        )
    if not isinstance(task, Task):
        missing = [name for name in ("feature_spec", "decode") if not callable(getattr(task, name, None))]
        raise SpecError(
            f"{reference!r} is not a task: it lacks {', '.join(missing)}",
            where="task",
            bound="an object with the methods of components.data.task.Task",
            measured=type(task).__name__,
            remedy="give it these methods",
        )
    return task
