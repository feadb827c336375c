"""Magnitude pruning with a chosen structure of zeros."""
