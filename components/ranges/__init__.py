"""Activation ranges: histograms and estimators."""
