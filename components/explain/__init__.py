"""Explains why a candidate is less accurate than its float model: the error of each layer, its cause, and the fix."""
