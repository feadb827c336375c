"""Saves one model of the zoo with Keras 3. Runs as a separate program: python -m benchmarks.zoo_models.keras3."""

from __future__ import annotations

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "0"

import keras

from benchmarks.zoo_models import ZOO
from benchmarks.zoo_models.entry import unsettle

if __name__ == "__main__":
    name, path = sys.argv[1:]
    entry = ZOO[name]
    keras.utils.set_random_seed(7)
    model = entry.build(keras)
    unsettle(model)
    if entry.form == "keras3":
        model.save(path)
    else:
        model.export(path, verbose=False)
