"""Clustering: weights that share a few values, trained so, and kept."""
