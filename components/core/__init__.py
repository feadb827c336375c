"""Errors, values, files, and versions that all other packages use."""
