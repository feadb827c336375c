"""Runs: execution, metadata, lineage, retention."""
