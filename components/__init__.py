"""What can be done to a model: pure functions over typed values, each with a thin TFX shell beside it."""

import os

# tensorflow-model-optimization works on tf-keras only, and TensorFlow reads this once, when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
