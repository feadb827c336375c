"""Checks before the first node runs."""
