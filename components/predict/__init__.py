"""Runs one model on one split, and stores what it answers to each example."""
