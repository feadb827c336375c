"""The model that a task builds, as a tf-keras model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.core.errors import ModelError, SpecError
from components.data.task import TrainableTask
from components.upstream.keras import is_keras3, run_as_written

# Advice for a model that a task builds, instead of the advice for a file.
_ELSEWHERE = (
    "use only layers that tf-keras has; or train the model in its own environment, export it there as a SavedModel, "
    "`model.export('folder')`, and use that folder as pretrained baseline: all recipes without steps work "
    "with it"
)


def built_model(task: TrainableTask) -> Any:
    """Call a task's `build_model`. A model of Keras 3 is rebuilt in tf-keras, with its initial weights.

    Returns:
        The uncompiled `tf_keras.Model`.

    Raises:
        SpecError: It returns something else.
        ModelError: The model of Keras 3 can't be rebuilt, or the rebuilt model computes something different.
    """
    import tf_keras

    model = task.build_model()
    if not is_keras3(model):
        if not isinstance(model, tf_keras.Model):
            raise SpecError(
                "the task's build_model does not return a model",
                where="task",
                bound="a model of tf-keras (`tf.keras.Model`) or of Keras 3",
                measured=f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__,
                remedy="return only the uncompiled model",
            )
        run_as_written(model)
        return _plain(model)
    from components.model.keras3.configs import EXPORT
    from components.model.keras3.load import prove_file, rebuild_file

    with tempfile.TemporaryDirectory(prefix="edgemill-keras3-") as folder:
        path = Path(folder, "build_model.keras")
        model.save(path)
        try:
            rebuilt = rebuild_file(path)
            # The task's own code runs anyway.
            prove_file(path, rebuilt, trust_code=True)
        except ModelError as error:
            raise ModelError(
                error.what,
                where=(error.where or "").replace(str(path), "task, build_model"),
                bound=error.bound,
                measured=error.measured,
                remedy=error.remedy.replace(EXPORT, _ELSEWHERE),
            ) from error
    run_as_written(rebuilt.model)
    return _plain(rebuilt.model)


def _plain(model: Any) -> Any:
    from components.model.input_shapes import with_plain_names
    from components.model.plain_recurrent import with_plain_recurrent

    # A model without inputs, or with strings, is refused later.
    known = getattr(model, "inputs", None) and all(None not in tensor.shape[1:] for tensor in model.inputs)
    return with_plain_recurrent(with_plain_names(model)) if known else model
