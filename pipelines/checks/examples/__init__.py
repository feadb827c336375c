"""Checks of particular kinds of examples, before a run."""
