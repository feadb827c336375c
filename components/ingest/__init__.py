"""Bringing examples in where TFX's own way loses something."""
