"""Numeric formats, and how a model is brought into them."""
