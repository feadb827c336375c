"""Checks with one batch that the task's compile sets a loss and an optimizer that work. Needs TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.core.errors import SpecError, summary_line


def check_compiled(model: Any) -> None:
    """Check that the task's compile has compiled the model.

    Raises:
        SpecError: The model isn't compiled.
    """
    if getattr(model, "optimizer", None) is None:
        raise SpecError(
            "the task's compile does not compile the model, so it can't be trained",
            where="task",
            bound="compile(model) that calls model.compile(optimizer, loss)",
            measured="a model without an optimizer",
            remedy="call `model.compile(...)` on the model that is passed",
        )


def check_trains(model: Any, trained: tuple[Any, Any], evaluated: tuple[Any, Any]) -> None:
    """Train on one batch, evaluate another, and restore the weights.

    Args:
        model: A compiled model.
        trained: Decoded inputs and labels of a few examples of the training split.
        evaluated: The same for the evaluation split.

    Raises:
        SpecError: The loss, the optimizer, or the metrics don't match the model's output and the labels, or the loss
            isn't finite.
    """
    from components.upstream.autograph import leave_keras_as_it_is
    from components.upstream.keras import train_single_batches

    leave_keras_as_it_is()
    # With `steps_per_execution`, Keras would expect several batches.
    train_single_batches(model)
    weights = model.get_weights()
    for doing, on_batch, (inputs, labels) in (
        ("trained", model.train_on_batch, trained),
        ("evaluated", model.test_on_batch, evaluated),
    ):
        try:
            loss = float(np.ravel(on_batch(inputs, labels))[0])
        except Exception as error:
            raise SpecError(
                f"the model cannot be {doing} on the first examples: {type(error).__name__}: {summary_line(error)}",
                where="task",
                bound="a loss, an optimizer, and metrics that accept the model's output and the label",
                measured=f"labels {list(labels.shape)} of {labels.dtype.name}, outputs {list(model.outputs[0].shape)}",
                remedy="correct compile(), the model's last layer, or the label",
            ) from error
        if not np.isfinite(loss):
            raise SpecError(
                f"the loss is not finite when the model is {doing} on the first examples",
                where="task",
                bound="a finite loss",
                measured=loss,
                remedy="correct the loss in compile(), the model's last layer, or the label",
            )
    model.set_weights(weights)
