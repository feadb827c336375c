"""Validates examples against the expectations in the pipeline file."""
