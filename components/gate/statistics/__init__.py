"""Tests of hypotheses that hold in samples of any size: paired counts, bounded means, and ratios of sums."""
