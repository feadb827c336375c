"""Checks of a converted file against its scheme and its training."""
