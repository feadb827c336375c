"""A shipped pipeline: a detector of garments, with two outputs."""
