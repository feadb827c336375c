"""Hypothesis tests that are valid in samples of any size: paired counts, bounded means, and ratios of sums."""
