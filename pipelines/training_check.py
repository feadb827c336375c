"""What a first batch tells: that the task's compile sets a loss and an optimizer which train. Needs TensorFlow."""

from __future__ import annotations

from typing import Any

from components.errors import SpecError, telling_line


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


def check_trains(model: Any, inputs: Any, labels: Any) -> None:
    """Train and evaluate one batch, and put the weights back.

    Args:
        model: Compiled.
        inputs: What decode returns for a few examples.
        labels: Of the same examples.

    Raises:
        SpecError: Loss, optimizer or metrics do not go with the model's output and the labels.
    """
    weights = model.get_weights()
    doing = "trained"
    try:
        model.train_on_batch(inputs, labels)
        doing = "evaluated"
        model.test_on_batch(inputs, labels)
    except Exception as error:
        raise SpecError(
            f"the model cannot be {doing} on the first examples: {type(error).__name__}: {telling_line(error)}",
            where="task",
            bound="a loss, an optimizer and metrics that take the model's output and the label",
            measured=f"labels {list(labels.shape)} of {labels.dtype.name}, outputs {list(model.outputs[0].shape)}",
            remedy="correct compile(), the model's last layer or the label",
        ) from error
    model.set_weights(weights)
