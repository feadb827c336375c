"""Runs a model in Keras 3. This module is the main program of a child process, which doesn't import tf-keras."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np

JOB_FILE, INPUTS_FILE, OUTPUTS_FILE = "job.json", "inputs.npz", "outputs.npz"


def main(folder: Path) -> None:
    """Run the model on all sets of inputs.

    Args:
        folder: Contains `JOB_FILE` with the model's `path`, `modules` to import first because they register classes,
            and `trust_code`; and `INPUTS_FILE` with arrays named `<set>/<number of the input>`. This function adds
            `OUTPUTS_FILE` with arrays named `<set>/<number of the output>`.
    """
    job = json.loads((folder / JOB_FILE).read_text())
    for module in job["modules"]:
        importlib.import_module(module)
    import keras
    import tensorflow as tf

    model = keras.saving.load_model(job["path"], compile=False, safe_mode=not job["trust_code"])
    outputs = {}
    with np.load(folder / INPUTS_FILE) as stored:
        for name in sorted({key.partition("/")[0] for key in stored.files}):
            given = [tf.constant(stored[f"{name}/{index}"]) for index in range(len(model.inputs))]
            sequential = isinstance(model, keras.Sequential)
            result = model(given[0] if sequential else keras.tree.pack_sequence_as(model.input, given), training=False)
            for index, tensor in enumerate(keras.tree.flatten(result)):
                outputs[f"{name}/{index}"] = np.asarray(tensor)
    np.savez(folder / OUTPUTS_FILE, **outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
