"""Weight clustering: weights that share a few values."""
