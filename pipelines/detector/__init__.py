"""A shipped pipeline: a garment detector with two outputs."""
