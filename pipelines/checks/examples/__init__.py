"""Checks of the examples of single kinds, before a run."""
