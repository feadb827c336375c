"""Compares the answers of the float baseline and of a candidate, from stored predictions."""
