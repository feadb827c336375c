"""Measures the metrics, size, and latency of the baseline and every candidate, in one pass over the data."""
