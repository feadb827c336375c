"""The model that a task builds, as a tf-keras model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.data.task import TrainableTask
from components.upstream.keras import is_keras3


def built_model(task: TrainableTask) -> Any:
    """Call a task's `build_model`. A model of Keras 3 is rebuilt in tf-keras, with its initial weights.

    Returns:
        The uncompiled `tf_keras.Model`.

    Raises:
        ModelError: The model of Keras 3 can't be rebuilt, or the rebuilt model computes something else.
    """
    model = task.build_model()
    if not is_keras3(model):
        return model
    from components.model.keras3.load import prove_file, rebuild_file

    with tempfile.TemporaryDirectory(prefix="edgemill-keras3-") as folder:
        path = Path(folder, "build_model.keras")
        model.save(path)
        rebuilt = rebuild_file(path)
        # The task's own code runs anyway.
        prove_file(path, rebuilt, trust_code=True)
    return rebuilt.model
