"""Smaller files with the same content."""
