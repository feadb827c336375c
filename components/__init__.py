"""What can be done to a model: pure functions over typed values, each with a thin TFX shell beside it."""
