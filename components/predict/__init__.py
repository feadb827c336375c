"""Runs one model on one split, and stores its outputs for each example."""
