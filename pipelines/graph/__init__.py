"""Converts a pipeline file to a TFX pipeline."""
