"""Recognizes each kind of examples: tables, arrays, and functions."""
