"""The files that a user writes, and their conversion to a TFX pipeline."""
