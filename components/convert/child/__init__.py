"""Conversion in a child process under limits."""
