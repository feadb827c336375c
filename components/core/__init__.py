"""Errors, values, files and versions: what everything else stands on."""
