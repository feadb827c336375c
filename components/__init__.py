"""What can be done to a model: pure functions over typed values, each with a thin TFX shell next to it."""

import gc
import os

# tensorflow-model-optimization works on tf-keras only, and TensorFlow reads this once, when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

# TensorFlow, Beam, and TFX make millions of objects that stay. With Python's threshold of 700, to go over them takes a
# sixth of the time of their imports.
gc.set_threshold(50_000, 10, 10)
