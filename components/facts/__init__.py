"""Measured facts, with one module for each producer, and the manifests that tie them to files."""
