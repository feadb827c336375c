"""What a first batch tells: that the task's compile sets a loss and an optimizer which train. Needs TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.core.errors import SpecError, summary_line


def check_compiled(model: Any) -> None:
    """See that the task's compile has compiled the model.

    Raises:
        SpecError: It has not.
    """
    if getattr(model, "optimizer", None) is None:
        raise SpecError(
            "the task's compile does not compile the model, so nothing can train it",
            where="task",
            bound="compile(model) that calls model.compile(optimizer, loss)",
            measured="a model without an optimizer",
            remedy="call `model.compile(...)` on the model that is passed",
        )


def check_trains(model: Any, trained: tuple[Any, Any], evaluated: tuple[Any, Any]) -> None:
    """Train one batch and evaluate another, and put the weights back.

    Args:
        model: Compiled.
        trained: What decode returns for a few examples of the training split, and their labels.
        evaluated: The same of the evaluation split.

    Raises:
        SpecError: Loss, optimizer or metrics do not go with the model's output and the labels, or the loss is no
            number.
    """
    from components.upstream.autograph import leave_keras_as_it_is
    from components.upstream.keras import train_single_batches

    leave_keras_as_it_is()
    # Keras would ask one batch for as many as compile() runs at once.
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
                bound="a loss, an optimizer and metrics that take the model's output and the label",
                measured=f"labels {list(labels.shape)} of {labels.dtype.name}, outputs {list(model.outputs[0].shape)}",
                remedy="correct compile(), the model's last layer or the label",
            ) from error
        if not np.isfinite(loss):
            raise SpecError(
                f"the loss is no number when the model is {doing} on the first examples",
                where="task",
                bound="a finite loss",
                measured=loss,
                remedy="correct the loss in compile(), the model's last layer or the label",
            )
    model.set_weights(weights)
