"""Ranges of activations: histograms and their estimators."""
