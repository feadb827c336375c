"""Operations on models: pure functions over typed values, each with a thin TFX shell next to it."""

import gc
import os

# tensorflow-model-optimization works on tf-keras only, and TensorFlow reads this once, when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

# TensorFlow, Beam, and TFX create millions of long-lived objects. With Python's garbage collection threshold of 700,
# scanning them takes a sixth of their import time.
gc.set_threshold(50_000, 10, 10)
